import { type BackendOptions, ConfigError } from '@lovage/core/backend';
import { seconds } from '@lovage/core/options';
import { checkIdentifier } from '@lovage/sql';

/** `result_backend_transport_options` of the SQL store, camelCase or snake_case. */
export interface SqlBackendOptions {
  /**
   * SQLite: `full` (default), a stored result survives a power loss; `normal`, it survives the death of any process. The
   * stricter of all who opened the file in one process decides.
   */
  readonly synchronous?: 'full' | 'normal';
  /** How long a call waits for what others hold, in milliseconds. Default 10 000. */
  readonly busyTimeoutMs?: number;
  /**
   * Servers: the longest time between two looks for results that nobody told of, in seconds. Default 1 on PostgreSQL,
   * which tells of what Lovage stores and not of what Python does; 0.25 on MySQL, MariaDB and Oracle.
   */
  readonly pollingInterval?: number;
}

export interface ResolvedOptions {
  readonly taskTable: string;
  readonly groupTable: string;
  readonly taskSchema: string | undefined;
  readonly groupSchema: string | undefined;
  readonly synchronous: 'full' | 'normal';
  readonly busyTimeoutMs: number | undefined;
  readonly pollMs: number | undefined;
}

/** Options of Celery's own retries, which other stores share. */
const IGNORED = new Set(['retryPolicy', 'maxRetries', 'intervalStart', 'intervalStep', 'intervalMax']);

/**
 * Table names come from `databaseTableNames` (`task`, `group`), as in Celery. Throws `ConfigError` for a name that is no
 * plain identifier and for unknown options.
 */
export function parseOptions({
  settings,
  transportOptions = {},
}: Pick<BackendOptions, 'settings' | 'transportOptions'>): ResolvedOptions {
  const names = record(settings['databaseTableNames'], 'databaseTableNames');
  const schemas = record(settings['databaseTableSchemas'], 'databaseTableSchemas');
  const schemaOf = (table: string): string | undefined =>
    schemas[table] === null || schemas[table] === undefined
      ? undefined
      : checkIdentifier(schemas[table], `databaseTableSchemas.${table}`);
  const options: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(transportOptions)) {
    const name = key.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
    if (name === 'synchronous' || name === 'busyTimeoutMs' || name === 'pollingInterval') options[name] = value;
    else if (!IGNORED.has(name)) {
      throw new ConfigError(
        `The result backend option "${key}" is unknown to the SQL store. Expected one of: synchronous, busyTimeoutMs, pollingInterval.`,
      );
    }
  }
  const { synchronous = 'full', busyTimeoutMs } = options;
  if (synchronous !== 'full' && synchronous !== 'normal') {
    throw new ConfigError(
      `The result backend option "synchronous" is ${JSON.stringify(synchronous)}. Expected "full" or "normal".`,
    );
  }
  if (
    busyTimeoutMs !== undefined &&
    !(typeof busyTimeoutMs === 'number' && busyTimeoutMs >= 1 && busyTimeoutMs < Number.POSITIVE_INFINITY)
  ) {
    throw new ConfigError(
      `The result backend option "busyTimeoutMs" is ${JSON.stringify(busyTimeoutMs)}. Expected milliseconds, at least 1.`,
    );
  }
  return {
    taskTable: checkIdentifier(names['task'] ?? 'celery_taskmeta', 'databaseTableNames.task'),
    groupTable: checkIdentifier(names['group'] ?? 'celery_tasksetmeta', 'databaseTableNames.group'),
    taskSchema: schemaOf('task'),
    groupSchema: schemaOf('group'),
    synchronous,
    busyTimeoutMs,
    pollMs:
      options['pollingInterval'] === undefined
        ? undefined
        : seconds(0.01)(options['pollingInterval'], 'pollingInterval'),
  };
}

function record(value: unknown, setting: string): Readonly<Record<string, unknown>> {
  if (value === undefined || value === null) return {};
  if (typeof value === 'object' && !Array.isArray(value)) return value as Readonly<Record<string, unknown>>;
  throw new ConfigError(
    `The setting "${setting}" is ${JSON.stringify(value)}. Expected an object with the keys "task" and "group".`,
  );
}
