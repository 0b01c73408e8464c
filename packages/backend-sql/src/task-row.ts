import type { SqlRow, SqlValue } from '@lovage/sql';

/** A row of `celery_taskmeta`. Source: celery/backends/database/models.py. */
export interface TaskRow extends SqlRow {
  readonly task_id: string;
  readonly status: string | null;
  /** A pickle, whatever `result_serializer` says; null for None. */
  readonly result: Uint8Array | null;
  /** `YYYY-MM-DD HH:MM:SS.ffffff`, UTC. Of a state that is no end: when the task was in it. */
  readonly date_done: string | null;
  readonly traceback: string | null;
  readonly name: string | null;
  /** In `result_serializer`. */
  readonly args: Uint8Array | null;
  /** In `result_serializer`. */
  readonly kwargs: Uint8Array | null;
  readonly worker: string | null;
  readonly retries: number | null;
  readonly queue: string | null;
}

const EXTENDED = ['name', 'args', 'kwargs', 'worker', 'retries', 'queue'] as const;
/** All but the number; a table that an older Celery made lacks those of `result_extended`. */
export const TASK_COLUMNS = ['task_id', 'status', 'result', 'date_done', 'traceback', ...EXTENDED] as const;

export type TaskColumn = (typeof TASK_COLUMNS)[number];

/** What was read of a row; null for the columns that the table lacks. */
export function toTaskRow(row: SqlRow): TaskRow {
  const text = (column: TaskColumn): string | null => textOf(row[column] ?? null);
  const bytes = (column: TaskColumn): Uint8Array | null => {
    const value = row[column] ?? null;
    return typeof value === 'string' ? Buffer.from(value) : value instanceof Uint8Array ? value : null;
  };
  const { retries } = row;
  return {
    task_id: text('task_id') ?? '',
    status: text('status'),
    result: bytes('result'),
    // PostgreSQL leaves out zeros at the end, which Python writes.
    date_done: text('date_done')?.replace(/\.\d{1,5}$/, (fraction) => fraction.padEnd(7, '0')) ?? null,
    traceback: text('traceback'),
    name: text('name'),
    args: bytes('args'),
    kwargs: bytes('kwargs'),
    worker: text('worker'),
    retries: typeof retries === 'number' ? retries : null,
    queue: text('queue'),
  };
}

/** Text that came as such, or as its bytes. */
export function textOf(value: SqlValue): string | null {
  if (value === null) return null;
  return value instanceof Uint8Array
    ? Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('utf8')
    : String(value);
}
