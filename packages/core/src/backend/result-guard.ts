import { parseTime } from '../protocol/time.ts';
import type { ResultCodec } from './contract.ts';
import type { KeyValueWrite, ResultGuard, StoredValue } from './key-value-store.ts';

/** How stored states are told apart, in this serializer. */
export function resultGuard(codec: ResultCodec): ResultGuard {
  const read = (value: StoredValue): Readonly<Record<string, unknown>> | undefined => {
    try {
      const meta = codec.decode(value);
      return isRecord(meta) ? meta : undefined;
    } catch {
      return undefined;
    }
  };
  const marks = MARKS[codec.contentType];
  return {
    marks: marks?.('SUCCESS') ?? [],
    failureMarks: FAILURES.flatMap((state) => marks?.(state) ?? []),
    windowBytes: 24,
    isSuccess: (value) => read(value)?.['status'] === 'SUCCESS',
    isFailureSince(value, at) {
      const { status, date_done: done } = read(value) ?? {};
      if (typeof status !== 'string' || typeof done !== 'string' || !FAILURES.includes(status)) return false;
      const doneAt = parseTime(done);
      return doneAt !== undefined && doneAt >= at;
    },
  };
}

/** Whether what a key holds is left alone by a write. */
export function isKept(present: StoredValue, { guard, at }: Pick<KeyValueWrite, 'guard' | 'at'>): boolean {
  if (guard === undefined) return false;
  return isSuccess(present, guard) || (at !== undefined && guard.isFailureSince(present, at));
}

/** By the beginning of the value where that tells. */
function isSuccess(value: StoredValue, guard: ResultGuard): boolean {
  const beginning =
    typeof value === 'string'
      ? value.slice(0, guard.windowBytes)
      : Buffer.from(value.subarray(0, guard.windowBytes)).toString('latin1');
  return guard.marks.some((mark) => beginning.includes(mark)) || guard.isSuccess(value);
}

const FAILURES: readonly string[] = ['FAILURE', 'REVOKED'];

/** Within the first bytes no nested value can look the same. The spaced form is Python's. */
const MARKS: Readonly<Record<string, (state: string) => readonly string[]>> = {
  'application/json': (state) => [`"status": "${state}"`, `"status":"${state}"`],
  // A text of seven bytes, as all of them are.
  'application/x-msgpack': (state) => [`\xa6status\xa7${state}`],
};

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
