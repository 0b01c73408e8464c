import { currentTask } from '../app/current-task.ts';
import type { Lovage } from '../app/lovage.ts';
import type { RequestInfo, TaskContext } from '../app/task-context.ts';
import type { AnyTask } from '../app/task.ts';
import { groupOf, readFields, type SignatureFields } from './fields.ts';
import type { SignatureDict } from './signature-dict.ts';

/** A task that has failed, as its errbacks learn of it. */
export interface FailedTask {
  readonly id: string;
  readonly rootId: string;
  readonly errbacks: readonly SignatureDict[];
  /** What errbacks that are called in place are given; the id and root of a task that never ran. */
  readonly request?: RequestInfo;
  /** The context in which they run. Default: that of the running task. */
  readonly context?: TaskContext;
}

/**
 * Calls the errbacks of a failed task. One that is registered here, is not bound and takes more than one positional
 * argument is called in place with `(request, error, traceback)`, and its own error is logged; any other is sent as a
 * task that gets the failed task's id. Source: celery/backends/base.py, _call_task_errbacks.
 */
export async function callErrbacks(
  app: Lovage,
  { id, rootId, errbacks, request, context = currentTask.getStore() }: FailedTask,
  error: unknown,
  traceback: string | null,
): Promise<void> {
  const sent: SignatureFields[] = [];
  for (const errback of errbacks) {
    const isPlain = errback.subtask_type === null || errback.subtask_type === undefined;
    const task = isPlain ? app.tasks.get(errback.task) : undefined;
    if (task === undefined || context === undefined || !isCalledInPlace(task)) {
      sent.push(readFields(errback));
      continue;
    }
    const own = errback.args ?? [];
    const args = errback.immutable ? own : [request ?? { id, rootId }, error, traceback, ...own];
    try {
      await currentTask.run(context, () => task.run(context, args, errback.kwargs ?? {}));
    } catch (failure) {
      app.logger.error(
        { err: failure, taskId: id, errback: errback.task },
        `Errback ${errback.task} of task ${id} failed.`,
      );
    }
  }
  if (sent.length === 0) return;
  const options = { parentId: id, rootId, addToParent: false };
  const send = (): Promise<unknown> => app.producer.apply(groupOf(sent), [id], {}, options);
  await (context === undefined ? send() : currentTask.run(context, send));
}

const calledInPlace = new WeakMap<AnyTask, boolean>();

/** Whether an errback runs where the failed task ran. See {@link callErrbacks}. */
export function isCalledInPlace(task: AnyTask): boolean {
  let answer = calledInPlace.get(task);
  if (answer === undefined) {
    const { bind, input } = task.declared;
    const isBuiltin = task.name.startsWith('celery.');
    answer = !isBuiltin && bind !== true && input === undefined && [2, 3, 4, 5, 6].some((count) => takes(task, count));
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
