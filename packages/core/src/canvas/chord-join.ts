import type { Lovage } from '../app/lovage.ts';
import { toSignatureDict } from '../app/option-names.ts';
import type { ChordPart, ChordStore, ResultBackend, ResultWrite } from '../backend/contract.ts';
import { isLovageError } from '../errors.ts';
import { newTaskId } from '../internal/ids.ts';
import { describeError, taskFailure } from '../protocol/exception-info.ts';
import { ONCE_HEADER } from '../protocol/once-header.ts';
import { ChordError } from '../protocol/task-errors.ts';
import type { TaskMeta } from '../protocol/task-meta.ts';
import type { AsyncResult } from '../result/async-result.ts';
import { GroupResult } from '../result/group-result.ts';
import { READY_STATES } from '../result/states.ts';
import { callErrbacks } from './errbacks.ts';
import {
  asList,
  bodyOf,
  isChain,
  isChord,
  isGroup,
  partsOf,
  readFields,
  type SignatureFields,
  withOptions,
  withParts,
} from './fields.ts';
import { withoutChord } from './freeze.ts';
import type { SignatureDict } from './signature-dict.ts';

/** The end of a task that is a part of a chord. */
export interface ReturnedPart {
  readonly taskId: string;
  readonly groupId: string;
  readonly groupIndex: number | undefined;
  readonly chord: SignatureDict;
  /** SUCCESS, FAILURE or REVOKED. */
  readonly state: string;
  readonly result: unknown;
}

/**
 * Tells a part's chord that the part has ended. Whoever completes the chord sends its body with the parts' results, or,
 * where a part has failed, ends the body with a `ChordError`.
 *
 * Rejects with a retryable error when the store or the broker is away: call it again then, with the same part. It is the
 * caller's message that makes sure of it, so it is settled after this. Does nothing on a store that does not count, whose
 * chords `celery.chord_unlock` looks after. Source: celery/backends/redis.py, on_chord_part_return.
 */
export async function returnChordPart(
  app: Lovage,
  { groupId, groupIndex, chord, ...part }: ReturnedPart,
): Promise<void> {
  const chords = (await app.resultBackend())?.chords;
  if (chords === undefined) return;
  const body = readFields(chord);
  try {
    const parts = await tell(chords, groupId, { ...part, index: groupIndex });
    if (parts === undefined) return;
    const failed = parts.find(({ state }) => state !== 'SUCCESS');
    if (await hasEnded(app, body)) {
      // It was revoked, or whoever sent it died before it could say so.
    } else if (failed !== undefined) {
      await failBody(app, body, chordError(metaOf(failed)));
    } else {
      await sendBody(app, groupId, body, await resultsOf(app, groupId, parts));
    }
  } catch (error) {
    if (isPassing(error)) throw error;
    // It will not be better the next time. Source: celery/backends/redis.py, "Callback error". A part that comes again when
    // all is over, and what was kept of the chord is gone, is no failure of a body that has ended.
    if (!(await hasEnded(app, body))) await failBody(app, body, callbackError(error));
  }
  await chords.finish(groupId);
}

/**
 * Sends the body of a chord. A broker or a sender that dies meanwhile may leave open whether it was sent, and then it is
 * sent again, with the same task id: marked, so that workers run one of them.
 */
export async function sendBody(
  app: Lovage,
  groupId: string,
  body: SignatureFields,
  results: readonly unknown[],
): Promise<void> {
  await app.producer.apply(marked(body, groupId), [results], {}, {});
}

/** With the mark on whatever is sent first. */
function marked(fields: SignatureFields, groupId: string): SignatureFields {
  if (isGroup(fields) || isChord(fields)) {
    return withParts(
      fields,
      partsOf(fields).map((part) => marked(part, groupId)),
    );
  }
  if (isChain(fields)) {
    const [first, ...others] = partsOf(fields);
    return first === undefined ? fields : withParts(fields, [marked(first, groupId), ...others]);
  }
  return withOptions(fields, { headers: { ...fields.options.headers, [ONCE_HEADER]: groupId } });
}

/** A success whose value cannot be kept counts as a failure: without it the chord would wait for ever. */
async function tell(chords: ChordStore, groupId: string, part: ChordPart): Promise<readonly ChordPart[] | undefined> {
  try {
    return await chords.part(groupId, part);
  } catch (error) {
    if (isPassing(error) || part.state !== 'SUCCESS') throw error;
    return chords.part(groupId, { ...part, state: 'FAILURE', result: describeError(error).info });
  }
}

/** True when the same may go well later. */
export function isPassing(error: unknown): boolean {
  return isLovageError(error) && error.retryable;
}

/** Whether chords on this store learn what their parts returned from where results are kept. */
export function readsResults({ chords }: ResultBackend): boolean {
  return chords === undefined || chords.joinsResults === true;
}

/** True when a body's result is there: it ran, failed or was revoked. */
export async function hasEnded(app: Lovage, body: SignatureFields): Promise<boolean> {
  const end = endOf(body);
  const backend = await app.resultBackend();
  const [meta] = end === undefined || backend === undefined ? [] : await backend.load([end]);
  return meta !== undefined && READY_STATES.has(meta.status);
}

/** The parts' results; where a part is a group itself, as the list that the saved group of the chord says. */
async function resultsOf(app: Lovage, groupId: string, parts: readonly ChordPart[]): Promise<readonly unknown[]> {
  const plain = parts.map(({ result }) => result);
  const group = await app.restoreGroup(groupId);
  if (group === undefined || !group.results.some((result) => result instanceof GroupResult)) return plain;
  const metas = new Map(parts.map((part): [string, TaskMeta] => [part.taskId, metaOf(part)]));
  return group.results.map((result) => valueOf(result, metas));
}

function metaOf({ taskId, state, result }: ChordPart): TaskMeta {
  return { status: state, result, traceback: null, children: [], date_done: null, task_id: taskId };
}

/** Source: celery/backends/base.py, on_chord_part_return. */
export function chordError(failed: Pick<TaskMeta, 'status' | 'result' | 'traceback' | 'task_id'>): ChordError {
  const cause = taskFailure(failed);
  return new ChordError(`Dependency ${failed.task_id} raised ${describeError(cause).repr}`, { cause });
}

/** What ends a body that cannot be sent. Source: celery/backends/base.py, on_chord_part_return. */
export function callbackError(error: unknown): ChordError {
  return new ChordError(`Callback error: ${describeError(error).repr}`, { cause: error });
}

/** The value of a result, a group's as a list. */
export function valueOf(result: AsyncResult, metas: ReadonlyMap<string, TaskMeta | undefined>): unknown {
  if (result instanceof GroupResult) return result.results.map((member) => valueOf(member, metas));
  return metas.get(result.id)?.result;
}

/**
 * Ends a chord's body, which will never run, and all that would have followed it, and calls the body's errbacks.
 * Source: celery/backends/base.py, chord_error_from_stack, which leaves what follows the body waiting.
 */
export async function failBody(app: Lovage, body: SignatureFields, error: Error): Promise<void> {
  await endUnrun(app, [body], 'FAILURE', error);
  const { traceback } = describeError(error);
  for (const { options } of answering(body)) {
    const errbacks = asList(options.linkError).map(toSignatureDict);
    const id = options.taskId ?? body.options.taskId ?? newTaskId();
    await callErrbacks(app, { id, rootId: options.rootId ?? id, errbacks }, error, traceback);
  }
}

/** Where a body's errbacks are: in its own options, those of each member of a group, those of a chord's body. */
function answering(body: SignatureFields): readonly SignatureFields[] {
  if (isGroup(body)) return partsOf(body).flatMap(answering);
  return isChord(body) ? answering(bodyOf(body)) : [body];
}

/**
 * Ends frozen signatures that will never run because of `error`: each of their tasks gets `state`, and a chord that one
 * of them is a part of learns of it. So whoever waits for any of them is answered. `stores` false: chords only, by a state
 * where the chord learns of its parts' ends by it.
 */
export async function endUnrun(
  app: Lovage,
  signatures: readonly SignatureFields[],
  state: 'FAILURE' | 'REVOKED',
  error: unknown,
  { stores = true }: { readonly stores?: boolean } = {},
): Promise<void> {
  const tasks = signatures.flatMap(tasksOf);
  const backend = await app.resultBackend();
  if (backend === undefined) return;
  const { info, traceback } = describeError(error);
  const meta = {
    status: state,
    result: info,
    traceback: state === 'FAILURE' ? traceback : null,
    children: [],
    date_done: new Date().toISOString().replace('Z', '+00:00'),
  };
  const written = stores ? tasks : tasks.filter(({ options }) => options.chord !== undefined && readsResults(backend));
  await backend.store(
    written.map(
      ({ options: { taskId, groupId, replyTo } }): ResultWrite => ({
        meta: { ...meta, ...(groupId === undefined ? {} : { group_id: groupId }), task_id: taskId as string },
        ...(replyTo === undefined ? {} : { replyTo }),
      }),
    ),
  );
  for (const { options } of tasks) {
    const { taskId, groupId, groupIndex, chord } = options;
    if (chord === undefined || groupId === undefined) continue;
    await returnChordPart(app, {
      taskId: taskId as string,
      groupId,
      groupIndex,
      chord: toSignatureDict(chord),
      state,
      result: info,
    });
  }
}

/** Every task with an id that a frozen signature would have run, those of its `chain` option too. */
function tasksOf(fields: SignatureFields): readonly SignatureFields[] {
  const after = (fields.options.chain ?? []).flatMap((step) => tasksOf(readFields(toSignatureDict(step))));
  if (isChain(fields) || isGroup(fields)) return [...partsOf(fields).flatMap(tasksOf), ...after];
  if (isChord(fields)) {
    // The body ends along with its header: no part has to tell it.
    const header = partsOf(fields).flatMap(tasksOf).map(withoutChord);
    return [...header, ...tasksOf(bodyOf(fields)), ...after];
  }
  return fields.options.taskId === undefined ? after : [fields, ...after];
}

/** The id under which the result of a frozen signature is waited for; undefined for a group, which has several. */
function endOf(fields: SignatureFields): string | undefined {
  const [last] = fields.options.chain ?? [];
  if (last !== undefined) return endOf(readFields(toSignatureDict(last)));
  if (isGroup(fields)) return undefined;
  if (isChord(fields)) return endOf(bodyOf(fields));
  const step = isChain(fields) ? partsOf(fields).at(-1) : undefined;
  return step === undefined ? fields.options.taskId : endOf(step);
}
