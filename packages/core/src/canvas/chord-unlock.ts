import type { Lovage } from '../app/lovage.ts';
import type { TaskContext } from '../app/task-context.ts';
import type { ResultBackend } from '../backend/contract.ts';
import { isLovageError } from '../errors.ts';
import { READY_STATES } from '../result/states.ts';
import { callbackError, chordError, failBody, hasEnded, isPassing, sendBody, valueOf } from './chord-join.ts';
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

/** After so long whoever claimed the sending of a body has died before it said that it is done. */
const CLAIM_MS = 30_000;
const DONE = 'done';
/** As a claim of 1970. */
const FREE = '0';
/** Longer than any message may take to come a second time. */
const KEPT = { ttlSeconds: 7 * 24 * 3600 };

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
async function join(app: Lovage, { groupId, header, body: dict }: LockedChord): Promise<boolean> {
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
  return once(backend, groupId, async () => {
    if (failed !== undefined) await failBody(app, body, chordError(failed));
    else
      await sendBody(
        app,
        groupId,
        body,
        results.map((result) => valueOf(result, byId)),
      );
  });
}

/**
 * Ends a chord, unless another message that looks after the same chord does: one that was delivered again after its next
 * look was published makes two of them. False while it is not known whether the other one will. Where the store cannot
 * compare and swap, both do.
 */
async function once({ documents }: ResultBackend, groupId: string, work: () => Promise<void>): Promise<boolean> {
  if (documents === undefined) {
    await work();
    return true;
  }
  const name = `lovage-chord:${groupId}`;
  const present = await documents.read(name);
  if (present?.text === DONE) return true;
  if (present !== undefined && Date.now() - Number(present.text) < CLAIM_MS) return false;
  const claim = await documents.write(name, String(Date.now()), present?.version, KEPT);
  if (claim === undefined) return false;
  try {
    await work();
  } catch (error) {
    // Whoever looks next need not wait for this claim to grow old.
    await documents.write(name, FREE, claim, KEPT).catch(() => {});
    throw error;
  }
  // The body is sent: that this cannot be noted must not send it again.
  await documents.write(name, DONE, claim, KEPT).catch(() => {});
  return true;
}
