import { randomUUID } from 'node:crypto';
import { currentTask, type AnyTask, type AsyncResult, type Lovage, type Logger } from '@lovage/core';
import type { SignatureDict } from '@lovage/core/protocol';
import type { Attempt } from './attempt.ts';

/**
 * Publishes what follows a success: callbacks, then the next of the chain. Both become children of the task. Resolves
 * when the broker has all of it. Source: celery/app/trace.py; a group of callbacks: celery/canvas.py, group.
 */
export async function publishSuccessors(app: Lovage, attempt: Attempt, value: unknown): Promise<void> {
  const { callbacks, chain } = attempt.body;
  await currentTask.run(attempt.context, async () => {
    if (callbacks.length === 1) {
      await app.applySignature(callbacks[0] as SignatureDict, { args: [value] });
    } else if (callbacks.length > 1) {
      const results = await applyGroup(app, callbacks, [value], {});
      attempt.context.addChild([[results.groupId, null], results.tuples]);
    }
    const next = chain.at(-1);
    if (next !== undefined) await app.applySignature(next, { args: [value], chain: chain.slice(0, -1) });
  });
}

/** Sends signatures as one new group that is not noted as a child. */
async function applyGroup(
  app: Lovage,
  signatures: readonly SignatureDict[],
  args: readonly unknown[],
  parent: { readonly parentId?: string; readonly rootId?: string },
): Promise<{ groupId: string; tuples: unknown[] }> {
  const groupId = randomUUID();
  const results: AsyncResult[] = await Promise.all(
    signatures.map((signature, groupIndex) =>
      app.applySignature(signature, { args, groupId, groupIndex, addToParent: false, ...parent }),
    ),
  );
  return { groupId, tuples: results.map((result) => result.toTuple()) };
}

/**
 * Calls the errbacks of a failed task. One that is registered here, is not bound and takes more than one positional
 * argument is called in place with `(request, error, traceback)`, and its own error is logged; any other is sent as a
 * task that gets the failed task's id. Source: celery/backends/base.py, _call_task_errbacks.
 */
export async function callErrbacks(
  app: Lovage,
  logger: Logger,
  attempt: Attempt,
  error: unknown,
  traceback: string | null,
): Promise<void> {
  const { work, body, context } = attempt;
  const sent: SignatureDict[] = [];
  for (const errback of body.errbacks) {
    const task =
      errback.subtask_type === null || errback.subtask_type === undefined ? app.tasks.get(errback.task) : undefined;
    if (task === undefined || !isCalledInPlace(task)) {
      sent.push(errback);
      continue;
    }
    const own = errback.args ?? [];
    const args = errback.immutable ? own : [context.request, error, traceback, ...own];
    try {
      await currentTask.run(context, () => task.run(context, args, errback.kwargs ?? {}));
    } catch (failure) {
      logger.error(
        { error: failure, taskId: work.id, task: work.task.name, errback: errback.task },
        `Errback ${errback.task} of task ${work.task.name}[${work.id}] failed.`,
      );
    }
  }
  if (sent.length === 0) return;
  const parent = { parentId: work.id, rootId: work.request.rootId };
  await currentTask.run(context, () => applyGroup(app, sent, [work.id], parent));
}

const calledInPlace = new WeakMap<AnyTask, boolean>();

function isCalledInPlace(task: AnyTask): boolean {
  let answer = calledInPlace.get(task);
  if (answer === undefined) {
    const { bind, input } = task.declared;
    answer = bind !== true && input === undefined && [2, 3, 4, 5, 6].some((count) => takes(task, count));
    calledInPlace.set(task, answer);
  }
  return answer;
}

function takes(task: AnyTask, count: number): boolean {
  try {
    return !(task.prepare(Array.from({ length: count }), {}) instanceof Promise);
  } catch {
    return false;
  }
}
