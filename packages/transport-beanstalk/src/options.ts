import { integer, KOMBU_ONLY, type OptionReader, readOptions, withoutEffect } from '@lovage/core/options';
import { type BrokerUrl, ConfigError, type ConnectOptions, UnsupportedError } from '@lovage/core/transport';

/** `brokerTransportOptions` of the Beanstalk transport, camelCase or snake_case. */
export interface BeanstalkTransportOptions {
  /**
   * Milliseconds after which the messages of a silent consumer are given to somebody else: whole seconds, at least 3. It goes with
   * each message (TTR), so the producer's setting counts. Default 30000.
   */
  readonly leaseMs?: number;
}

const READERS = {
  leaseMs: integer(100),
  // A configuration may be shared with Python.
  visibilityTimeout: withoutEffect,
  pollingInterval: withoutEffect,
  ...KOMBU_ONLY,
} as const satisfies Record<string, OptionReader<unknown>>;

/** All that decides how the driver behaves. */
export interface DriverSettings {
  readonly host: string;
  readonly port: number;
  readonly ttrSeconds: number;
  readonly connectTimeoutMs: number;
  readonly heartbeatMs: number;
  /** For messages. */
  readonly url: string;
}

const DEFAULT_PORT = 11_300;
/** In the last second of a job beanstalkd lets its holder reserve no other; it is to be touched well before. */
const MIN_TTR_SECONDS = 3;

/** Throws `ConfigError` for wrong values and unknown names, `UnsupportedError` for TLS. */
export function readSettings(url: BrokerUrl, connect: ConnectOptions): DriverSettings {
  const shown = String(url);
  const expected = 'Expected "beanstalk://host:11300".';
  if (url.username !== undefined || url.password !== undefined) {
    throw new ConfigError(`The URL "${shown}" names a user, and beanstalkd has none. ${expected}`);
  }
  if (url.path !== '') {
    throw new ConfigError(`The URL "${shown}" names a path, and beanstalkd has no virtual hosts. ${expected}`);
  }
  if (url.host.includes(',')) {
    throw new ConfigError(`The URL "${shown}" names several hosts. Separate whole URLs by ";" for failover.`);
  }
  if (connect.useSsl !== undefined && connect.useSsl !== false) {
    throw new UnsupportedError(
      'beanstalkd has no TLS. Turn "broker_use_ssl" off, and lead the connection through a tunnel.',
    );
  }
  const options = readOptions(
    { ...connect.transportOptions, ...url.query },
    READERS,
    `The Beanstalk transport (${shown})`,
  );
  const leaseMs = options.leaseMs ?? connect.leaseMs ?? 30_000;
  const host = url.host.replace(/^\[|\]$/g, '').toLowerCase();
  return {
    // Where "localhost" is ::1 first, a server that listens on IPv4 only is not found.
    host: host === '' || host === 'localhost' ? '127.0.0.1' : host,
    port: url.port ?? DEFAULT_PORT,
    ttrSeconds: Math.max(MIN_TTR_SECONDS, Math.ceil(leaseMs / 1000)),
    connectTimeoutMs: connect.connectTimeoutMs ?? 4000,
    heartbeatMs: (connect.heartbeatSeconds ?? 20) * 1000,
    url: shown,
  };
}
