import { isLovageError, type Logger, type Lovage } from '@lovage/core';
import {
  decodeTaskBody,
  describeError,
  TaskRevokedError,
  type TaskBody,
  type TaskRequest,
} from '@lovage/core/protocol';
import type { Delivery } from '@lovage/core/transport';
import type { Clock } from '../clock.ts';
import type { DeadLetters, DeadReason } from '../dead-letters.ts';
import type { TaskObservers } from '../request/observer.ts';
import type { Work } from '../request/work.ts';
import { isPolledPart, type Workflow } from '../request/workflow.ts';
import type { ResultWriter } from '../results/result-writer.ts';
import { describeState } from '../results/task-state.ts';
import type { ConsumerSession } from './session.ts';

export interface UnrunOptions {
  readonly app: Lovage;
  readonly nodeName: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly results: ResultWriter | undefined;
  readonly deadLetters: DeadLetters;
  readonly observers: TaskObservers;
  readonly workflow: Workflow;
  /** False: the worker stops, and a broker that takes no dead letter is not waited for. */
  readonly isAccepting: () => boolean;
}

/** A message that cannot be run. */
export interface Misfit {
  readonly session: ConsumerSession;
  readonly delivery: Delivery;
  /** undefined: it cannot be told. */
  readonly request: TaskRequest | undefined;
  readonly reason: DeadReason;
  readonly error: unknown;
}

/** Messages that end without a run: each is settled after what becomes of it is kept. */
export class Unrun {
  readonly #options: UnrunOptions;

  constructor(options: UnrunOptions) {
    this.#options = options;
  }

  /** Resolves when the message is settled: so does every other method. */
  revoke(work: Work, reason: 'revoked' | 'expired'): Promise<void> {
    const { logger, observers } = this.#options;
    const { task } = work;
    logger.info({ task: task.name, taskId: work.id, reason }, `Discarding task ${task.name}[${work.id}]: ${reason}`);
    observers.revoked(work, { terminated: false, expired: reason === 'expired' }, undefined);
    return this.#revokeAndSettle(work, reason);
  }

  async #revokeAndSettle(work: Work, reason: 'revoked' | 'expired'): Promise<void> {
    const { results, nodeName, app, clock, logger, workflow } = this.#options;
    const { request, task, session, delivery } = work;
    const error = new TaskRevokedError(reason);
    const body = this.#readBody(delivery);
    const isIgnored = (request.ignoreResult ?? task.options.ignoreResult) && !isPolledPart(app, body);
    const stores = results !== undefined && !isIgnored;
    let failure: unknown;
    if (stores) {
      const state = describeState(
        work,
        { state: 'REVOKED', result: describeError(error).info, traceback: null, children: [] },
        clock.now(),
        app.settings.resultExtended ? { nodeName, body: undefined } : undefined,
      );
      failure = await new Promise<unknown>((resolve) => {
        results.write(state, resolve);
      });
      // As with a task that failed: what will never be possible does not keep the message.
      if (failure !== undefined && !(isLovageError(failure) && failure.retryable)) {
        logger.error(
          { err: failure, task: task.name, taskId: work.id },
          `The state of task ${task.name}[${work.id}] could not be stored.`,
        );
        failure = undefined;
      }
    }
    if (failure === undefined && body !== undefined)
      failure = await workflow.ended(request, body, 'REVOKED', error, stores);
    session.settle(delivery, failure === undefined ? 'ack' : 'requeue');
  }

  /** The body of a message that will not be run; undefined: it cannot be read, and leads to nothing. */
  #readBody(delivery: Delivery): TaskBody | undefined {
    try {
      return decodeTaskBody(delivery.message, this.#options.app.serializers);
    } catch {
      return undefined;
    }
  }

  /** Into the dead letter place, with the task's failure where it is known. */
  async setAside({ session, delivery, request, reason, error }: Misfit): Promise<void> {
    const { logger, deadLetters } = this.#options;
    const hasPlace = deadLetters.hasPlaceFor(delivery.queue);
    logger.error(
      {
        err: error,
        reason,
        queue: delivery.queue,
        ...(request === undefined ? {} : { task: request.task, taskId: request.id }),
      },
      `A message cannot be run (${reason}) and is ${hasPlace ? 'set aside' : 'rejected'}.`,
    );
    const isSafe = await deadLetters.put(
      session.connection,
      delivery,
      reason,
      error,
      () => session.isLive && this.#options.isAccepting(),
    );
    if (!isSafe && hasPlace) {
      session.settle(delivery, 'requeue');
      return;
    }
    if (request !== undefined) {
      const body = this.#readBody(delivery);
      await this.#storeFailure(delivery, request, body, error);
      if (body !== undefined && (await this.#options.workflow.setAside(request, body, error)) !== undefined) {
        // Its workflow does not know yet. Set aside twice is better than a chord that waits for ever.
        session.settle(delivery, 'requeue');
        return;
      }
    }
    session.settle(delivery, isSafe ? 'ack' : 'reject');
  }

  /** A queue's own dead letter place is the broker's to serve; without one the message must not vanish. */
  async reject({ session, delivery }: Work): Promise<void> {
    const { app, deadLetters } = this.#options;
    if (app.queues.find(delivery.queue)?.queue.deadLetter !== undefined || !deadLetters.hasPlaceFor(delivery.queue)) {
      session.settle(delivery, 'reject');
      return;
    }
    const reason = 'The task rejected its message.';
    const isSafe = await deadLetters.put(
      session.connection,
      delivery,
      'rejected',
      reason,
      () => session.isLive && this.#options.isAccepting(),
    );
    session.settle(delivery, isSafe ? 'ack' : 'requeue');
  }

  /** So that whoever waits for the task learns of it. The message itself is safe by now. */
  async #storeFailure(
    delivery: Delivery,
    request: TaskRequest,
    body: TaskBody | undefined,
    error: unknown,
  ): Promise<void> {
    const { results, clock, logger, app, nodeName } = this.#options;
    if (results === undefined || (request.ignoreResult === true && !isPolledPart(app, body))) return;
    const state = describeState(
      { delivery, request },
      { state: 'FAILURE', result: describeError(error).info, traceback: null, children: [] },
      clock.now(),
      app.settings.resultExtended ? { nodeName, body: undefined } : undefined,
    );
    await new Promise<void>((resolve) => {
      results.write(state, (failure) => {
        if (failure !== undefined) logger.error({ err: failure, taskId: request.id }, 'A failure could not be stored.');
        resolve();
      });
    });
  }
}
