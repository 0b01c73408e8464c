import { LovageError, type Logger, WorkerLostError } from '@lovage/core';
import { SoftTimeLimitExceeded } from '@lovage/core/protocol';
import type { Clock } from '../../clock.ts';
import { DeadlineHeap, type HeapEntry } from '../../consumer/deadline-heap.ts';
import { hasEndHooks, type HookCall } from '../../request/hooks.ts';
import { canLog } from '../../log.ts';
import { poolInfo, type Pool, type PoolInfo, type PoolJob } from '../pool.ts';
import { Child, describeRun, type ChildOwner } from './child.ts';
import { openProcess, openThread } from './link.ts';
import type { AppModule, RunMessage, ToParent } from './messages.ts';

export interface ChildPoolOptions {
  readonly kind: 'threads' | 'processes';
  readonly concurrency: number;
  readonly app: AppModule;
  readonly nodeName: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** A child is replaced after so many jobs. */
  readonly maxTasksPerChild: number | undefined;
  /** A child that holds more after a job is replaced. */
  readonly maxMemoryKiB: number | undefined;
  /** How long a new child may take to show its first sign of life. */
  readonly aliveTimeoutMs: number;
  /** Seconds, of tasks that have none: `[soft, hard]`. For {@link Pool.info}. */
  readonly limits: readonly [number, number];
}

interface Limits {
  soft: HeapEntry<Limit> | undefined;
  hard: HeapEntry<Limit> | undefined;
}

interface Limit {
  readonly child: Child;
  readonly job: PoolJob;
  readonly kind: 'soft' | 'hard';
}

const FIRST_BACK_OFF_MS = 1000;
const LONGEST_BACK_OFF_MS = 30_000;
/** How many children may die with a job that they have not begun. */
const MOST_TRIES = 3;
/** Between a signal and SIGKILL. */
const SIGNAL_MS = 100;
/** A child that loads the app for longer is worth a word. */
const LOADING_MS = 10_000;
/** How long a child that is told to exit may take: it gives its app two seconds to close. */
const LEAVE_MS = 3000;
/** How long children that are told to exit may take when the pool closes. */
const CLOSE_MS = 250;

/**
 * Runs tasks in children, one at a time in each: in processes of their own, or in threads. A child that dies, hangs or
 * grows too large costs its own job and nothing else. Jobs are not queued in children: the next one goes to the first
 * that is free, whatever the others do.
 */
export class ChildPool implements Pool, ChildOwner {
  readonly name: 'threads' | 'processes';
  readonly fate = 'Its child is ended.';
  readonly terminateMs = 1000;
  onRoom: () => void = () => {};
  readonly #options: ChildPoolOptions;
  readonly #children = new Set<Child>();
  readonly #idle: Child[] = [];
  readonly #running = new Map<PoolJob, Child>();
  readonly #limits: DeadlineHeap<Limit>;
  readonly #limitsOf = new Map<PoolJob, Limits>();
  /** Jobs whose child died before it began them, for the next that is idle. */
  readonly #orphans = new Map<PoolJob, { readonly tries: number; isWaiting: boolean }>();
  /** What is done when a child keeps its pool waiting: for a sign of life, for the app, for its end. */
  readonly #alarms = new Map<Child, () => void>();
  /** Those that were ended because they showed no sign of life. */
  readonly #silent = new Set<Child>();
  #size: number;
  #number = 0;
  /** Children in a row that did not come up. */
  #failures = 0;
  #wasReady = false;
  #cancelRetry: (() => void) | undefined;
  #isClosed = false;
  #started: { resolve: () => void; reject: (error: Error) => void } | undefined;
  #onEmpty: (() => void) | undefined;

  constructor(options: ChildPoolOptions) {
    this.#options = options;
    this.name = options.kind;
    this.#size = options.concurrency;
    this.#limits = new DeadlineHeap<Limit>(options.clock, 'monotonic', (due) => this.#expire(due));
  }

  get concurrency(): number {
    return this.#size;
  }

  get busy(): number {
    let busy = 0;
    for (const { isWaiting } of this.#orphans.values()) if (isWaiting) busy++;
    for (const { state } of this.#children) if (state === 'busy' || state === 'holding') busy++;
    return busy;
  }

  get free(): number {
    return this.#idle.length === 0 ? 0 : Math.max(0, Math.min(this.#idle.length, this.#size - this.busy));
  }

  get info(): PoolInfo {
    const children = [...this.#children].filter(({ state }) => state !== 'gone' && state !== 'leaving');
    const isProcesses = this.name === 'processes';
    const info = poolInfo(`lovage:${this.name}`, this.#size, {
      processes: isProcesses ? children.map(({ id }) => id) : [process.pid],
      writes: children.map(({ jobs }) => jobs),
      busy: this.busy,
      maxTasksPerChild: this.#options.maxTasksPerChild,
      limits: this.#options.limits,
    });
    return isProcesses ? info : { ...info, threads: children.length };
  }

  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#started = { resolve, reject };
      this.#balance();
    });
  }

  execute(job: PoolJob): void {
    // Throws for what does not cross: nothing has happened by then.
    const message = describeRun(job, this.#number++);
    this.#hand(job, message, this.#idle.pop() as Child);
  }

  #hand(job: PoolJob, message: RunMessage, child: Child): void {
    const { maxTasksPerChild } = this.#options;
    this.#running.set(job, child);
    if (job.softLimitMs !== undefined || job.hardLimitMs !== undefined) this.#limit(child, job);
    child.run(job, message);
    job.started(this.pidOf(job));
    if (maxTasksPerChild !== undefined && child.jobs >= maxTasksPerChild) {
      // Its successor starts while it does its last job.
      child.isRetiring = true;
      this.#balance();
    }
  }

  async hook(job: PoolJob, call: HookCall, value: unknown): Promise<void> {
    // What became of a lost child's job is told as Celery does: without its handlers.
    const child = this.#running.get(job);
    if (child?.state === 'holding') await child.hook(call, value);
  }

  pidOf(job: PoolJob): number {
    return this.name === 'processes' ? (this.#running.get(job)?.id ?? process.pid) : process.pid;
  }

  release(job: PoolJob): void {
    const child = this.#running.get(job);
    this.#forget(job);
    if (child?.job === job) child.release();
  }

  abandon(job: PoolJob, signal: NodeJS.Signals = 'SIGKILL'): void {
    const child = this.#running.get(job);
    this.#forget(job);
    if (child?.job === job) this.#kill(child, signal);
  }

  resize(concurrency: number): void {
    this.#size = concurrency;
    this.#balance();
    if (this.free > 0) this.onRoom();
  }

  restart(): void {
    for (const child of this.#children) child.isRetiring = true;
    for (const child of this.#idle.splice(0)) this.#leave(child);
    this.#failures = 0;
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    this.#balance();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelRetry?.();
    this.#limits.clear();
    this.#started?.reject(new LovageError('ERR_CLOSED', 'The pool was closed before it was ready.'));
    for (const cancel of this.#alarms.values()) cancel();
    for (const child of this.#children) {
      if (child.state === 'idle') child.leave();
      else child.kill('SIGKILL');
    }
    if (this.#children.size === 0) return;
    const cancel = this.#options.clock.after(CLOSE_MS, () => {
      for (const child of this.#children) child.kill('SIGKILL');
    });
    await new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
    });
    cancel();
  }

  // What the children say.

  alive(child: Child): void {
    this.#awaited(child);
    if (child.state !== 'starting') return;
    const { logger, app } = this.#options;
    this.#await(child, LOADING_MS, () =>
      logger.warn(
        { child: child.id, module: app.module },
        `The child ${child.id} has been loading the app from ${app.module} for ${LOADING_MS / 1000}s. What does it wait for?`,
      ),
    );
  }

  idle(child: Child): void {
    this.#awaited(child);
    this.#failures = 0;
    this.#wasReady = true;
    this.#started?.resolve();
    this.#started = undefined;
    const index = this.#idle.indexOf(child);
    if (this.#isClosed || child.isRetiring) {
      if (index >= 0) this.#idle.splice(index, 1);
      this.#leave(child);
      this.#balance();
      return;
    }
    const orphan = [...this.#orphans].find(([, { isWaiting }]) => isWaiting);
    if (orphan !== undefined) {
      if (index >= 0) this.#idle.splice(index, 1);
      orphan[1].isWaiting = false;
      this.#hand(orphan[0], describeRun(orphan[0], this.#number++), child);
      return;
    }
    if (index < 0) this.#idle.push(child);
    this.#balance();
    this.onRoom();
  }

  ended(child: Child): void {
    const { job, memoryKiB } = child;
    const { maxMemoryKiB, logger } = this.#options;
    // A handler that never ends is the hard limit's business too.
    if (job !== undefined && !hasEndHooks(job.task)) this.#unlimit(job);
    if (maxMemoryKiB !== undefined && memoryKiB !== undefined && memoryKiB > maxMemoryKiB && !child.isRetiring) {
      logger.info(
        { child: child.id, memoryKiB, limitKiB: maxMemoryKiB },
        'A child holds too much memory and is replaced.',
      );
      child.isRetiring = true;
      this.#balance();
    }
  }

  gone(child: Child, how: string, broken: string | undefined): void {
    const { logger } = this.#options;
    const wasUp = child.jobs > 0 || this.#idle.includes(child);
    this.#awaited(child);
    this.#children.delete(child);
    const index = this.#idle.indexOf(child);
    if (index >= 0) this.#idle.splice(index, 1);
    if (this.#children.size === 0) this.#onEmpty?.();
    if (this.#isClosed) return;
    if (this.#silent.delete(child)) {
      // A busy machine, more likely than code that cannot run: the worker does not end by it.
      this.#tryLater(
        `A child of the pool "${this.name}" has shown no sign of life in ${this.#options.aliveTimeoutMs / 1000}s.`,
      );
      return;
    }
    if (broken !== undefined || (!wasUp && !child.isRetiring && child.jobs === 0)) {
      this.#notUp(broken ?? `it ${how} before it was ready`);
      return;
    }
    if (!child.isRetiring) logger.warn({ child: child.id }, `The child ${child.id} ${how}. It is replaced.`);
    this.#balance();
  }

  unbegun(job: PoolJob, how: string): void {
    const tries = (this.#orphans.get(job)?.tries ?? 0) + 1;
    this.#forget(job);
    if (tries > MOST_TRIES) {
      // Reading it may be what ends them.
      job.lost(new WorkerLostError(`${tries} children died before they began the task; the last one ${how}.`));
      return;
    }
    this.#orphans.set(job, { tries, isWaiting: true });
    const child = this.#idle.at(-1);
    if (child !== undefined && this.busy <= this.#size) this.idle(child);
  }

  log({ level, fields, message }: Extract<ToParent, { kind: 'log' }>): void {
    this.#options.logger[level](fields, message);
  }

  // Children.

  /** A child did not come up: the others go on, and the next try waits. */
  #notUp(reason: string): void {
    const { app } = this.#options;
    const message = `A child of the pool "${this.name}" could not load the app from ${app.module}: ${reason}`;
    if (!this.#wasReady && this.#started !== undefined) {
      // The first of all: nothing says that it would ever work.
      this.#started.reject(new LovageError('ERR_CONFIG', message));
      this.#started = undefined;
      this.#isClosed = true;
      return;
    }
    this.#tryLater(message);
  }

  #tryLater(message: string): void {
    const { logger, clock } = this.#options;
    const delayMs = Math.min(LONGEST_BACK_OFF_MS, FIRST_BACK_OFF_MS * 2 ** this.#failures++);
    logger.error({ delayMs, children: this.#children.size }, `${message}\nTrying again in ${delayMs / 1000}s.`);
    this.#cancelRetry ??= clock.after(delayMs, () => {
      this.#cancelRetry = undefined;
      this.#balance();
    });
  }

  /** As many children as there are slots; those that retire do not count. */
  #balance(): void {
    if (this.#isClosed) return;
    const active = [...this.#children].filter(({ isRetiring, state }) => !isRetiring && state !== 'leaving');
    for (let missing = this.#size - active.length; missing > 0; missing--) {
      if (this.#cancelRetry !== undefined) return;
      // After a failure one at a time, until one is up.
      if (this.#failures > 0 && active.some(({ state }) => state === 'starting')) return;
      this.#spawn();
      if (this.#failures > 0) return;
    }
    const surplus = active.length - this.#size;
    if (surplus <= 0) return;
    const order = ['starting', 'idle', 'holding', 'busy'];
    const leaving = active.toSorted((a, b) => order.indexOf(a.state) - order.indexOf(b.state)).slice(0, surplus);
    for (const child of leaving) {
      child.isRetiring = true;
      const index = this.#idle.indexOf(child);
      if (index < 0) continue;
      this.#idle.splice(index, 1);
      this.#leave(child);
    }
  }

  #spawn(): void {
    const { kind, app, nodeName, logger, maxMemoryKiB, aliveTimeoutMs } = this.#options;
    const child = new Child(
      kind === 'processes' ? openProcess : openThread,
      {
        kind: 'init',
        app,
        nodeName,
        logs: { debug: canLog(logger, 'debug'), info: canLog(logger, 'info') },
        reportsMemory: maxMemoryKiB !== undefined,
      },
      this,
    );
    this.#children.add(child);
    this.#await(child, aliveTimeoutMs, () => {
      this.#silent.add(child);
      child.kill('SIGKILL');
    });
  }

  #await(child: Child, ms: number, alarm: () => void): void {
    this.#awaited(child);
    this.#alarms.set(child, this.#options.clock.after(ms, alarm));
  }

  #awaited(child: Child): void {
    this.#alarms.get(child)?.();
    this.#alarms.delete(child);
  }

  #leave(child: Child): void {
    child.leave();
    this.#await(child, LEAVE_MS, () => child.kill('SIGKILL'));
  }

  #kill(child: Child, signal: NodeJS.Signals): void {
    child.kill(signal);
    child.isRetiring = true;
    if (signal !== 'SIGKILL' && this.name === 'processes') {
      this.#options.clock.after(SIGNAL_MS, () => child.kill('SIGKILL'));
    }
    this.#balance();
  }

  // Limits.

  #limit(child: Child, job: PoolJob): void {
    const now = this.#options.clock.monotonic();
    const { softLimitMs, hardLimitMs } = job;
    this.#limitsOf.set(job, {
      soft: softLimitMs === undefined ? undefined : this.#limits.add(now + softLimitMs, { child, job, kind: 'soft' }),
      hard: hardLimitMs === undefined ? undefined : this.#limits.add(now + hardLimitMs, { child, job, kind: 'hard' }),
    });
  }

  #forget(job: PoolJob): void {
    this.#running.delete(job);
    this.#orphans.delete(job);
    this.#unlimit(job);
  }

  #unlimit(job: PoolJob): void {
    const limits = this.#limitsOf.get(job);
    if (limits === undefined) return;
    this.#limitsOf.delete(job);
    if (limits.soft !== undefined) this.#limits.remove(limits.soft);
    if (limits.hard !== undefined) this.#limits.remove(limits.hard);
  }

  #expire(due: readonly Limit[]): void {
    for (const { child, job, kind } of due) {
      if (child.job !== job) continue;
      if (kind === 'soft') {
        if (child.state === 'busy') job.abort(new SoftTimeLimitExceeded());
        continue;
      }
      this.#forget(job);
      this.#kill(child, 'SIGKILL');
      job.timedOut();
    }
  }
}
