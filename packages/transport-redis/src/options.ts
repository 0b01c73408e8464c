import { ConfigError, type ConnectOptions, UnsupportedError } from '@lovage/core/transport';
import {
  boolean,
  integer,
  KOMBU_ONLY,
  nonEmptyText,
  oneOf,
  type OptionReader,
  type OptionValues,
  readOptions,
  seconds,
  text,
  withoutEffect,
} from '@lovage/core/options';
import { CONNECTION_OPTIONS, type RedisConnectionOptions } from '@lovage/redis';

/**
 * The options of the Redis transport, in `broker_transport_options`, camelCase or snake_case: Kombu's, in Kombu's units
 * (seconds), and `leaseMs`, ours.
 */
export interface RedisTransportOptions extends RedisConnectionOptions {
  /** Put before every key and channel; no separator is added. Default `''`. */
  readonly globalKeyprefix?: string;
  /**
   * Seconds after which a message that a Python worker holds is given to somebody else, as Python workers do among
   * themselves. The smallest in the fleet wins. What Lovage workers hold has a lease instead. Default 3600.
   */
  readonly visibilityTimeout?: number;
  /** Milliseconds after which the messages of a silent Lovage consumer are given to somebody else. Default 30000. */
  readonly leaseMs?: number;
  /** The lists of a queue: a message goes to the largest step that is not above its priority. Default `[0, 3, 6, 9]`. */
  readonly prioritySteps?: readonly number[];
  /** Between queue and step, and within bindings. Default the bytes 06 16. */
  readonly sep?: string;
  /** Which of several queues is asked first within one priority step. Default `'round_robin'`. */
  readonly queueOrderStrategy?: 'round_robin' | 'sorted' | 'priority';
  /** Before the names of broadcast channels: true for `/{db}.`, false for nothing, or the text itself. Default true. */
  readonly fanoutPrefix?: boolean | string;
  /** Routing keys as part of the names of broadcast channels. Default true. */
  readonly fanoutPatterns?: boolean;
  /** Default `unacked`. */
  readonly unackedKey?: string;
  /** Default `unacked_index`. */
  readonly unackedIndexKey?: string;
  /** Default `unacked_mutex`. */
  readonly unackedMutexKey?: string;
  /** Seconds. Default 300. */
  readonly unackedMutexExpire?: number;
  /** At most so many messages of Python workers are restored in one sweep. Default: all. */
  readonly unackedRestoreLimit?: number;
  /** Seconds between two looks for them. Default 10. */
  readonly unackedRestoreInterval?: number;
}

const READERS = {
  ...CONNECTION_OPTIONS,
  globalKeyprefix: text,
  visibilityTimeout: seconds(0.1),
  leaseMs: integer(100),
  prioritySteps: prioritySteps,
  sep: nonEmptyText,
  queueOrderStrategy: oneOf('round_robin', 'sorted', 'priority'),
  fanoutPrefix: booleanOrText,
  fanoutPatterns: boolean,
  unackedKey: nonEmptyText,
  unackedIndexKey: nonEmptyText,
  unackedMutexKey: nonEmptyText,
  unackedMutexExpire: seconds(1),
  unackedRestoreLimit: integer(1),
  unackedRestoreInterval: seconds(0.1),
  ackEmulation: ackEmulation,
  sentinelFanoutCompat: withoutEffect,
  // Polling and throttling are not needed.
  unackedRestoreThrottle: withoutEffect,
  pollingInterval: withoutEffect,
  brpopTimeout: withoutEffect,
  ...KOMBU_ONLY,
} as const satisfies Record<string, OptionReader<unknown>>;

/** All that decides how the driver behaves. */
export interface DriverSettings {
  readonly keyPrefix: string;
  readonly visibilityTimeoutMs: number;
  readonly leaseMs: number;
  readonly prioritySteps: readonly number[];
  readonly separator: string;
  readonly queueOrder: 'round_robin' | 'sorted' | 'priority';
  /** `{db}` not yet replaced. */
  readonly fanoutPrefix: string;
  readonly fanoutPatterns: boolean;
  readonly unackedKey: string;
  readonly unackedIndexKey: string;
  readonly unackedMutexKey: string;
  readonly unackedMutexExpireMs: number;
  readonly unackedRestoreLimit: number | undefined;
  readonly unackedRestoreIntervalMs: number;
}

export interface ReadTransportOptions {
  readonly settings: DriverSettings;
  readonly connection: OptionValues<typeof CONNECTION_OPTIONS>;
}

/** Throws `ConfigError` for wrong values and unknown names, `UnsupportedError` for what is refused. */
export function readTransportOptions({ transportOptions: given = {}, leaseMs }: ConnectOptions): ReadTransportOptions {
  const options = readOptions(given, READERS, 'The Redis transport');
  const visibilityTimeoutMs = options.visibilityTimeout ?? 3_600_000;
  return {
    settings: {
      keyPrefix: options.globalKeyprefix ?? '',
      visibilityTimeoutMs,
      // Python workers judge by their own visibility timeout: what is renewed less often than that would be taken.
      leaseMs: Math.min(options.leaseMs ?? leaseMs ?? 30_000, visibilityTimeoutMs),
      prioritySteps: options.prioritySteps ?? [0, 3, 6, 9],
      separator: options.sep ?? '\x06\x16',
      queueOrder: options.queueOrderStrategy ?? 'round_robin',
      fanoutPrefix: fanoutPrefix(options.fanoutPrefix ?? true),
      fanoutPatterns: options.fanoutPatterns ?? true,
      unackedKey: options.unackedKey ?? 'unacked',
      unackedIndexKey: options.unackedIndexKey ?? 'unacked_index',
      unackedMutexKey: options.unackedMutexKey ?? 'unacked_mutex',
      unackedMutexExpireMs: options.unackedMutexExpire ?? 300_000,
      unackedRestoreLimit: options.unackedRestoreLimit,
      unackedRestoreIntervalMs: options.unackedRestoreInterval ?? 10_000,
    },
    connection: Object.fromEntries(Object.entries(options).filter(([name]) => Object.hasOwn(CONNECTION_OPTIONS, name))),
  };
}

function fanoutPrefix(value: boolean | string): string {
  return typeof value === 'string' ? value : value ? '/{db}.' : '';
}

function booleanOrText(value: unknown, name: string): boolean | string {
  if (typeof value === 'boolean' || typeof value === 'string') return value;
  throw new ConfigError(
    `The option "${name}" is ${JSON.stringify(value)}. Expected true, false or text such as "/{db}.".`,
  );
}

function ackEmulation(value: unknown): undefined {
  if (value === true) return undefined;
  throw new UnsupportedError(
    'The option "ack_emulation" cannot be turned off: without it a worker that dies loses what it holds. Remove it.',
  );
}

function prioritySteps(value: unknown, name: string): readonly number[] {
  const steps = value as readonly number[];
  const isValid =
    Array.isArray(value) &&
    steps[0] === 0 &&
    steps.every((step, index) => Number.isInteger(step) && step <= 9 && step > (steps[index - 1] ?? -1));
  if (!isValid) {
    throw new ConfigError(
      `The option "${name}" is ${JSON.stringify(value)}. Expected rising integers from 0 to 9 that begin with 0, such as [0, 3, 6, 9].`,
    );
  }
  return steps;
}
