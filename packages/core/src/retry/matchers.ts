import type { RetryMatcher } from '../app/task.ts';

/** True when one of the error classes or predicates fits. A matcher that throws does not. */
export function matchesAny(matchers: readonly RetryMatcher[] | undefined, error: unknown): boolean {
  return matchers?.some((matcher) => matches(matcher, error)) ?? false;
}

function matches(matcher: RetryMatcher, error: unknown): boolean {
  try {
    if (isErrorClass(matcher)) return error instanceof matcher;
    return (matcher as (error: unknown) => unknown)(error) === true;
  } catch {
    return false;
  }
}

function isErrorClass(matcher: RetryMatcher): matcher is abstract new (...args: never[]) => unknown {
  return matcher === (Error as unknown) || (matcher as { prototype?: unknown }).prototype instanceof Error;
}
