import { AsyncResult } from '@lovage/core';

/** A task that returns another's result hands on where it is. */
export function toStorable(value: unknown): unknown {
  return value instanceof AsyncResult ? value.toTuple() : value;
}
