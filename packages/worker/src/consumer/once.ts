import { isLovageError, type Logger, type Lovage } from '@lovage/core';
import { decodeTaskBody } from '@lovage/core/protocol';
import { Attempt } from '../request/attempt.ts';
import { publishSuccessors } from '../request/successors.ts';
import type { Tracer } from '../request/trace.ts';
import type { Work } from '../request/work.ts';
import type { Workflow } from '../request/workflow.ts';
import type { Claims } from './claim.ts';

/** What is done with a message that may have been run before: `ack` and `requeue` without a run. */
export type Answer = 'run' | 'ack' | 'requeue';

export interface OnceOptions {
  readonly app: Lovage;
  readonly logger: Logger;
  readonly nodeName: string;
  readonly workflow: Workflow;
}

/** A second message with the same id is dropped where the first one was run, and waits where it may be running. */
export async function ifFirst(
  work: Work,
  claims: Claims,
  options: OnceOptions,
  tracer: Tracer,
): Promise<Answer | 'wait'> {
  const { task } = work;
  const { logger } = options;
  let answer;
  try {
    answer = await claims.take(work);
  } catch (error) {
    // The claim may have been written: it is this worker's, and the message is marked as redelivered.
    const isPassing = isLovageError(error) && error.retryable && !work.delivery.redelivered;
    logger.warn(
      { err: error, task: task.name, taskId: work.id },
      `The store of claims is out of reach. Task ${task.name}[${work.id}] ${isPassing ? 'goes back to the broker' : 'runs without one'}.`,
    );
    return isPassing ? 'requeue' : 'run';
  }
  if (answer === 'ours') return 'run';
  if (answer === 'held') {
    const found = await unlessDone(work, options, tracer, 'It waits.');
    return found === 'run' ? 'wait' : found;
  }
  if (answer === 'inherited') {
    const found = await unlessDone(work, options, tracer);
    if (found === 'ack') await claims.end(work, true);
    return found;
  }
  logger.info({ task: task.name, taskId: work.id }, `Task ${task.name}[${work.id}] was sent twice. It runs once.`);
  return 'ack';
}

/**
 * A message whose task is done is not run again; what should follow it is sent if it never was. `otherwise`: what
 * becomes of it when that is not so, in words.
 */
export async function unlessDone(
  work: Work,
  { app, logger, workflow }: OnceOptions,
  tracer: Tracer,
  otherwise: 'It runs again.' | 'It waits.' = 'It runs again.',
): Promise<Answer> {
  const { delivery, request, task } = work;
  let hasSucceeded = false;
  let isDone = false;
  try {
    const backend = await app.resultBackend();
    const [meta] = backend?.capabilities.shared === true ? await backend.load([request.id]) : [];
    if (meta?.status === 'SUCCESS') {
      hasSucceeded = true;
      const body = decodeTaskBody(delivery.message, app.serializers);
      const follows = body.callbacks.length + body.chain.length > 0;
      if (follows && (meta.children ?? []).length === 0) {
        const attempt = new Attempt(tracer, tracer, work, body, 0, undefined);
        await publishSuccessors(app, attempt, meta.result);
      }
      const failure = await workflow.succeeded(request, body, meta.result);
      if (failure !== undefined) throw failure;
      isDone = true;
    }
  } catch (error) {
    if (hasSucceeded && isLovageError(error) && error.retryable) {
      logger.warn(
        { err: error, task: task.name, taskId: work.id },
        `Task ${task.name}[${work.id}] is done already and goes back to the broker: what follows it could not be sent.`,
      );
      return 'requeue';
    }
    const found = hasSucceeded
      ? `Task ${task.name}[${work.id}] is done already, but what follows it cannot be sent.`
      : `It is not known whether task ${task.name}[${work.id}] is done already.`;
    logger.warn({ err: error, task: task.name, taskId: work.id }, `${found} ${otherwise}`);
  }
  if (!isDone) return 'run';
  logger.info({ task: task.name, taskId: work.id }, `Task ${task.name}[${work.id}] is done already`);
  return 'ack';
}
