import {
  boolean,
  integer,
  KOMBU_ONLY,
  oneOf,
  type OptionReader,
  readOptions,
  record,
  seconds,
  text,
  withoutEffect,
} from '@lovage/core/options';
import { type BrokerUrl, ConfigError, type ConnectOptions, UnsupportedError } from '@lovage/core/transport';
import { CONNECTION_OPTIONS, type NatsConnectionOptions, type NatsEndpoint, readEndpoint } from '@lovage/nats';

/**
 * The options of the NATS transport, in `broker_transport_options`, camelCase or snake_case. Those that Kombu's transport
 * (in review) has too keep its names and units.
 */
export interface NatsTransportOptions extends NatsConnectionOptions {
  /** Before the names of streams. Default `STREAM_`. */
  readonly streamNamePrefix?: string;
  /** Before the names of consumers. Default `CONSUMER_`. */
  readonly consumerNamePrefix?: string;
  /**
   * Before the subjects of queues, with its last dot: `shop.`. Kombu has none. Default `''`.
   */
  readonly subjectPrefix?: string;
  /**
   * More settings for streams that are created, in JetStream's own names: `num_replicas`, `max_bytes`, `placement`,
   * `storage`, ... A limit makes a full stream refuse messages, and rules out native delays.
   */
  readonly streamConfig?: Readonly<Record<string, unknown>>;
  /** The same for consumers. */
  readonly consumerConfig?: Readonly<Record<string, unknown>>;
  /** The levels of a queue with `x-max-priority`: a message goes to the largest step that is not above its priority. Default `[0, 3, 6, 9]`. */
  readonly prioritySteps?: readonly number[];
  /** Milliseconds after which the messages of a silent consumer are given to somebody else. Default 30000. */
  readonly leaseMs?: number;
  /** How long a publish waits for the server's confirmation, in seconds. Default 10. */
  readonly publishTimeout?: number;
}

const OPTIONS = {
  ...CONNECTION_OPTIONS,
  streamNamePrefix: text,
  consumerNamePrefix: text,
  subjectPrefix: subjectPrefix,
  streamConfig: streamConfig,
  consumerConfig: consumerConfig,
  prioritySteps: prioritySteps,
  leaseMs: integer(100),
  publishTimeout: seconds(0.1),
  natsRawBody: envelopesOnly,
  // Readers know both forms by themselves.
  natsMetadataHeaderPrefix: oneOf('Kombu-'),
  natsMetadataHeaderNames: withoutEffect,
  // Nothing is polled.
  waitTimeSeconds: withoutEffect,
  visibilityTimeout: withoutEffect,
  pollingInterval: withoutEffect,
  ...KOMBU_ONLY,
} as const satisfies Record<string, OptionReader<unknown>>;

/** All that decides how the driver connects and behaves. */
export interface NatsSettings extends NatsEndpoint {
  readonly publishTimeoutMs: number;
  readonly leaseMs: number;
  readonly streamNamePrefix: string;
  readonly consumerNamePrefix: string;
  readonly subjectPrefix: string;
  readonly streamConfig: Readonly<Record<string, unknown>>;
  readonly consumerConfig: Readonly<Record<string, unknown>>;
  readonly prioritySteps: readonly number[];
}

/** URL and options to settings. Throws `ConfigError` for what does not exist, `UnsupportedError` for what is refused. */
export function readSettings(url: BrokerUrl, connect: ConnectOptions): NatsSettings {
  if (url.path !== '') {
    throw new ConfigError(
      `The URL "${String(url)}" names a path, and NATS has no virtual hosts. Expected "nats://user:password@host:4222", several hosts with "," between, or "tls+nats://...".`,
    );
  }
  const options = readOptions(connect.transportOptions ?? {}, OPTIONS, 'The NATS transport');
  return {
    ...readEndpoint(url, {
      options,
      useSsl: connect.useSsl,
      connectTimeoutMs: connect.connectTimeoutMs,
      heartbeatMs: (connect.heartbeatSeconds ?? 20) * 1000,
    }),
    publishTimeoutMs: options.publishTimeout ?? 10_000,
    leaseMs: options.leaseMs ?? connect.leaseMs ?? 30_000,
    streamNamePrefix: options.streamNamePrefix ?? 'STREAM_',
    consumerNamePrefix: options.consumerNamePrefix ?? 'CONSUMER_',
    subjectPrefix: options.subjectPrefix ?? '',
    streamConfig: options.streamConfig ?? {},
    consumerConfig: options.consumerConfig ?? {},
    prioritySteps: options.prioritySteps ?? [0, 3, 6, 9],
  };
}

function subjectPrefix(value: unknown, name: string): string {
  const prefix = text(value, name);
  if (prefix === '' || /^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.$/.test(prefix)) return prefix;
  throw new ConfigError(
    `The option "${name}" is ${JSON.stringify(prefix)}. Expected words of letters, digits, "_" and "-", each with a dot behind: "shop.".`,
  );
}

/** What the layout rests on is not for choice. */
function configWithout(fixed: readonly string[]): OptionReader<Readonly<Record<string, unknown>>> {
  return (value, name) => {
    const config = record(value, name);
    const wrong = Object.keys(config).find((key) => fixed.includes(key));
    if (wrong === undefined) return config;
    throw new ConfigError(`The option "${name}" sets "${wrong}", which Lovage sets itself. Remove it.`);
  };
}

function streamConfig(value: unknown, name: string): Readonly<Record<string, unknown>> {
  const config = configWithout(['name', 'subjects', 'retention', 'mirror', 'sources', 'sealed'])(value, name);
  if (config['discard'] === 'old') {
    throw new ConfigError(
      `The option "${name}" sets "discard" to "old": a full stream would drop the oldest messages. Leave it out, and a full stream refuses new ones.`,
    );
  }
  return config;
}

function consumerConfig(value: unknown, name: string): Readonly<Record<string, unknown>> {
  return configWithout([
    'name',
    'durable_name',
    'ack_policy',
    'ack_wait',
    'backoff',
    'deliver_policy',
    'deliver_subject',
    'filter_subject',
    'filter_subjects',
    'max_deliver',
    'priority_policy',
    'priority_groups',
  ])(value, name);
}

function envelopesOnly(value: unknown, name: string): undefined {
  if (!boolean(value, name)) return undefined;
  throw new UnsupportedError(
    `The option "${name}" is not supported for publishing. Remove it: messages that Python sends so are read, and Python reads envelopes.`,
  );
}

function prioritySteps(value: unknown, name: string): readonly number[] {
  const steps = value as readonly number[];
  const isValid =
    Array.isArray(value) &&
    steps[0] === 0 &&
    steps.every((step, index) => Number.isInteger(step) && step <= 9 && step > (steps[index - 1] ?? -1));
  if (isValid) return steps;
  throw new ConfigError(
    `The option "${name}" is ${JSON.stringify(value)}. Expected rising integers from 0 to 9 that begin with 0, such as [0, 3, 6, 9].`,
  );
}
