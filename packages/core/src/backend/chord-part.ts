import type { StoredValue } from './key-value-store.ts';

/** What a stored part of a chord says of a task: nothing, that it ended, or that it succeeded. In any serializer. */
export function isPartOf(value: StoredValue, taskId: string): 'no' | 'ended' | 'succeeded' {
  const text = typeof value === 'string' ? value : Buffer.from(value).toString('latin1');
  const at = text.indexOf(taskId);
  if (at < 0 || at > 12 || /[\w-]/.test(text.charAt(at + taskId.length))) return 'no';
  return text.slice(at + taskId.length, at + taskId.length + 13).includes('SUCCESS') ? 'succeeded' : 'ended';
}
