import type { ResultCodec } from './contract.ts';
import type { SuccessGuard } from './key-value-store.ts';

/** How a stored state is known to be a SUCCESS, in this serializer. */
export function successGuard(codec: ResultCodec): SuccessGuard {
  return {
    marks: SUCCESS_MARKS[codec.contentType] ?? [],
    windowBytes: 24,
    isSuccess: (value) => {
      try {
        const meta = codec.decode(value);
        return isRecord(meta) && meta['status'] === 'SUCCESS';
      } catch {
        return false;
      }
    },
  };
}

/** Within the first bytes no nested value can look the same. The spaced form is Python's. */
const SUCCESS_MARKS: Readonly<Record<string, readonly string[]>> = {
  'application/json': ['"status": "SUCCESS"', '"status":"SUCCESS"'],
  'application/x-msgpack': ['\xa6status\xa7SUCCESS'],
};

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
