import { isLovageError, type Logger, type Lovage } from '@lovage/core';
import {
  callErrbacks,
  describeError,
  endUnrun,
  readFields,
  readsResults,
  returnChordPart,
  type TaskBody,
  type TaskRequest,
} from '@lovage/core/protocol';
import type { Clock } from '../clock.ts';

export interface WorkflowOptions {
  readonly app: Lovage;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Milliseconds for which a store or broker that is away is tried again. */
  readonly deadlineMs: number;
  /** True when the worker stops and nothing is tried again. */
  readonly isStopped: () => boolean;
}

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 1000;

/**
 * Whether a task is a part of a chord that learns of its parts' ends by their stored states, such as one that
 * `celery.chord_unlock` looks after. So that state is kept even where results are ignored.
 */
export function isPolledPart(app: Lovage, body: TaskBody | undefined): boolean {
  const backend = app.openedBackend();
  return body?.chord !== undefined && (backend === undefined || readsResults(backend));
}

/**
 * What a task's end means for the workflow that it belongs to: a part of a chord reports to it, and what would have
 * followed a task that did not succeed ends as well. A store that is away is tried again for as long as a result is.
 * Every step may be done twice: until all are done the message is in the broker, and its redelivery does them again.
 */
export class Workflow {
  readonly #options: WorkflowOptions;

  constructor(options: WorkflowOptions) {
    this.#options = options;
  }

  /** Resolves with what made it impossible and may pass; undefined: done, or it will never be possible, which is logged. */
  succeeded(request: TaskRequest, body: TaskBody, result: unknown): Promise<unknown> {
    if (body.chord === undefined) return Promise.resolve(undefined);
    return this.#try(request, () => this.#part(request, body, 'SUCCESS', result));
  }

  /** {@link succeeded} for a task that failed or was revoked. `stores`: whether what will not run gets a state. */
  ended(
    request: TaskRequest,
    body: TaskBody,
    state: 'FAILURE' | 'REVOKED',
    error: unknown,
    stores: boolean,
  ): Promise<unknown> {
    if (body.chord === undefined && body.chain.length === 0) return Promise.resolve(undefined);
    return this.#try(request, async () => {
      if (body.chain.length > 0) {
        await endUnrun(this.#options.app, body.chain.map(readFields), state, error, { stores });
      }
      await this.#part(request, body, state, describeError(error).info);
    });
  }

  /** {@link ended} for a message that was set aside without being run, its errbacks too. */
  async setAside(request: TaskRequest, body: TaskBody, error: unknown): Promise<unknown> {
    const { app, logger } = this.#options;
    const { id, rootId } = request;
    try {
      await callErrbacks(app, { id, rootId, errbacks: body.errbacks }, error, null);
    } catch (failure) {
      logger.error({ err: failure, taskId: id }, `An errback of task ${request.task}[${id}] could not be sent.`);
    }
    return this.ended(request, body, 'FAILURE', error, true);
  }

  async #part(request: TaskRequest, { chord }: TaskBody, state: string, result: unknown): Promise<void> {
    const { id: taskId, group: groupId, groupIndex } = request;
    if (chord === undefined || groupId === undefined) return;
    await returnChordPart(this.#options.app, { taskId, groupId, groupIndex, chord, state, result });
  }

  async #try({ id, task }: TaskRequest, work: () => Promise<void>): Promise<unknown> {
    const { clock, logger, deadlineMs, isStopped } = this.#options;
    const deadline = clock.monotonic() + deadlineMs;
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2)) {
      try {
        await work();
        return undefined;
      } catch (error) {
        const isPassing = isLovageError(error) && error.retryable;
        logger.error(
          { err: error, task, taskId: id },
          `What the end of task ${task}[${id}] means for its workflow could not be done${isPassing ? ' yet' : ''}.`,
        );
        if (!isPassing) return undefined;
        if (isStopped() || clock.monotonic() + pauseMs > deadline) return error;
        await new Promise<void>((resolve) => {
          clock.after(pauseMs, resolve);
        });
        if (isStopped()) return error;
      }
    }
  }
}
