import { currentTask, type Logger } from '@lovage/core';
import { RunContext } from './request/context.ts';

/** What became of the task. `over`: it has ended before. `foreign`: another worker of this process runs it. */
export type Blame = 'failed' | 'over' | 'foreign';

/**
 * Keeps the process alive when a task forgets a promise or throws in a timer: what comes from a running task fails that
 * task, the rest is logged. Returns what takes the handlers away.
 */
export function guardProcess(logger: Logger, fail: (context: RunContext, error: unknown) => Blame): () => void {
  function caught(kind: string, error: unknown): void {
    const context = currentTask.getStore();
    const from = context instanceof RunContext ? context : undefined;
    const fields =
      from === undefined ? { err: error } : { err: error, task: from.work.task.name, taskId: from.work.id };
    if (from === undefined) {
      logger.error(fields, `${kind} outside of any task.`);
      return;
    }
    const name = `${from.work.task.name}[${from.work.id}]`;
    const blame = fail(from, error);
    if (blame === 'failed') logger.error(fields, `${kind} in task ${name} fails it.`);
    else if (blame === 'over') logger.error(fields, `${kind} of task ${name} after its end.`);
  }
  const onRejection = (error: unknown): void => caught('Unhandled rejection', error);
  const onException = (error: unknown): void => caught('Uncaught exception', error);
  process.on('unhandledRejection', onRejection);
  process.on('uncaughtException', onException);
  return () => {
    process.off('unhandledRejection', onRejection);
    process.off('uncaughtException', onException);
  };
}
