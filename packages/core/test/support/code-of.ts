import { isLovageError } from '../../src/errors.ts';

/** The code of the error that a call throws. */
export function codeOf(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return isLovageError(error) ? error.code : error;
  }
  return 'nothing was thrown';
}
