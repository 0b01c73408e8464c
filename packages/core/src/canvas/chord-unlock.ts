import type { Lovage } from '../app/lovage.ts';
import type { TaskContext } from '../app/task-context.ts';
import { isLovageError } from '../errors.ts';
import { READY_STATES } from '../result/states.ts';
import { callbackError, chordError, failBody, hasEnded, valueOf } from './chord-join.ts';
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
 * again later, as it does when the store or the broker is away. For stores that do not count.
 * Source: celery/app/builtins.py, unlock_chord.
 */
export async function unlockChord(app: Lovage, context: TaskContext, chord: LockedChord): Promise<null> {
  const countdown = chord.interval ?? app.settings.resultChordRetryInterval;
  try {
    try {
      if (!(await join(app, chord))) context.retry({ countdown, maxRetries: chord.maxRetries ?? null });
    } catch (error) {
      if (isLovageError(error, 'ERR_RETRY') || isPassing(error)) throw error;
      // Nobody else looks after this chord: its body must not be waited for in vain.
      await failBody(app, readFields(chord.body), callbackError(error));
    }
  } catch (error) {
    if (!isPassing(error)) throw error;
    context.retry({ cause: error, countdown, maxRetries: null });
  }
  return null;
}

/** False: look again later. */
async function join(app: Lovage, { header, body: dict }: LockedChord): Promise<boolean> {
  const backend = await app.requireBackend('join a chord');
  const results = header.map((tuple) => app.resultFromTuple(tuple));
  const ids = results.flatMap((result) => result.taskIds());
  const metas = await backend.load(ids);
  const byId = new Map(ids.map((id, index) => [id, metas[index]]));
  if (ids.some((id) => !READY_STATES.has(byId.get(id)?.status ?? 'PENDING'))) return false;
  const body = readFields(dict);
  // This message may have come twice: a body that has ended is not sent again.
  if (await hasEnded(app, body)) return true;
  const failed = ids.map((id) => byId.get(id)).find((meta) => meta?.status !== 'SUCCESS');
  if (failed !== undefined) await failBody(app, body, chordError(failed));
  else await app.applySignature(dict, { args: [results.map((result) => valueOf(result, byId))] });
  return true;
}

function isPassing(error: unknown): boolean {
  return isLovageError(error) && error.retryable;
}
