import { DecodeError } from '@lovage/core/backend';
import { fromResultTuple, type ResultTuple, toResultTuple } from '@lovage/core/protocol';
import { PickledObject } from './pickle/objects.ts';
import { MAX_DEPTH, readPickleTree } from './pickle/reader.ts';
import { PythonCall, PythonTuple, writePickle } from './pickle/writer.ts';

/**
 * A saved group as Python reads it: a call of `celery.result.result_from_tuple`, which makes a working `GroupResult`.
 * Python itself pickles the whole object, database URL and password included; this holds the ids alone.
 */
export function writeGroup(tuple: unknown): Uint8Array {
  return writePickle(new PythonCall('celery.result', 'result_from_tuple', [asTuple(tuple, 0)]));
}

/**
 * The result tuple of a saved group, ours or Python's. Throws `DecodeError` for any other shape. Of Python's objects only
 * the ids are looked at. Source: celery/result.py, `AsyncResult.__reduce_args__`, `GroupResult.__reduce_args__`.
 */
export function readGroup(pickle: Uint8Array): ResultTuple {
  const tree = readPickleTree(pickle);
  if (tree instanceof PickledObject && String(tree.callable) === 'celery.result.result_from_tuple') {
    return checked(tree.args[0], 0);
  }
  return fromObject(tree, 0);
}

function asTuple(value: unknown, depth: number): unknown {
  if (!Array.isArray(value) || depth > MAX_DEPTH) return value;
  return new PythonTuple(value.map((item) => asTuple(item, depth + 1)));
}

function checked(tuple: unknown, depth: number): ResultTuple {
  if (depth > MAX_DEPTH) throw unreadable();
  const { id, parent, children } = fromResultTuple(tuple);
  return toResultTuple({
    id,
    parent: parent === null ? null : checked(parent, depth + 1),
    children: children?.map((child) => checked(child, depth + 1)) ?? null,
  });
}

function fromObject(object: unknown, depth: number): ResultTuple {
  if (!(object instanceof PickledObject) || depth > MAX_DEPTH) throw unreadable();
  const { callable, args } = object;
  // The classes of an app are pickled by their name in it: (name, arguments).
  const [name, list] = String(callable) === 'celery.app.base._unpickle_appattr' ? args : [callable.name, args];
  const isResult = callable.module === 'celery.result' || callable.name === '_unpickle_appattr';
  if (!isResult || !Array.isArray(list)) throw unreadable();
  const [id, second] = list as readonly unknown[];
  if (typeof id !== 'string') throw unreadable();
  switch (name) {
    case 'GroupResult':
      if (!Array.isArray(second)) throw unreadable();
      return toResultTuple({ id, children: second.map((child) => fromObject(child, depth + 1)) });
    case 'AsyncResult': {
      const parent: unknown = list[4] ?? null;
      return toResultTuple({ id, parent: parent === null ? null : fromObject(parent, depth + 1) });
    }
    default:
      throw unreadable();
  }
}

function unreadable(): Error {
  return new DecodeError(
    'A saved group is of an unknown shape. Expected a GroupResult of AsyncResults, or their tuple.',
  );
}
