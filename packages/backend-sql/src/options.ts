import { type BackendOptions, ConfigError } from '@lovage/core/backend';
import { checkIdentifier } from '@lovage/sql';

/** `result_backend_transport_options` of the SQL store, camelCase or snake_case. */
export interface SqlBackendOptions {
  /**
   * SQLite: `full` (default), a stored result survives a power loss; `normal`, it survives the death of any process. The
   * stricter of all who opened the file in one process decides.
   */
  readonly synchronous?: 'full' | 'normal';
  /** SQLite: how long a call waits for writers in other processes, in milliseconds. Default 10 000. */
  readonly busyTimeoutMs?: number;
}

export interface ResolvedOptions {
  readonly taskTable: string;
  readonly groupTable: string;
  readonly synchronous: 'full' | 'normal';
  readonly busyTimeoutMs: number | undefined;
}

/** Options of Celery's own retries, which other stores share. */
const IGNORED = new Set(['retryPolicy', 'maxRetries', 'intervalStart', 'intervalStep', 'intervalMax']);

/**
 * Table names come from `databaseTableNames` (`task`, `group`), as in Celery. Throws `ConfigError` for a name that is no
 * plain identifier, for unknown options, and for `databaseTableSchemas`, which SQLite does not have.
 */
export function parseOptions({
  settings,
  transportOptions = {},
}: Pick<BackendOptions, 'settings' | 'transportOptions'>): ResolvedOptions {
  const names = record(settings['databaseTableNames'], 'databaseTableNames');
  const schemas = record(settings['databaseTableSchemas'], 'databaseTableSchemas');
  if (Object.values(schemas).some((schema) => schema !== null && schema !== undefined)) {
    throw new ConfigError(
      'The setting "databaseTableSchemas" is not possible with SQLite, which has no schemas. Remove it.',
    );
  }
  const options: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(transportOptions)) {
    const name = key.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
    if (name === 'synchronous' || name === 'busyTimeoutMs') options[name] = value;
    else if (!IGNORED.has(name)) {
      throw new ConfigError(
        `The result backend option "${key}" is unknown to the SQL store. Expected one of: synchronous, busyTimeoutMs.`,
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
    synchronous,
    busyTimeoutMs,
  };
}

function record(value: unknown, setting: string): Readonly<Record<string, unknown>> {
  if (value === undefined || value === null) return {};
  if (typeof value === 'object' && !Array.isArray(value)) return value as Readonly<Record<string, unknown>>;
  throw new ConfigError(
    `The setting "${setting}" is ${JSON.stringify(value)}. Expected an object with the keys "task" and "group".`,
  );
}
