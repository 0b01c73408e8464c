import type { Lovage } from '../app/lovage.ts';
import type { TaskContext } from '../app/task-context.ts';
import { READY_STATES } from '../result/states.ts';
import { chordError, failBody, hasEnded, valueOf } from './chord-join.ts';
import { readFields } from './fields.ts';
import type { SignatureDict } from './signature-dict.ts';

export interface LockedChord {
  readonly groupId: string;
  readonly body: SignatureDict;
  readonly interval: number | null | undefined;
  readonly maxRetries: number | null | undefined;
  /** Tuples of the header's results. */
  readonly header: readonly unknown[];
}

/**
 * Looks whether all parts of a chord have ended: if so the body is sent, or fails with a `ChordError`; if not it looks
 * again later. For stores that do not count. Source: celery/app/builtins.py, unlock_chord.
 */
export async function unlockChord(app: Lovage, context: TaskContext, chord: LockedChord): Promise<null> {
  const backend = await app.requireBackend('join a chord');
  const results = chord.header.map((tuple) => app.resultFromTuple(tuple));
  const ids = results.flatMap((result) => result.taskIds());
  const metas = await backend.load(ids);
  const byId = new Map(ids.map((id, index) => [id, metas[index]]));
  if (ids.some((id) => !READY_STATES.has(byId.get(id)?.status ?? 'PENDING'))) {
    context.retry({
      countdown: chord.interval ?? app.settings.resultChordRetryInterval,
      maxRetries: chord.maxRetries ?? null,
    });
  }
  const body = readFields(chord.body);
  // This message may have come twice: a body that has ended is not sent again.
  if (await hasEnded(app, body)) return null;
  const failed = ids.map((id) => byId.get(id)).find((meta) => meta?.status !== 'SUCCESS');
  if (failed !== undefined) {
    await failBody(app, body, chordError(failed));
    return null;
  }
  await app.applySignature(chord.body, { args: [results.map((result) => valueOf(result, byId))] });
  return null;
}
