import { isLovageError, type Logger, type Lovage } from '@lovage/core';
import { decodeTaskBody } from '@lovage/core/protocol';
import { Attempt } from '../request/attempt.ts';
import { publishSuccessors } from '../request/successors.ts';
import type { Tracer } from '../request/trace.ts';
import type { Work } from '../request/work.ts';
import type { Workflow } from '../request/workflow.ts';
import { claim } from './claim.ts';

/** What is done with a message that may have been run before: `ack` and `requeue` without a run. */
export type Answer = 'run' | 'ack' | 'requeue';

export interface OnceOptions {
  readonly app: Lovage;
  readonly logger: Logger;
  readonly nodeName: string;
  readonly workflow: Workflow;
}

/** A second message with the same id is dropped, where one may have been sent. */
export async function ifFirst(work: Work, { app, logger, nodeName }: OnceOptions): Promise<Answer> {
  const { task } = work;
  let isFirst: boolean;
  try {
    isFirst = await claim(app, work, nodeName);
  } catch (error) {
    // The claim may have been written: the message is marked as redelivered then, and is not asked again.
    logger.warn({ err: error, task: task.name, taskId: work.id }, 'The store of claims is out of reach.');
    return 'requeue';
  }
  if (!isFirst) {
    logger.info({ task: task.name, taskId: work.id }, `Task ${task.name}[${work.id}] was sent twice. It runs once.`);
    return 'ack';
  }
  return 'run';
}

/** A redelivered message whose task is done is not run again; what should follow it is sent if it never was. */
export async function unlessDone(work: Work, { app, logger, workflow }: OnceOptions, tracer: Tracer): Promise<Answer> {
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
    logger.warn(
      { err: error, task: task.name, taskId: work.id },
      `It is not known whether task ${task.name}[${work.id}] is done already. It runs again.`,
    );
  }
  if (!isDone) return 'run';
  logger.info({ task: task.name, taskId: work.id }, `Task ${task.name}[${work.id}] is done already`);
  return 'ack';
}
