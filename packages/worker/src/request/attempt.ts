import type { AnyTask } from '@lovage/core';
import type { TaskBody } from '@lovage/core/protocol';
import type { PoolJob } from '../pools/pool.ts';
import { RunContext, type ContextHost } from './context.ts';
import type { Limits } from './time-limits.ts';
import type { Work } from './work.ts';

/** What happens before and after the function: see `Tracer`. */
export interface AttemptEvents {
  started(attempt: Attempt, pid: number): void;
  returned(attempt: Attempt, value: unknown): void;
  threw(attempt: Attempt, error: unknown): void;
  timedOut(attempt: Attempt): void;
  lost(attempt: Attempt, error: Error): void;
}

/** Why a running task was told to end, where it was not its time limit. */
export type Interruption = 'shutdown' | 'terminated' | 'lease-lost';

/** One run of a task for one message. */
export class Attempt implements PoolJob {
  readonly work: Work;
  readonly context: RunContext;
  readonly body: TaskBody;
  readonly #events: AttemptEvents;
  /** Monotonic. */
  readonly startedAt: number;
  /** Monotonic; set when the function's part is over. */
  endedAt = 0;
  interruption: Interruption | undefined;
  /** With the interruption `terminated`: what its child gets before it is killed. */
  signal: NodeJS.Signals | undefined;
  /** The function's part is over: nothing that it does later counts. */
  isOver = false;
  /** What follows the task's success is in the broker: it will run, whatever becomes of the result. */
  hasSuccessorsOut = false;
  readonly softLimitMs: number | undefined;
  readonly hardLimitMs: number | undefined;

  constructor(
    host: ContextHost,
    events: AttemptEvents,
    work: Work,
    body: TaskBody,
    startedAt: number,
    limits: Limits | undefined,
  ) {
    this.work = work;
    this.body = body;
    this.context = new RunContext(host, work, body);
    this.#events = events;
    this.startedAt = startedAt;
    this.softLimitMs = limits?.softMs;
    this.hardLimitMs = limits?.hardMs;
  }

  get task(): AnyTask {
    return this.work.task;
  }

  get args(): readonly unknown[] {
    return this.body.args;
  }

  get kwargs(): Readonly<Record<string, unknown>> {
    return this.body.kwargs;
  }

  get usesResult(): boolean {
    const { callbacks, chain, chord } = this.body;
    const isIgnored = this.work.request.ignoreResult ?? this.task.options.ignoreResult;
    return !isIgnored || callbacks.length > 0 || chain.length > 0 || chord !== undefined;
  }

  /** Somebody else may run the message now: no result, no successor, no settlement may come from here. */
  get isFenced(): boolean {
    return this.interruption === 'lease-lost';
  }

  abort(reason: Error): void {
    this.context.abort(reason);
  }

  interrupt(interruption: Interruption, reason: Error): void {
    // A lost lease outweighs the others: it forbids what they allow.
    if (this.interruption === undefined || interruption === 'lease-lost') this.interruption = interruption;
    this.context.abort(reason);
  }

  started(pid: number): void {
    if (!this.isOver) this.#events.started(this, pid);
  }

  returned(value: unknown): void {
    if (this.#end()) this.#events.returned(this, value);
  }

  threw(error: unknown): void {
    if (this.#end()) this.#events.threw(this, error);
  }

  timedOut(): void {
    if (this.#end()) this.#events.timedOut(this);
  }

  lost(error: Error): void {
    if (this.#end()) this.#events.lost(this, error);
  }

  #end(): boolean {
    if (this.isOver) return false;
    this.isOver = true;
    return true;
  }
}
