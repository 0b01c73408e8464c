import type { StoredValue, SuccessGuard } from './key-value-store.ts';

/** Whether a stored value is a SUCCESS, by its beginning where that tells. */
export function isSuccess(value: StoredValue, guard: SuccessGuard): boolean {
  const beginning =
    typeof value === 'string'
      ? value.slice(0, guard.windowBytes)
      : Buffer.from(value.subarray(0, guard.windowBytes)).toString('latin1');
  return guard.marks.some((mark) => beginning.includes(mark)) || guard.isSuccess(value);
}
