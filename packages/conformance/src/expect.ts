import assert from 'node:assert/strict';
import { type ErrorCode, isLovageError, LovageError, type PublishFailure } from '@lovage/core/transport';

/** Waits for the rejection, and holds that it is one of ours with one of these codes. */
export async function rejectsWith(promise: Promise<unknown>, codes: ErrorCode | readonly ErrorCode[], what: string) {
  const expected = typeof codes === 'string' ? [codes] : codes;
  const error = await rejection(promise, what);
  if (!isLovageError(error)) {
    assert.fail(`${what}: expected a LovageError with ${expected.join(' or ')}, got ${describe(error)}`);
  }
  assert.ok(expected.includes(error.code), `${what}: expected ${expected.join(' or ')}, got ${describe(error)}`);
  return error;
}

/** The same, where the error may also be the reason of every failure of a `PublishError`. */
export async function publishRejectsWith(promise: Promise<unknown>, codes: readonly ErrorCode[], what: string) {
  const error = await rejectsWith(promise, [...codes, 'ERR_PUBLISH'], what);
  if (error.code !== 'ERR_PUBLISH') return;
  for (const { error: reason } of failuresOf(error)) {
    assert.ok(codes.includes(reason.code), `${what}: expected ${codes.join(' or ')}, got ${describe(reason)}`);
  }
}

/** Holds that the rejection is a `PublishError`, and gives its failures in the order of their indexes. */
export async function publishFailures(promise: Promise<unknown>, what: string): Promise<readonly PublishFailure[]> {
  const error = await rejectsWith(promise, 'ERR_PUBLISH', what);
  return [...failuresOf(error)].sort((a, b) => a.index - b.index);
}

function failuresOf(error: LovageError): readonly PublishFailure[] {
  const { failures } = error as LovageError & { failures?: readonly PublishFailure[] };
  assert.ok(Array.isArray(failures), `A PublishError has "failures": ${describe(error)}`);
  return failures;
}

async function rejection(promise: Promise<unknown>, what: string): Promise<unknown> {
  const [result] = await Promise.allSettled([promise]);
  if (result.status === 'rejected') return result.reason;
  return assert.fail(`${what}: expected a rejection, but it resolved with ${String(result.value)}`);
}

export function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const code = isLovageError(error) ? ` (${error.code})` : '';
  return `${error.name}${code}: ${error.message}`;
}

/** Holds that both have the same texts, in any order, each as often. */
export function sameTexts(actual: Iterable<string>, expected: Iterable<string>, what: string): void {
  const counts = new Map<string, number>();
  for (const text of expected) counts.set(text, (counts.get(text) ?? 0) + 1);
  for (const text of actual) counts.set(text, (counts.get(text) ?? 0) - 1);
  const lost = [...counts].filter(([, count]) => count > 0).map(([text]) => text);
  const extra = [...counts].filter(([, count]) => count < 0).map(([text]) => text);
  if (lost.length + extra.length === 0) return;
  assert.fail(
    `${what}: ${list('missing', lost)}${lost.length > 0 && extra.length > 0 ? '; ' : ''}${list('too much', extra)}`,
  );
}

function list(word: string, items: readonly string[]): string {
  if (items.length === 0) return '';
  return `${items.length} ${word}: ${items.slice(0, 10).join(', ')}${items.length > 10 ? ', ...' : ''}`;
}
