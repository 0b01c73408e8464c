import { ListQueuesCommand } from '@aws-sdk/client-sqs';
import { AwsLink, reach } from '@lovage/aws';
import { type BrokerUrl, type ConnectOptions, silentLogger } from '@lovage/core/transport';
import { openClients } from './clients.ts';
import { SqsDriver } from './driver.ts';
import { readSqsOptions } from './options.ts';
import { Queues } from './queues.ts';
import { SQS } from './service.ts';

/** Opens a driver. Rejects with `ConnectError`, `AuthError`, `ConfigError` or `UnsupportedError`. */
export async function openSqsDriver(url: BrokerUrl, options: ConnectOptions): Promise<SqsDriver> {
  const { settings, client: own } = readSqsOptions(url, options);
  const { signal, logger = silentLogger, connectTimeoutMs = 4000, heartbeatSeconds = 20 } = options;
  signal?.throwIfAborted();
  const clients = await openClients(own, connectTimeoutMs);
  const where = own.endpoint ?? 'Amazon SQS';
  try {
    const [predefined] = settings.predefinedQueues?.values() ?? [];
    // Costs nothing to answer; that it is forbidden is an answer as well.
    const hello = new ListQueuesCommand({ MaxResults: 1 });
    const client = clients.get(predefined);
    await reach((abortSignal) => client.send(hello, { abortSignal }), {
      service: SQS,
      where,
      timeoutMs: connectTimeoutMs,
      signal,
    });
  } catch (error) {
    clients.destroy();
    throw error;
  }
  const link = new AwsLink({
    service: SQS,
    lossMs: heartbeatSeconds * 2000,
    requestMs: heartbeatSeconds * 1000,
    where,
    logger,
  });
  const queues = new Queues({ link, settings, clientFor: (predefined) => clients.get(predefined) });
  return new SqsDriver({
    link,
    queues,
    settings,
    // So that a silent peer is noticed after two heartbeats.
    mostWaitSeconds: Math.min(settings.waitSeconds, Math.max(1, Math.floor(heartbeatSeconds))),
    logger,
    destroyClients: () => clients.destroy(),
  });
}
