import {
  DecodeError,
  EncodeError,
  type ExceptionInfo,
  isLovageError,
  type Logger,
  MessageTooLargeError,
  type ResultCodec,
  type TaskMeta,
} from '@lovage/core/backend';
import { fromResultTuple, parseTime, readTaskMeta, toResultTuple } from '@lovage/core/protocol';
import { Binary, type Document, Long } from 'mongodb';

const MAX_DEPTH = 64;
/** What a document holds beside its result. */
const OVERHEAD_BYTES = 64 * 1024;

/**
 * A state as Celery keeps it: the fields of its meta beside `_id`, `result` serialized, `date_done` a date. Throws
 * `EncodeError`, or `MessageTooLargeError` for what MongoDB does not take as one document.
 * Source: celery/backends/mongodb.py, _store_result and encode.
 */
export function toDocument(meta: TaskMeta, codec: ResultCodec, maxBytes: number): Document {
  const { task_id, result, date_done, ...rest } = meta;
  const encoded = codec.encode(result);
  const bytes = typeof encoded === 'string' ? Buffer.byteLength(encoded) : encoded.length;
  if (bytes > maxBytes - OVERHEAD_BYTES) {
    throw new MessageTooLargeError(
      `The result of ${bytes} bytes is more than the ${maxBytes - OVERHEAD_BYTES} bytes that MongoDB keeps in one document.`,
      { facts: { limitBytes: maxBytes - OVERHEAD_BYTES, taskId: task_id } },
    );
  }
  const doneAt = date_done === null ? undefined : parseTime(date_done);
  return {
    ...(toBson(rest, 0) as Document),
    result: typeof encoded === 'string' ? encoded : new Binary(encoded),
    date_done: doneAt === undefined ? null : new Date(doneAt),
    _id: task_id,
  };
}

/**
 * A result that cannot be read becomes a FAILURE with a `DecodeError` that says why: whoever waits for it learns of it,
 * and results beside it are not held up.
 */
export function fromDocument(document: Document, codec: ResultCodec, logger: Logger): TaskMeta {
  const { _id, result, ...rest } = document;
  const taskId = String(_id);
  try {
    return readTaskMeta({ ...(fromBson(rest, 0) as Document), result: decoded(result, codec) }, taskId);
  } catch (error) {
    if (!isLovageError(error)) throw error;
    logger.warn({ err: error, taskId }, 'A stored result cannot be read.');
    const info: ExceptionInfo = { exc_type: 'DecodeError', exc_message: [error.message], exc_module: 'lovage' };
    return { status: 'FAILURE', result: info, traceback: null, children: null, date_done: null, task_id: taskId };
  }
}

/** With Celery's serializer `bson` the value stands there itself. */
function decoded(value: unknown, codec: ResultCodec): unknown {
  if (typeof value === 'string') return codec.decode(value);
  if (value instanceof Binary) return codec.decode(value.buffer.subarray(0, value.position));
  return fromBson(value, 0);
}

/**
 * A saved group as Celery keeps it: the ids of its results. What they leave out (groups in a group, parents) is kept in
 * a field of ours. Source: celery/backends/mongodb.py, _save_group.
 */
export function groupToDocument(groupId: string, tuple: unknown, codec: ResultCodec): Document {
  const { children, parent } = fromResultTuple(tuple);
  const references = (children ?? []).map((child) => fromResultTuple(child));
  const isFlat = parent === null && references.every((child) => child.children === null && child.parent === null);
  const stored = (value: unknown): unknown => {
    const encoded = codec.encode(value);
    return typeof encoded === 'string' ? encoded : new Binary(encoded);
  };
  return {
    _id: groupId,
    result: stored(references.map(({ id }) => id)),
    date_done: new Date(),
    ...(isFlat ? {} : { lovage_tuple: stored(tuple) }),
  };
}

export function groupFromDocument({ _id, result, lovage_tuple }: Document, codec: ResultCodec): unknown {
  if (lovage_tuple !== undefined) return decoded(lovage_tuple, codec);
  const ids = decoded(result, codec);
  if (!Array.isArray(ids) || ids.some((id) => typeof id !== 'string')) {
    throw new DecodeError(`The saved group ${JSON.stringify(String(_id))} is no list of ids.`);
  }
  return toResultTuple({ id: String(_id), children: (ids as string[]).map((id) => toResultTuple({ id })) });
}

/** Plain values as BSON has them; what has no form there becomes its text. */
function toBson(value: unknown, depth: number): unknown {
  if (depth > MAX_DEPTH) throw new EncodeError(`A value is nested deeper than ${MAX_DEPTH} levels.`);
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') return value;
  if (typeof value === 'bigint') return BigInt.asIntN(64, value) === value ? Long.fromBigInt(value) : value.toString();
  if (typeof value !== 'object') return null;
  if (value === null || value instanceof Date) return value;
  if (value instanceof Uint8Array) return new Binary(value);
  if (Array.isArray(value)) return value.map((item) => toBson(item, depth + 1));
  const prototype: unknown = Object.getPrototypeOf(value);
  if (value instanceof Map || prototype === Object.prototype || prototype === null) {
    const entries = value instanceof Map ? value.entries() : Object.entries(value);
    return Object.fromEntries(
      Array.from(entries, ([key, item]): [string, unknown] => [String(key), toBson(item, depth + 1)]),
    );
  }
  return textOf(value);
}

function fromBson(value: unknown, depth: number): unknown {
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  if (depth > MAX_DEPTH) throw new DecodeError(`A stored value is nested deeper than ${MAX_DEPTH} levels.`);
  if (value instanceof Binary) return value.buffer.subarray(0, value.position);
  if (Array.isArray(value)) return value.map((item) => fromBson(item, depth + 1));
  if ((value as { _bsontype?: unknown })._bsontype !== undefined) return textOf(value);
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, item]): [string, unknown][] =>
      key === '__proto__' ? [] : [[key, fromBson(item, depth + 1)]],
    ),
  );
}

/** Decimals, UUIDs, ObjectIds and their like say what they are. */
function textOf(value: object): string {
  return (value as { toString(): string }).toString();
}
