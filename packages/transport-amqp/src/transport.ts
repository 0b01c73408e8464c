import {
  type BrokerUrl,
  type Connection,
  type ConnectOptions,
  silentLogger,
  type Transport,
} from '@lovage/core/transport';
import { AmqpConnection } from './connection.ts';
import { Link } from './link.ts';
import { readSettings } from './options.ts';

/**
 * RabbitMQ over AMQP 0-9-1, sharing exchanges, queues and messages with Python Celery.
 *
 * `amqp://user:password@host:5672/vhost`, `amqps://` for TLS, `pyamqp://` as Kombu has it; defaults are guest, guest,
 * 127.0.0.1, 5672 (TLS 5671) and the virtual host `/`. Options: {@link AmqpTransportOptions}.
 */
export const amqpTransport: Transport = {
  schemes: ['amqp', 'amqps', 'pyamqp'],
  async connect(url: BrokerUrl, options: ConnectOptions): Promise<Connection> {
    options.signal?.throwIfAborted();
    const { logger = silentLogger, clientName, signal } = options;
    const settings = await readSettings(url, options);
    const link = await Link.open(settings, clientName, logger, signal);
    return new AmqpConnection(link, settings, clientName, logger);
  },
};
