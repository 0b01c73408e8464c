import {
  type ExceptionInfo,
  isLovageError,
  type Logger,
  READY_STATES,
  type ResultCodec,
  type TaskMeta,
} from '@lovage/core/backend';
import { PickledObject } from './pickle/objects.ts';
import { readPickle, readPickleTree } from './pickle/reader.ts';
import { PythonTuple, writePickle } from './pickle/writer.ts';
import type { TaskRow } from './task-row.ts';

/** States whose result is an exception. Source: celery/states.py, EXCEPTION_STATES. */
const EXCEPTION_STATES = new Set(['RETRY', 'FAILURE', 'REVOKED']);

/**
 * `at`: when the task was in this state, epoch milliseconds. A row of a state that is no end has that time, so that it does
 * not replace an end of a later one, and is removed some day. Throws `EncodeError` when a value has no Python form.
 */
export function toRow(meta: TaskMeta, codec: ResultCodec, at: number = Date.now()): TaskRow {
  const isExtended = meta.name !== undefined || meta.args !== undefined || meta.worker !== undefined;
  return {
    task_id: meta.task_id,
    status: meta.status,
    result: meta.result === null || meta.result === undefined ? null : writePickle(pythonResult(meta)),
    // Of the same moment, the state was before the end.
    date_done: toColumnDate(READY_STATES.has(meta.status) ? meta.date_done : new Date(at - 1).toISOString()),
    traceback: cleanText(meta.traceback),
    name: cleanText(meta.name),
    args: isExtended ? encoded(meta.args, codec) : null,
    kwargs: isExtended ? encoded(meta.kwargs, codec) : null,
    worker: cleanText(meta.worker),
    retries: meta.retries ?? null,
    queue: cleanText(meta.queue),
  };
}

/**
 * A result that cannot be read becomes a FAILURE with a `DecodeError` that says why: whoever waits for it learns of it,
 * and results beside it are not held up.
 */
export function fromRow(row: TaskRow, codec: ResultCodec, logger: Logger): TaskMeta {
  const { task_id, traceback } = row;
  const status = row.status ?? 'PENDING';
  const isExtended = [row.name, row.args, row.worker, row.queue].some((value) => value !== null && value !== undefined);
  try {
    return {
      status,
      result: row.result === null ? null : readResult(row.result, status),
      traceback,
      children: null,
      date_done: READY_STATES.has(status) ? fromColumnDate(row.date_done) : null,
      ...(isExtended
        ? {
            name: row.name,
            args: decoded(row.args, codec),
            kwargs: decoded(row.kwargs, codec),
            worker: row.worker,
            retries: row.retries,
            queue: row.queue,
          }
        : {}),
      task_id,
    };
  } catch (error) {
    if (!isLovageError(error)) throw error;
    logger.warn({ err: error, taskId: task_id }, 'A stored result cannot be read.');
    const info: ExceptionInfo = { exc_type: 'DecodeError', exc_message: [error.message], exc_module: 'lovage' };
    return {
      status: 'FAILURE',
      result: info,
      traceback,
      children: null,
      date_done: fromColumnDate(row.date_done),
      task_id,
    };
  }
}

/** Python makes the exception from a tuple of arguments. */
function pythonResult({ status, result }: TaskMeta): unknown {
  if (!EXCEPTION_STATES.has(status) || typeof result !== 'object' || result === null) return result;
  const { exc_message: message } = result as ExceptionInfo;
  return Array.isArray(message) ? { ...result, exc_message: new PythonTuple(message) } : result;
}

/** With `result_serializer` pickle, Celery stores the exception itself: its class and arguments are read as data. */
function readResult(pickle: Uint8Array, status: string): unknown {
  if (!EXCEPTION_STATES.has(status)) return readPickle(pickle);
  const tree = readPickleTree(pickle);
  if (!(tree instanceof PickledObject)) return readPickle(pickle);
  const info: ExceptionInfo = {
    exc_type: tree.callable.name,
    exc_message: tree.args.map((arg) => (typeof arg === 'object' && arg !== null ? '<unreadable>' : arg)),
    exc_module: tree.callable.module === '__builtin__' ? 'builtins' : tree.callable.module,
  };
  return info;
}

function encoded(value: unknown, codec: ResultCodec): Uint8Array | null {
  if (value === undefined || value === null) return null;
  const data = codec.encode(value);
  return typeof data === 'string' ? Buffer.from(data) : data;
}

function decoded(data: Uint8Array | string | null, codec: ResultCodec): unknown {
  if (data === null || data === undefined) return null;
  const isText = codec.contentEncoding !== 'binary';
  return codec.decode(typeof data === 'string' || !isText ? data : Buffer.from(data).toString('utf8'));
}

/** SQLite's clients cut a text at NUL, and PostgreSQL refuses it. */
function cleanText(text: string | null | undefined): string | null {
  if (text === undefined || text === null) return null;
  return text.includes('\0') ? text.replaceAll('\0', '\ufffd') : text;
}

/** ISO 8601 to SQLAlchemy's text of a naive datetime in UTC. Throws nothing: what is no date is none. */
export function toColumnDate(iso: string | null): string | null {
  if (iso === null) return null;
  const match = /^(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:\.(\d{1,6})\d*)?(Z|[+-]\d\d:?\d\d)?$/.exec(iso);
  if (match === null) return null;
  const [, wall = '', fraction = '', zone = 'Z'] = match;
  const date = new Date(`${wall.replace(' ', 'T')}${zone.replace(/^(...)(\d\d)$/, '$1:$2')}`);
  return Number.isNaN(date.getTime())
    ? null
    : `${date.toISOString().slice(0, 19).replace('T', ' ')}.${fraction.padEnd(6, '0')}`;
}

function fromColumnDate(text: string | null): string | null {
  return text === null ? null : `${text.replace(' ', 'T')}+00:00`;
}

/**
 * Whether `row` leaves a stored one alone: a SUCCESS, or an end that is later than it. The statements that write decide it
 * themselves.
 */
export function isKept(stored: TaskRow, row: TaskRow): boolean {
  if (stored.status === 'SUCCESS') return true;
  if (!READY_STATES.has(stored.status ?? '') || READY_STATES.has(row.status ?? '')) return false;
  return stored.date_done !== null && row.date_done !== null && stored.date_done > row.date_done;
}

/** {@link isKept} the other way round, in SQL: whether a row that is there is replaced. */
export function isReplaced(stored: (column: string) => string, given: (column: string) => string): string {
  const [status, done] = [stored('status'), stored('date_done')];
  const isOpen = `${status} NOT IN ('FAILURE', 'REVOKED') OR ${given('status')} IN ('SUCCESS', 'FAILURE', 'REVOKED')`;
  const isBefore = `${done} IS NULL OR ${done} <= ${given('date_done')}`;
  return `(${status} IS NULL OR (${status} <> 'SUCCESS' AND (${isOpen} OR ${isBefore})))`;
}

/** The row with a time that is before it, in whole seconds; for columns that round, unless it is an end. */
export function inWholeSeconds(row: TaskRow): TaskRow {
  if (row.date_done === null || READY_STATES.has(row.status ?? '')) return row;
  const before = Date.parse(`${row.date_done.slice(0, 19).replace(' ', 'T')}Z`) - 1000;
  return { ...row, date_done: toColumnDate(new Date(before).toISOString()) };
}
