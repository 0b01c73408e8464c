import {
  boolean,
  integer,
  KOMBU_ONLY,
  nonEmptyText,
  type OptionReader,
  readOptions,
  seconds,
  withoutEffect,
} from '@lovage/core/options';
import { ConfigError, type ConnectOptions } from '@lovage/core/transport';

/**
 * The options of the MongoDB transport, in `broker_transport_options`, camelCase or snake_case: Kombu's, and `leaseMs`
 * and `changeStreams`, ours. Source: kombu/transport/mongodb.py, from_transport_options.
 */
export interface MongoTransportOptions {
  /** Milliseconds after which the messages of a silent Lovage consumer are given to somebody else. Default 30000. */
  readonly leaseMs?: number;
  /** Whether a waiting consumer is woken by a change stream where the server has them. Default true; false: it polls. */
  readonly changeStreams?: boolean;
  /** Message and queue expiry (`x-message-ttl`, `expiration`, `x-expires`) by TTL indexes, as in Kombu. Default false. */
  readonly ttl?: boolean;
  /** Bytes of the capped collection for fanout, when it is made. Default 100000, as in Kombu. */
  readonly cappedQueueSize?: number;
  /** Default `messages`; the names of Lovage's own collections begin with it. */
  readonly messagesCollection?: string;
  /** Default `messages.routing`. */
  readonly routingCollection?: string;
  /** Default `messages.broadcast`. */
  readonly broadcastCollection?: string;
  /** Default `messages.queues`; used with `ttl`. */
  readonly queuesCollection?: string;
  /** Where the URL names no database. Default `kombu_default`. */
  readonly defaultDatabase?: string;
  /** Seconds for opening. Default 4 (`broker_connection_timeout`). */
  readonly connectTimeout?: number;
  /** TLS. Default false; `tls=true` in the URL does the same. */
  readonly ssl?: boolean;
}

const READERS = {
  leaseMs: integer(100),
  changeStreams: boolean,
  ttl: boolean,
  cappedQueueSize: integer(4096),
  messagesCollection: collection,
  routingCollection: collection,
  broadcastCollection: collection,
  queuesCollection: collection,
  defaultDatabase: nonEmptyText,
  connectTimeout: seconds(0.01),
  ssl: boolean,
  // The URL names host and port, and nothing polls once a second.
  defaultHostname: withoutEffect,
  defaultPort: withoutEffect,
  calcQueueSize: withoutEffect,
  pollingInterval: withoutEffect,
  ...KOMBU_ONLY,
} as const satisfies Record<string, OptionReader<unknown>>;

/** All that decides how the driver behaves. */
export interface DriverSettings {
  readonly leaseMs: number;
  readonly changeStreams: boolean;
  readonly ttl: boolean;
  readonly cappedQueueSize: number;
  readonly messages: string;
  readonly routing: string;
  readonly broadcast: string;
  readonly queues: string;
}

export interface ReadTransportOptions {
  readonly settings: DriverSettings;
  readonly defaultDatabase: string;
  readonly connectTimeoutMs: number | undefined;
  readonly ssl: boolean | undefined;
}

/** Throws `ConfigError` for wrong values and unknown names. */
export function readTransportOptions({ transportOptions: given = {}, leaseMs }: ConnectOptions): ReadTransportOptions {
  const options = readOptions(given, READERS, 'The MongoDB transport');
  return {
    settings: {
      leaseMs: options.leaseMs ?? leaseMs ?? 30_000,
      changeStreams: options.changeStreams ?? true,
      ttl: options.ttl ?? false,
      cappedQueueSize: options.cappedQueueSize ?? 100_000,
      messages: options.messagesCollection ?? 'messages',
      routing: options.routingCollection ?? 'messages.routing',
      broadcast: options.broadcastCollection ?? 'messages.broadcast',
      queues: options.queuesCollection ?? 'messages.queues',
    },
    defaultDatabase: options.defaultDatabase ?? 'kombu_default',
    connectTimeoutMs: options.connectTimeout,
    ssl: options.ssl,
  };
}

function collection(value: unknown, name: string): string {
  const text = nonEmptyText(value, name);
  if (/[$\0]|^system\.|^\.|\.$/.test(text)) {
    throw new ConfigError(
      `The option "${name}" is ${JSON.stringify(value)}, which MongoDB does not take as a collection's name. Expected for example "messages".`,
    );
  }
  return text;
}
