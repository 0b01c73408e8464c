import { AsyncResult } from '@lovage/core';

/** What a function's value is for those who read it: another's result is where that one is, and nothing is null. */
export function toStorable(value: unknown): unknown {
  // Without a value Python finds no result in the state at all.
  if (value === undefined) return null;
  return value instanceof AsyncResult ? value.toTuple() : value;
}
