import { UnsupportedError } from '@lovage/core';
import { SoftTimeLimitExceeded } from '@lovage/core/protocol';
import type { Clock } from '../clock.ts';
import { DeadlineHeap, type HeapEntry } from '../consumer/deadline-heap.ts';
import { callHook, runTask, type HookCall } from '../request/hooks.ts';
import { poolInfo, type Pool, type PoolInfo, type PoolJob } from './pool.ts';

interface Limit {
  readonly slot: Slot;
  readonly kind: 'soft' | 'hard';
}

interface Slot {
  readonly job: PoolJob;
  soft: HeapEntry<Limit> | undefined;
  hard: HeapEntry<Limit> | undefined;
}

/**
 * Runs tasks on the event loop of this process: for tasks that wait for something, not for tasks that compute.
 *
 * Limits: the soft one aborts the task's signal with `SoftTimeLimitExceeded`. A function cannot be killed, so the hard
 * one ends the task and leaves the function alone: its slot is free, what it returns is dropped.
 */
export class AsyncPool implements Pool {
  readonly name: string;
  readonly fate = 'Its function is left to itself.';
  readonly terminateMs = 5000;
  onRoom: () => void = () => {};
  #concurrency: number;
  #total = 0;
  readonly #slots = new Map<PoolJob, Slot>();
  readonly #limits: DeadlineHeap<Limit>;
  readonly #clock: Clock;

  constructor(concurrency: number, clock: Clock, name = 'async') {
    this.name = name;
    this.#concurrency = concurrency;
    this.#clock = clock;
    this.#limits = new DeadlineHeap<Limit>(clock, 'monotonic', (due) => this.#expire(due));
  }

  get concurrency(): number {
    return this.#concurrency;
  }

  get busy(): number {
    return this.#slots.size;
  }

  get free(): number {
    return Math.max(0, this.#concurrency - this.#slots.size);
  }

  get info(): PoolInfo {
    const facts = { processes: [process.pid], writes: [this.#total], busy: this.busy };
    return poolInfo(`lovage:${this.name}`, this.#concurrency, facts);
  }

  async start(): Promise<void> {}

  execute(job: PoolJob): void {
    const slot: Slot = { job, soft: undefined, hard: undefined };
    this.#slots.set(job, slot);
    this.#total++;
    if (job.softLimitMs !== undefined || job.hardLimitMs !== undefined) this.#limit(slot, job);
    job.started(process.pid);
    runTask(
      job,
      (value) => this.#returned(job, value),
      (error) => this.#threw(job, error),
    );
  }

  hook(job: PoolJob, call: HookCall, value: unknown): Promise<void> {
    return callHook(job, call, value);
  }

  pidOf(): number {
    return process.pid;
  }

  release(): void {}

  abandon(job: PoolJob): void {
    this.#free(job);
  }

  resize(concurrency: number): void {
    if (this.name === 'solo') throw new UnsupportedError('The pool "solo" has one slot and cannot grow or shrink.');
    this.#concurrency = concurrency;
    this.onRoom();
  }

  /** Nothing to replace: code that was imported stays imported. */
  restart(): void {
    throw new UnsupportedError(
      `The pool "${this.name}" runs tasks in the worker's own process and cannot load their code anew. Restart the worker, or use "threads" or "processes".`,
    );
  }

  async close(): Promise<void> {
    this.#limits.clear();
    this.#slots.clear();
  }

  /** False when the job was ended by its limit or by {@link abandon}. */
  #free(job: PoolJob): boolean {
    const slot = this.#slots.get(job);
    if (slot === undefined) return false;
    this.#slots.delete(job);
    if (slot.soft !== undefined) this.#limits.remove(slot.soft);
    if (slot.hard !== undefined) this.#limits.remove(slot.hard);
    return true;
  }

  #returned(job: PoolJob, value: unknown): void {
    if (this.#free(job)) job.returned(value);
  }

  #threw(job: PoolJob, error: unknown): void {
    if (this.#free(job)) job.threw(error);
  }

  #limit(slot: Slot, { softLimitMs, hardLimitMs }: PoolJob): void {
    const now = this.#clock.monotonic();
    if (softLimitMs !== undefined) slot.soft = this.#limits.add(now + softLimitMs, { slot, kind: 'soft' });
    if (hardLimitMs !== undefined) slot.hard = this.#limits.add(now + hardLimitMs, { slot, kind: 'hard' });
  }

  #expire(due: readonly Limit[]): void {
    for (const { slot, kind } of due) {
      const { job } = slot;
      if (kind === 'soft') {
        job.abort(new SoftTimeLimitExceeded());
      } else if (this.#free(job)) {
        job.timedOut();
      }
    }
  }
}
