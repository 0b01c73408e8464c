import type { StoredValue } from './key-value-store.ts';

/**
 * What a stored part of a chord, `[1, id, state, result]`, says of a task: nothing, that it ended, or that it succeeded.
 * In any serializer.
 */
export function isPartOf(value: StoredValue, taskId: string): 'no' | 'ended' | 'succeeded' {
  const text = typeof value === 'string' ? value : Buffer.from(value).toString('latin1');
  const at = text.indexOf(taskId, AFTER_ONE);
  const end = at + taskId.length;
  if (at < 0 || at > 12 || !begins(text, at, taskId.length) || !/["',\n\x80-\xff]/.test(text.charAt(end))) return 'no';
  return text.slice(end, end + 13).includes('SUCCESS') ? 'succeeded' : 'ended';
}

/** Where the `1` that a part begins with is over. */
const AFTER_ONE = 3;

/** True where a text of this length begins: after a quote or a space, or, in MessagePack, after its length. */
function begins(text: string, at: number, length: number): boolean {
  const before = text.charCodeAt(at - 1);
  if (/["' ]/.test(text.charAt(at - 1)) || before === 0xa0 + length) return true;
  return before === length && text.charCodeAt(at - 2) === 0xd9;
}
