import { ClosedError, type Logger, type Lovage } from '@lovage/core';
import type { Clock } from './clock.ts';
import { Dispatcher } from './consumer/dispatcher.ts';
import type { PrefetchWindow } from './consumer/prefetch.ts';
import { DeadLetters } from './dead-letters.ts';
import type { Pool } from './pools/pool.ts';
import type { Blame } from './process-guard.ts';
import type { RunContext } from './request/context.ts';
import type { TaskObservers } from './request/observer.ts';
import type { Revokes } from './request/revokes.ts';
import type { TimeLimits } from './request/time-limits.ts';
import { Tracer } from './request/trace.ts';
import { Workflow } from './request/workflow.ts';
import { ResultWriter } from './results/result-writer.ts';

export interface EngineFacts {
  readonly app: Lovage;
  readonly nodeName: string;
  readonly pool: Pool;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  readonly window: PrefetchWindow;
  readonly observers: TaskObservers;
  readonly revoked: Revokes;
  readonly limits: TimeLimits;
  /** There is a store of results. */
  readonly keepsResults: boolean;
  /** Milliseconds for which a store or broker that is away is tried again. */
  readonly deadlineMs: number;
  readonly unknownTaskRetries: number;
  /** More could run than there are slots for. */
  readonly onLoad: () => void;
}

/** What becomes of messages from their arrival to their settlement: the parts that see to it, put together. */
export class Engine {
  readonly dispatcher: Dispatcher;
  readonly #pool: Pool;
  readonly #tracer: Tracer;
  readonly #results: ResultWriter | undefined;
  #hasGivenUp = false;

  constructor(facts: EngineFacts) {
    const { app, nodeName, pool, clock, random, logger, window, observers, revoked, limits, deadlineMs } = facts;
    const results = facts.keepsResults
      ? new ResultWriter({ open: () => app.requireBackend('store results'), clock, random, logger, deadlineMs })
      : undefined;
    const workflow = new Workflow({ app, clock, logger, deadlineMs, isStopped: () => this.#hasGivenUp });
    const deadLetters = new DeadLetters({
      queueFor: (queue) => app.queues.deadLetterOf(queue),
      nodeName,
      clock,
      logger,
    });
    const dispatcher = new Dispatcher({
      app,
      nodeName,
      pool,
      clock,
      logger,
      results,
      deadLetters,
      revoked,
      observers,
      workflow,
      limits,
      window,
      onLoad: facts.onLoad,
      unknownTaskRetries: facts.unknownTaskRetries,
    });
    const tracer = new Tracer({
      app,
      nodeName,
      clock,
      random,
      logger,
      results,
      workflow,
      observers,
      fate: pool.fate,
      callHook: (attempt, call, value) => pool.hook(attempt, call, value),
      onFunctionEnd: () => dispatcher.functionEnded(),
      mayLinger: () => dispatcher.hasRoom,
      onEnd: (attempt, ending) => dispatcher.ended(attempt, ending),
    });
    dispatcher.attach(tracer);
    this.dispatcher = dispatcher;
    this.#pool = pool;
    this.#tracer = tracer;
    this.#results = results;
  }

  /** Fails the task that an error comes from which nobody caught, if it runs here. */
  blame(context: RunContext, error: unknown): Blame {
    if (context.host !== this.#tracer) return 'foreign';
    const { attempt } = context.work;
    if (attempt === undefined || attempt.context !== context || attempt.isOver) return 'over';
    this.#pool.abandon(attempt);
    attempt.threw(error);
    return 'failed';
  }

  /** What a store or broker that is away keeps from happening is not tried any more: its messages go back. */
  giveUp(): void {
    this.#hasGivenUp = true;
    // Retryable: somebody else will have the message, and the task has not failed.
    this.#results?.stop(new ClosedError('The worker stopped before the result was stored.', { retryable: true }));
    this.dispatcher.returnEnding();
  }
}
