import { types } from 'node:util';
import { isLovageError, type AnyTask, type ErrorCode } from '@lovage/core';
import { matchesAny, RemoteError, type DescribedError } from '@lovage/core/protocol';

/** What only the place where an error was thrown can tell: it has the error itself, and its class. */
export interface ErrorVerdict {
  /** One of the task's `throws`. */
  readonly isExpected: boolean;
  /** One that the task's `retry` options try again. */
  readonly isRetried: boolean;
}

/** An error of a task that ran in a child. */
export class ChildError extends RemoteError {
  readonly verdict: ErrorVerdict;
  /** What it was: thrown by the function, or given to `retry()` as the reason. */
  readonly role: 'thrown' | 'cause';

  constructor(described: DescribedError, verdict: ErrorVerdict, role: ChildError['role']) {
    super(described);
    this.verdict = verdict;
    this.role = role;
  }
}

/** Looks at nothing that a hostile value could answer. */
export function isChildError(error: unknown): error is ChildError {
  return types.isNativeError(error) && error instanceof ChildError;
}

export function judgeError(task: AnyTask, error: unknown): ErrorVerdict {
  if (isChildError(error)) return error.verdict;
  const { retry, throws } = task.options;
  return {
    isExpected: matchesAny(throws, error),
    isRetried:
      retry !== undefined &&
      !matchesAny(retry.notFor, error) &&
      (retry.for === undefined || matchesAny(retry.for, error)),
  };
}

/** By code, so that another installed copy's errors count. User code throws anything, a proxy that throws when looked at too. */
export function isControl<T>(value: unknown, code: ErrorCode): value is T {
  try {
    return isLovageError(value, code);
  } catch {
    return false;
  }
}

/** True when what was thrown is only the signal's doing. Node's own functions throw an `AbortError` with the reason as cause. */
export function isAbort(thrown: unknown, reason: Error): boolean {
  if (thrown === reason) return true;
  try {
    return (
      thrown instanceof Error && thrown.name === 'AbortError' && (thrown.cause === undefined || thrown.cause === reason)
    );
  } catch {
    return false;
  }
}
