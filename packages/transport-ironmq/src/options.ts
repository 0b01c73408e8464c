import {
  integer,
  KOMBU_ONLY,
  oneOf,
  type OptionReader,
  readOptions,
  readTls,
  seconds,
  splitQuery,
  withoutEffect,
} from '@lovage/core/options';
import { type BrokerUrl, ConfigError, type ConnectOptions } from '@lovage/core/transport';
import type { HttpEndpoint } from '@lovage/http';
import { findCredentials, type IronCredentials } from './credentials.ts';

/** The cloud that Iron.io's documentation names first. */
const DEFAULT_HOST = 'mq-aws-us-east-1-1.iron.io';

/**
 * The options of the IronMQ transport, in `broker_transport_options`, camelCase or snake_case, or in the URL's query.
 */
export interface IronTransportOptions {
  /**
   * Seconds for which a message is reserved, renewed while its worker lives; after the death of a worker it comes again
   * after so long. At least 30 at Iron.io. Default: `lease_seconds`, but no less than `minReservation`. iron_celery's name.
   */
  readonly ironMqTimeout?: number;
  /** Seconds of the shortest reservation that the server takes. Default 30, as at Iron.io. */
  readonly minReservation?: number;
  /** Bytes of the largest message, which depends on the plan: 65536 or 262144. Default 262144. */
  readonly maxMessageBytes?: number;
  /** Seconds that a message is kept in the queues that are created here. Default 2592000 (30 days), IronMQ's most. */
  readonly messageExpiration?: number;
  /** `http` for a server of your own without TLS. Default `https`. */
  readonly protocol?: 'http' | 'https';
}

const READERS = {
  ironMqTimeout: integer(1, 86_400),
  minReservation: integer(1, 86_400),
  maxMessageBytes: integer(1000),
  messageExpiration: integer(60, 2_592_000),
  protocol: oneOf('http', 'https'),
  connectTimeout: seconds(0.01),
  // iron_celery's. As much as can be is taken at once, and long polling is the rule.
  longPolling: withoutEffect,
  maxMessageCount: withoutEffect,
  pollingInterval: withoutEffect,
  heartbeat: withoutEffect,
  ...KOMBU_ONLY,
} as const satisfies Record<string, OptionReader<unknown>>;

export interface IronSettings {
  readonly endpoint: HttpEndpoint;
  /** `/3/projects/ID`. */
  readonly basePath: string;
  readonly connectTimeoutMs: number;
  readonly reservationSeconds: number;
  readonly maxMessageBytes: number;
  readonly messageExpiration: number;
}

/**
 * Reads `ironmq://project_id:token@host:port?connect_timeout=20`. What the URL leaves out is looked for where Iron.io's
 * own clients look. Throws `ConfigError`. Source: iron_celery/iron_mq_transport.py.
 */
export function readIronSettings(
  url: BrokerUrl,
  { transportOptions = {}, leaseMs = 30_000, connectTimeoutMs = 4000, useSsl }: ConnectOptions,
  find: () => IronCredentials = findCredentials,
): IronSettings {
  const { tls: tlsQuery, rest } = splitQuery(url);
  const options = {
    ...readOptions(transportOptions, READERS, 'The IronMQ transport'),
    ...readOptions(rest, READERS, `The URL ${JSON.stringify(String(url))}`),
  };
  const found = find();
  const projectId = url.username ?? found.projectId;
  const token = url.password ?? found.token;
  if (projectId === undefined || token === undefined) {
    throw new ConfigError(
      `The URL "${String(url)}" has no ${projectId === undefined ? 'project id' : 'token'}, nor have IRON_PROJECT_ID, IRON_TOKEN, IRON_MQ_..., ~/.iron.json and iron.json. Expected "ironmq://project_id:token@", with "/", "?", "#" and "@" percent-encoded.`,
    );
  }
  const protocol = options.protocol ?? readProtocol(found.protocol) ?? 'https';
  const host = url.host || found.host || DEFAULT_HOST;
  const port = url.port ?? (url.host === '' ? Number(found.port ?? 0) : 0);
  const minReservation = options.minReservation ?? 30;
  const reservationSeconds = options.ironMqTimeout ?? Math.max(minReservation, Math.ceil(leaseMs / 1000));
  if (reservationSeconds < minReservation) {
    throw new ConfigError(
      `The option "iron_mq_timeout" is ${reservationSeconds}. Expected seconds, at least ${minReservation}: IronMQ reserves for no less.`,
    );
  }
  return {
    endpoint: {
      service: 'IronMQ',
      origin: `${protocol}://${host}${port > 0 ? `:${port}` : ''}`,
      headers: { authorization: `OAuth ${token}` },
      tls: protocol === 'https' ? readTls(url, tlsQuery, { isSecure: true, useSsl }) : undefined,
      url: String(url),
    },
    basePath: `/3/projects/${encodeURIComponent(projectId)}`,
    connectTimeoutMs: options.connectTimeout ?? connectTimeoutMs,
    reservationSeconds,
    maxMessageBytes: options.maxMessageBytes ?? 256 * 1024,
    messageExpiration: options.messageExpiration ?? 2_592_000,
  };
}

function readProtocol(text: string | undefined): 'http' | 'https' | undefined {
  return text === undefined ? undefined : oneOf('http', 'https')(text, 'protocol');
}
