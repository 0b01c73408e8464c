import { DecodeError } from '../errors.ts';

/**
 * How results refer to results: `[[id, parent], null]` for a task, `[[id, parent], [child, ...]]` for a group.
 * Source: celery/result.py, as_tuple.
 */
export type ResultTuple = readonly [readonly [id: string, parent: ResultTuple | null], readonly ResultTuple[] | null];

/** A result tuple taken apart, one level of it: `parent` and `children` are tuples themselves. */
export interface ResultReference {
  readonly id: string;
  /** null: none. */
  readonly parent: ResultTuple | null;
  /** null: a task; a list: a group. */
  readonly children: readonly ResultTuple[] | null;
}

/** Writes a reference as a tuple. */
export function toResultTuple({
  id,
  parent = null,
  children = null,
}: {
  readonly id: string;
  readonly parent?: ResultTuple | null;
  readonly children?: readonly ResultTuple[] | null;
}): ResultTuple {
  return [[id, parent], children];
}

/**
 * Reads one level of a result tuple; a bare id in place of `[id, parent]` is read too.
 * Throws `DecodeError` when it is none. Source: celery/result.py, result_from_tuple.
 */
export function fromResultTuple(tuple: unknown): ResultReference {
  if (!Array.isArray(tuple) || tuple.length !== 2) throw malformed();
  const [head, children] = tuple as [unknown, unknown];
  const [id, parent] = (Array.isArray(head) ? head : [head, null]) as [unknown, unknown];
  if (typeof id !== 'string') throw malformed();
  if (children !== null && children !== undefined && !Array.isArray(children)) throw malformed();
  // Python tests the parent for truth.
  const hasParent = Array.isArray(parent) && parent.length > 0;
  return {
    id,
    parent: hasParent ? (parent as unknown as ResultTuple) : null,
    children: Array.isArray(children) ? (children as ResultTuple[]) : null,
  };
}

function malformed(): Error {
  return new DecodeError(
    'This is no reference to a result. Expected [[id, parent], null] or [[id, parent], [child, ...]].',
  );
}
