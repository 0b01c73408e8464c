import {
  currentTask,
  isLovageError,
  type ApplyOptions,
  type FailureInfo,
  type Logger,
  type Lovage,
  type RetryOptions,
} from '@lovage/core';
import type { ResultWrite } from '@lovage/core/backend';
import {
  accumulated,
  callErrbacks,
  describeError,
  MaxRetriesExceededError,
  reprResult,
  retryDelaySeconds,
  TaskRevokedError,
  TimeLimitExceeded,
  type Ignore,
  type Reject,
  type Retry,
} from '@lovage/core/protocol';
import type { Clock } from '../clock.ts';
import { canLog } from '../log.ts';
import type { ResultWriter, Written } from '../results/result-writer.ts';
import { describeState } from '../results/task-state.ts';
import type { Attempt, AttemptEvents } from './attempt.ts';
import type { HookCall } from './hooks.ts';
import type { ContextHost, Replacement, RunContext } from './context.ts';
import { isAbort, isControl, judgeError } from './matchers.ts';
import type { TaskObservers } from './observer.ts';
import { retryDraft } from './retry-draft.ts';
import type { Ending } from './settlement.ts';
import { toStorable } from './storable.ts';
import { publishSuccessors } from './successors.ts';
import { isPolledPart, type Workflow } from './workflow.ts';

export interface TracerOptions {
  readonly app: Lovage;
  readonly nodeName: string;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  /** undefined: no results are kept. */
  readonly results: ResultWriter | undefined;
  readonly workflow: Workflow;
  readonly observers: TaskObservers;
  /** What becomes of a function that does not end when it should, in words. */
  readonly fate: string;
  /** Calls a handler of the task where its function ran. */
  readonly callHook: (attempt: Attempt, call: HookCall, value: unknown) => Promise<void>;
  /** The function's part is over: its slot is free, what follows goes on. */
  readonly onFunctionEnd: (attempt: Attempt) => void;
  /** Nobody waits for the room that a settlement makes. */
  readonly mayLinger: () => boolean;
  /** All that follows is done; what is left is to settle the message. */
  readonly onEnd: (attempt: Attempt, ending: Ending) => void;
}

const RUNTIME_DIGITS = 6;

/**
 * What follows from how a task's function ended, in an order that survives the death of the worker at any point:
 * successors published, result stored, handlers called, message settled. Whoever dies between two of them leaves the
 * message in the broker. Source: celery/app/trace.py.
 */
export class Tracer implements AttemptEvents, ContextHost {
  readonly nodeName: string;
  readonly logger: Logger;
  readonly #app: Lovage;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #results: ResultWriter | undefined;
  readonly #workflow: Workflow;
  readonly #extended: boolean;
  readonly #observers: TaskObservers;
  readonly #fate: string;
  readonly #callHook: TracerOptions['callHook'];
  readonly #onFunctionEnd: (attempt: Attempt) => void;
  readonly #mayLinger: () => boolean;
  readonly #onEnd: (attempt: Attempt, ending: Ending) => void;

  constructor(options: TracerOptions) {
    const {
      app,
      nodeName,
      clock,
      random,
      logger,
      results,
      observers,
      fate,
      callHook,
      onFunctionEnd,
      mayLinger,
      onEnd,
    } = options;
    this.#app = app;
    this.nodeName = nodeName;
    this.#clock = clock;
    this.#random = random;
    this.logger = logger;
    this.#results = results;
    this.#workflow = options.workflow;
    this.#extended = app.settings.resultExtended;
    this.#observers = observers;
    this.#fate = fate;
    this.#callHook = callHook;
    this.#onFunctionEnd = onFunctionEnd;
    this.#mayLinger = mayLinger;
    this.#onEnd = onEnd;
  }

  /** Notes that the task has begun, and in which process, where that is asked for. */
  started(attempt: Attempt, pid: number): void {
    if (!attempt.task.options.trackStarted || this.#isIgnored(attempt) || this.#results === undefined) return;
    const meta = { pid, hostname: this.nodeName };
    // A task is not run again because its STARTED could not be kept; the writer has logged why.
    this.storeState(attempt.context, 'STARTED', meta).catch(() => {});
  }

  storeState(context: RunContext, state: string, meta: unknown): Promise<void> {
    const attempt = context.work.attempt;
    const results = this.#results;
    if (results === undefined || attempt === undefined || attempt.isOver || attempt.isFenced) return Promise.resolve();
    const writing = this.#write(results, attempt, this.#state(attempt, state, meta, null));
    const before = context.writes;
    // Without their outcomes, or each would keep all those before it for as long as the task runs.
    context.writes = Promise.allSettled(before === undefined ? [writing] : [before, writing]).then(() => undefined);
    return writing;
  }

  // How the function ended.

  returned(attempt: Attempt, value: unknown): void {
    this.#functionEnded(attempt);
    if (attempt.isFenced) {
      this.#end(attempt, 'fenced');
      return;
    }
    const { body, context } = attempt;
    const result = toStorable(value);
    if (body.callbacks.length === 0 && body.chain.length === 0 && context.writes === undefined) {
      this.#storeSuccess(attempt, result);
    } else {
      this.#guard(attempt, this.#succeed(attempt, result));
    }
  }

  threw(attempt: Attempt, error: unknown): void {
    this.#functionEnded(attempt);
    this.#guard(attempt, this.#judge(attempt, error));
  }

  timedOut(attempt: Attempt): void {
    this.#functionEnded(attempt);
    const seconds = (attempt.hardLimitMs ?? 0) / 1000;
    const error = new TimeLimitExceeded(seconds);
    attempt.abort(error);
    this.logger.error(
      { task: attempt.task.name, taskId: attempt.work.id, seconds },
      `Hard time limit (${seconds}s) exceeded for ${label(attempt)}. ${this.#fate}`,
    );
    this.#guard(attempt, this.#fail(attempt, error, 'timeout'));
  }

  lost(attempt: Attempt, error: Error): void {
    this.#functionEnded(attempt);
    this.#guard(attempt, this.#fail(attempt, error, 'worker-lost'));
  }

  /** Ends an attempt whose function did not heed its signal. */
  abandon(attempt: Attempt): void {
    attempt.isOver = true;
    this.#functionEnded(attempt);
    this.logger.warn(
      { task: attempt.task.name, taskId: attempt.work.id, interruption: attempt.interruption },
      `${label(attempt)} did not heed its abort signal. ${this.#fate}`,
    );
    this.#guard(attempt, this.#interrupted(attempt));
  }

  // Success.

  async #succeed(attempt: Attempt, result: unknown): Promise<void> {
    try {
      await publishSuccessors(this.#app, attempt, result);
    } catch (error) {
      await this.#notPublished(attempt, error, 'what follows it');
      return;
    }
    attempt.hasSuccessorsOut = true;
    if (attempt.context.writes !== undefined) await attempt.context.writes;
    this.#storeSuccess(attempt, result);
  }

  #storeSuccess(attempt: Attempt, result: unknown): void {
    if (attempt.isFenced) {
      this.#end(attempt, 'fenced');
      return;
    }
    if (this.#results === undefined || this.#isIgnored(attempt)) {
      this.#succeeded(attempt, result);
      return;
    }
    const state = this.#state(attempt, 'SUCCESS', result, null);
    const written: Written = (error) => {
      if (error === undefined) this.#succeeded(attempt, result);
      else if (isPassing(error)) this.#unstored(attempt, error);
      // The value itself is the problem, and it will be again: that is a failure of the task.
      else this.#guard(attempt, this.#fail(attempt, error, 'failure'));
    };
    // Who waits for a chain waits for its end.
    this.#results.write(state, written, attempt.body.chain.length > 0 && this.#mayLinger());
  }

  #succeeded(attempt: Attempt, result: unknown): void {
    const { task, work, body } = attempt;
    if (canLog(this.logger, 'info')) {
      const seconds = this.#seconds(attempt);
      this.logger.info(
        { task: task.name, taskId: work.id, seconds },
        `${label(attempt)} succeeded in ${seconds}s: ${reprResult(result)}`,
      );
    }
    this.#observers.succeeded(attempt, result, this.#seconds(attempt));
    const { hooks } = task;
    if (hooks.onSuccess === undefined && hooks.afterReturn === undefined && body.chord === undefined) {
      this.#observers.ended(attempt, 'SUCCESS', result);
      this.#end(attempt, 'success');
      return;
    }
    this.#guard(attempt, this.#afterSuccess(attempt, result));
  }

  async #afterSuccess(attempt: Attempt, result: unknown): Promise<void> {
    const { task } = attempt;
    const failure = await this.#workflow.succeeded(attempt.work.request, attempt.body, result);
    if (failure !== undefined) {
      this.#unstored(attempt, failure);
      return;
    }
    const { hooks } = task;
    if (hooks.onSuccess) await this.#hook(attempt, { hook: 'onSuccess' }, result);
    if (hooks.afterReturn) {
      await this.#hook(attempt, { hook: 'afterReturn', state: 'SUCCESS', info: undefined }, result);
    }
    this.#observers.ended(attempt, 'SUCCESS', result);
    this.#end(attempt, 'success');
  }

  // Everything that is thrown.

  async #judge(attempt: Attempt, thrown: unknown): Promise<void> {
    const { context, task } = attempt;
    if (attempt.isFenced) {
      this.#end(attempt, 'fenced');
      return;
    }
    const reason = context.abortReason;
    let error = thrown;
    if (reason !== undefined && isAbort(thrown, reason)) {
      if (attempt.interruption !== undefined) {
        await this.#interrupted(attempt);
        return;
      }
      error = reason;
    }
    if (context.replacement !== undefined && context.replacement.thrown === error) {
      await this.#replace(attempt, context.replacement);
      return;
    }
    if (context.retryPlan !== undefined && context.retryPlan.thrown === error) {
      await this.#retry(attempt, context.retryPlan.options);
      return;
    }
    if (isControl<Retry>(error, 'ERR_RETRY')) {
      const options = { ...(error.cause === undefined ? {} : { cause: error.cause }), ...retryTime(error, task) };
      if (this.#mayRetry(attempt, task.options.maxRetries)) await this.#retry(attempt, options);
      else await this.#fail(attempt, error.cause ?? noRetryLeft(attempt), 'failure');
      return;
    }
    if (isControl<Ignore>(error, 'ERR_IGNORE')) {
      this.logger.info({ task: task.name, taskId: attempt.work.id }, `${label(attempt)} ignored`);
      await this.#settledWrites(attempt);
      this.#observers.ended(attempt, 'IGNORED', error);
      this.#end(attempt, 'ignore');
      return;
    }
    if (isControl<Reject>(error, 'ERR_REJECT')) {
      this.logger.info(
        { task: task.name, taskId: attempt.work.id, requeue: error.requeue },
        `${label(attempt)} rejected${error.requeue ? ', to be run again' : ''}`,
      );
      await this.#settledWrites(attempt);
      this.#observers.rejected(attempt, error.requeue);
      this.#observers.ended(attempt, 'REJECTED', error);
      this.#end(attempt, error.requeue ? 'reject-requeue' : 'reject');
      return;
    }
    const auto = task.options.retry;
    if (auto !== undefined && judgeError(task, error).isRetried) {
      const { retries } = attempt.work.request;
      const limit = auto.maxRetries === undefined ? task.options.maxRetries : auto.maxRetries;
      if (this.#mayRetry(attempt, limit)) {
        const countdown = retryDelaySeconds(
          retries,
          {
            backoff: auto.backoff ?? false,
            backoffMax: auto.backoffMax ?? 600,
            jitter: auto.jitter ?? true,
            countdown: auto.countdown ?? task.options.defaultRetryDelay,
          },
          this.#random,
        );
        await this.#retry(attempt, { cause: error, countdown });
        return;
      }
    }
    await this.#fail(attempt, error, 'failure');
  }

  #mayRetry(attempt: Attempt, limit: number | null): boolean {
    return limit === null || attempt.work.request.retries + 1 <= limit;
  }

  async #interrupted(attempt: Attempt): Promise<void> {
    const { work } = attempt;
    switch (attempt.interruption) {
      case undefined:
      case 'lease-lost':
        this.#end(attempt, 'fenced');
        return;
      case 'terminated': {
        const revoked = new TaskRevokedError('terminated');
        await this.#storeRevoked(attempt, revoked);
        const failure = await this.#workflow.ended(
          work.request,
          attempt.body,
          'REVOKED',
          revoked,
          !this.#isIgnored(attempt),
        );
        if (failure !== undefined && !work.settled) {
          this.#unstored(attempt, failure);
          return;
        }
        const { signal = 'SIGTERM' } = attempt;
        this.#observers.revoked(work, { terminated: true, expired: false, signal }, attempt);
        this.#observers.ended(attempt, 'REVOKED', revoked);
        this.#end(attempt, 'revoked');
        return;
      }
      case 'shutdown':
        if (work.settled) {
          // Acknowledged early, so nobody will run it again: what became of it must be told.
          await this.#fail(attempt, attempt.context.abortReason, 'worker-lost');
          return;
        }
        this.logger.info(
          { task: attempt.task.name, taskId: work.id },
          `${label(attempt)} goes back to the broker: the worker stops`,
        );
        this.#end(attempt, 'returned');
    }
  }

  async #storeRevoked(attempt: Attempt, error: Error): Promise<void> {
    if (this.#results === undefined || this.#isIgnored(attempt)) return;
    await this.#settledWrites(attempt);
    await this.#write(this.#results, attempt, this.#state(attempt, 'REVOKED', describeError(error).info, null)).catch(
      (failure: unknown) => this.#logUnstored(attempt, failure),
    );
  }

  async #retry(attempt: Attempt, options: RetryOptions): Promise<void> {
    const { task, work, body } = attempt;
    const wasSettled = work.settled;
    const now = this.#clock.now();
    const countdown = options.countdown ?? task.options.defaultRetryDelay;
    const eta = options.eta?.getTime() ?? (countdown > 0 ? now + countdown * 1000 : undefined);
    const { cause } = options;
    const described = cause === undefined ? undefined : describeError(cause);
    try {
      const draft = retryDraft(this.#app, work, body, options, eta, now);
      const destination = { exchange: '', routingKey: options.queue ?? work.delivery.queue };
      // Stored before there is a next attempt, whose result this state must not overwrite.
      await this.#storeRetry(attempt, described);
      // Others have the message by now: the next attempt is theirs to publish.
      if (attempt.isFenced || work.settled !== wasSettled) {
        this.#end(attempt, 'fenced');
        return;
      }
      await this.#app.producer.publish([{ draft, destination }]);
    } catch (error) {
      await this.#notPublished(attempt, error, 'its next attempt');
      return;
    }
    this.logger.info(
      {
        task: task.name,
        taskId: work.id,
        retries: work.request.retries + 1,
        ...(eta === undefined ? {} : { eta: new Date(eta) }),
      },
      `${label(attempt)} retry: Retry in ${countdown}s${described === undefined ? '' : `: ${described.repr}`}`,
    );
    this.#observers.retried(attempt, cause, described);
    const { hooks } = task;
    if (hooks.onRetry) {
      const info = failureInfo(described ?? describeError(noRetryLeft(attempt)));
      await this.#hook(attempt, { hook: 'onRetry', info }, cause);
    }
    this.#observers.ended(attempt, 'RETRY', cause);
    this.#end(attempt, 'retry');
  }

  /** A store that does not take it holds up the next attempt for as long as a write is tried, and no longer. */
  async #storeRetry(attempt: Attempt, cause: ReturnType<typeof describeError> | undefined): Promise<void> {
    await this.#settledWrites(attempt);
    if (this.#results === undefined || !this.#storesErrors(attempt)) return;
    const state = this.#state(attempt, 'RETRY', cause?.info ?? null, cause?.traceback ?? null);
    await this.#write(this.#results, attempt, state).catch((failure: unknown) => this.#logUnstored(attempt, failure));
  }

  /** Source: celery/app/task.py, Task.replace. */
  async #replace(attempt: Attempt, { signature }: Replacement): Promise<void> {
    const { work, body, context } = attempt;
    const { request } = work;
    const replacement = accumulated(signature, {
      link: body.callbacks,
      linkError: body.errbacks,
      chain: body.chain,
      replyTo: request.replyTo,
      replacedTaskNesting: request.replacedTaskNesting + 1,
    });
    const options: ApplyOptions = {
      taskId: request.id,
      rootId: request.rootId,
      parentId: request.id,
      addToParent: false,
      ...(body.chord === undefined ? {} : { chord: body.chord }),
      ...(request.group === undefined ? {} : { groupId: request.group }),
      ...(request.groupIndex === undefined ? {} : { groupIndex: request.groupIndex }),
    };
    await this.#settledWrites(attempt);
    try {
      await currentTask.run(context, () => this.#app.producer.apply(replacement, [], {}, options));
    } catch (error) {
      await this.#notPublished(attempt, error, 'its replacement');
      return;
    }
    this.logger.info(
      { task: attempt.task.name, taskId: work.id, replacement: signature.task },
      `${label(attempt)} replaced by ${signature.task}`,
    );
    this.#end(attempt, 'ignore');
  }

  /** A passing fault gives the message back, so that all of it is done again; a lasting one is the task's failure. */
  async #notPublished(attempt: Attempt, error: unknown, what: string): Promise<void> {
    if (isPassing(error) && !attempt.work.settled) {
      this.logger.error(
        { err: error, task: attempt.task.name, taskId: attempt.work.id },
        `${label(attempt)} goes back to the broker: ${what} could not be published.`,
      );
      this.#end(attempt, attempt.isFenced ? 'fenced' : 'returned');
      return;
    }
    await this.#fail(attempt, error, 'failure');
  }

  // Failure.

  async #fail(attempt: Attempt, error: unknown, ending: 'failure' | 'timeout' | 'worker-lost'): Promise<void> {
    if (attempt.isFenced) {
      this.#end(attempt, 'fenced');
      return;
    }
    const { task, work, body } = attempt;
    const described = describeError(error);
    const { isExpected } = judgeError(task, error);
    const line = `${label(attempt)} raised ${isExpected ? 'expected' : 'unexpected'}: ${described.repr}`;
    const fields = { task: task.name, taskId: work.id, seconds: this.#seconds(attempt) };
    if (isExpected) this.logger.info(fields, line);
    else this.logger.error({ ...fields, traceback: described.traceback }, line);

    if (ending === 'worker-lost' && task.options.rejectOnWorkerLost && !work.settled) {
      this.#end(attempt, ending);
      return;
    }
    if (this.#results !== undefined && this.#storesErrors(attempt)) {
      await this.#settledWrites(attempt);
      const traceback = ending === 'failure' ? described.traceback : null;
      try {
        await this.#write(this.#results, attempt, this.#state(attempt, 'FAILURE', described.info, traceback));
      } catch (failure) {
        if (isPassing(failure)) {
          this.#unstored(attempt, failure);
          return;
        }
        this.#logUnstored(attempt, failure);
      }
    }
    const unrun = attempt.hasSuccessorsOut ? { ...body, chain: [] } : body;
    const unended = await this.#workflow.ended(work.request, unrun, 'FAILURE', error, this.#storesErrors(attempt));
    if (unended !== undefined) {
      this.#unstored(attempt, unended);
      return;
    }
    if (body.errbacks.length > 0) {
      try {
        const { id, rootId } = work.request;
        const failed = {
          id,
          rootId,
          errbacks: body.errbacks,
          request: attempt.context.request,
          context: attempt.context,
        };
        await callErrbacks(this.#app, failed, error, described.traceback);
      } catch (failure) {
        if (isPassing(failure) && !work.settled) {
          await this.#notPublished(attempt, failure, 'an errback');
          return;
        }
        this.logger.error(
          { err: failure, task: task.name, taskId: work.id },
          `An errback of ${label(attempt)} could not be sent.`,
        );
      }
    }
    this.#observers.failed(attempt, error, described, this.#seconds(attempt));
    const { hooks } = task;
    if (hooks.onFailure) {
      await this.#hook(attempt, { hook: 'onFailure', info: failureInfo(described) }, error);
    }
    if (hooks.afterReturn) {
      const info = failureInfo(described);
      await this.#hook(attempt, { hook: 'afterReturn', state: 'FAILURE', info }, error);
    }
    this.#observers.ended(attempt, 'FAILURE', error);
    this.#end(attempt, ending);
  }

  async #hook(attempt: Attempt, call: HookCall, value: unknown): Promise<void> {
    try {
      await this.#callHook(attempt, call, value);
    } catch (error) {
      this.logger.error(
        { err: error, task: attempt.task.name, taskId: attempt.work.id },
        `A handler of ${label(attempt)} failed.`,
      );
    }
  }

  #write(results: ResultWriter, attempt: Attempt, write: ResultWrite): Promise<void> {
    return new Promise((resolve, reject) => {
      if (attempt.isFenced) resolve();
      else results.write(write, (error) => (error === undefined ? resolve() : reject(error)));
    });
  }

  #state(attempt: Attempt, state: string, result: unknown, traceback: string | null): ResultWrite {
    return describeState(
      attempt.work,
      { state, result, traceback, children: attempt.context.children },
      this.#clock.now(),
      this.#extended ? { nodeName: this.nodeName, body: attempt.body } : undefined,
    );
  }

  async #settledWrites(attempt: Attempt): Promise<void> {
    if (attempt.context.writes !== undefined) await attempt.context.writes;
  }

  #isIgnored({ work, task, body }: Attempt): boolean {
    return (work.request.ignoreResult ?? task.options.ignoreResult) && !isPolledPart(this.#app, body);
  }

  #storesErrors(attempt: Attempt): boolean {
    return !this.#isIgnored(attempt) || attempt.task.options.storeErrorsEvenIfIgnored;
  }

  #unstored(attempt: Attempt, error: unknown): void {
    this.#logUnstored(attempt, error);
    this.#end(attempt, attempt.isFenced ? 'fenced' : 'unstored');
  }

  #logUnstored(attempt: Attempt, error: unknown): void {
    this.logger.error(
      { err: error, task: attempt.task.name, taskId: attempt.work.id },
      `The state of ${label(attempt)} could not be stored.`,
    );
  }

  #functionEnded(attempt: Attempt): void {
    attempt.endedAt = this.#clock.monotonic();
    this.#onFunctionEnd(attempt);
  }

  #end(attempt: Attempt, ending: Ending): void {
    this.#onEnd(attempt, ending);
  }

  #seconds(attempt: Attempt): number {
    return Number(((attempt.endedAt - attempt.startedAt) / 1000).toFixed(RUNTIME_DIGITS));
  }

  /** A defect of ours must not keep a slot or a message: the message goes back. */
  #guard(attempt: Attempt, work: Promise<void>): void {
    work.catch((error: unknown) => {
      this.logger.error(
        { err: error, task: attempt.task.name, taskId: attempt.work.id },
        `${label(attempt)} goes back to the broker: what follows it failed in an unexpected way.`,
      );
      this.#observers.internalError(attempt, error);
      this.#end(attempt, 'returned');
    });
  }
}

function label({ task, work }: Attempt): string {
  return `Task ${task.name}[${work.id}]`;
}

function failureInfo({ info, traceback }: ReturnType<typeof describeError>): FailureInfo {
  return { exception: info, traceback: traceback ?? '' };
}

function noRetryLeft({ task, work }: Attempt): Error {
  return new MaxRetriesExceededError(
    `Can't retry ${task.name}[${work.id}]: ${work.request.retries} retries were made.`,
  );
}

function retryTime({ when }: Retry, task: Attempt['task']): RetryOptions {
  if (when instanceof Date) return { eta: when };
  return { countdown: when ?? task.options.defaultRetryDelay };
}

function isPassing(error: unknown): boolean {
  return isLovageError(error) && error.retryable;
}
