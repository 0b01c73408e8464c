import { seconds } from '@lovage/core/options';
import { ConfigError } from '@lovage/core/transport';
import { checkIdentifier } from '@lovage/sql';

/**
 * `broker_transport_options` of the SQL transport, camelCase or snake_case. Kombu's retry keys and the arguments of
 * SQLAlchemy's `create_engine` are accepted and mean nothing here.
 */
export interface SqlTransportOptions {
  /** Table of queues. Default `kombu_queue`. */
  readonly queueTablename?: string;
  /** Table of messages. Default `kombu_message`. */
  readonly messageTablename?: string;
  /**
   * How long the messages of a silent process stay its own, in milliseconds, at least 1000. Default 30 000; a live
   * process renews it, however long its tasks run.
   */
  readonly leaseMs?: number;
  /**
   * SQLite: `full` (default), a committed publish survives a power loss; `normal`, it survives the death of any process,
   * and the last moments before a power loss may be missing.
   */
  readonly synchronous?: 'full' | 'normal';
  /** How long a call waits for what others hold, in milliseconds. Default 10 000. */
  readonly busyTimeoutMs?: number;
  /**
   * Servers: the longest time between two looks for messages that nobody told of, in seconds. Default 1 on PostgreSQL,
   * which tells of what Lovage publishes and not of what Python does; 0.25 on MySQL, MariaDB and Oracle.
   */
  readonly pollingInterval?: number;
}

/** The options as the driver needs them. */
export interface ResolvedOptions {
  readonly queueTable: string;
  readonly messageTable: string;
  readonly leaseMs: number;
  readonly synchronous: 'full' | 'normal';
  readonly busyTimeoutMs: number | undefined;
  readonly pollMs: number | undefined;
}

const KNOWN = [
  'queueTablename',
  'messageTablename',
  'leaseMs',
  'synchronous',
  'busyTimeoutMs',
  'pollingInterval',
] as const;

/** Kombu's retry keys, what its virtual transports take, and SQLAlchemy's `create_engine`. */
const IGNORED: ReadonlySet<string> = new Set(
  (
    'maxRetries intervalStart intervalStep intervalMax retryErrors errback callback ' +
    'connectRetriesTimeout bodyEncoding deadletterQueue visibilityTimeout echo echoPool ' +
    'future poolSize maxOverflow poolRecycle poolPrePing poolTimeout poolclass ' +
    'poolUseLifo poolResetOnReturn connectArgs isolationLevel executionOptions hideParameters loggingName ' +
    'poolLoggingName labelLength queryCacheSize insertmanyvaluesPageSize plugins'
  ).split(' '),
);

/** Checks every option; throws `ConfigError` that names the wrong one. */
export function parseOptions(input: Readonly<Record<string, unknown>> = {}): ResolvedOptions {
  const options: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(input)) {
    const name = key.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
    if ((KNOWN as readonly string[]).includes(name)) options[name] = value;
    else if (!IGNORED.has(name)) {
      throw new ConfigError(
        `The transport option "${key}" is unknown to the SQL transport. Expected one of: ${KNOWN.join(', ')}.`,
      );
    }
  }
  const { queueTablename = 'kombu_queue', messageTablename = 'kombu_message', synchronous = 'full' } = options;
  if (synchronous !== 'full' && synchronous !== 'normal') {
    throw new ConfigError(
      `The transport option "synchronous" is ${JSON.stringify(synchronous)}. Expected "full" or "normal".`,
    );
  }
  return {
    queueTable: checkIdentifier(queueTablename, 'queueTablename'),
    messageTable: checkIdentifier(messageTablename, 'messageTablename'),
    leaseMs: milliseconds(options['leaseMs'], 'leaseMs', 1000) ?? 30_000,
    synchronous,
    busyTimeoutMs: milliseconds(options['busyTimeoutMs'], 'busyTimeoutMs', 1),
    pollMs:
      options['pollingInterval'] === undefined
        ? undefined
        : seconds(0.01)(options['pollingInterval'], 'pollingInterval'),
  };
}

function milliseconds(value: unknown, name: string, least: number): number | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== 'number' || !Number.isFinite(value) || value < least) {
    throw new ConfigError(
      `The transport option "${name}" is ${JSON.stringify(value)}. Expected milliseconds, at least ${least}.`,
    );
  }
  return value;
}
