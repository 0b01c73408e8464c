import type { Lovage } from '@lovage/core';
import { decodeTaskHeaders } from '@lovage/core/protocol';
import type { Delivery } from '@lovage/core/transport';
import type { Clock } from '../clock.ts';
import { Work } from '../request/work.ts';
import { DeadlineHeap, type HeapEntry } from './deadline-heap.ts';
import { Fifo } from './fifo.ts';
import { RateLimiter } from './rate-limit.ts';
import type { ConsumerSession } from './session.ts';

/** From so many on, messages that wait for their time are made small. */
const MANY_HELD = 1000;
/** How long {@link Backlog.sift} looks at messages without letting the event loop breathe. */
const TURN_MS = 5;

/** A message that was taken in and has not started. */
export interface Unstarted {
  readonly session: ConsumerSession;
  readonly delivery: Delivery;
}

/** One that waits. It is read again when its time has come, so that many of them are small. */
interface Held extends Unstarted {
  /** `paused`: it had its turn and waits for a moment. `unknown`: of a task that is not known here. */
  readonly as: 'eta' | 'paused' | 'unknown';
}

export interface BacklogOptions {
  readonly app: Lovage;
  readonly clock: Clock;
  /** Some are ready whose time or turn has come. */
  readonly onRelease: () => void;
  /** The pause of one is over whose task is not known here. */
  readonly onUnknown: (message: Unstarted) => void;
  /** One could be read when it came, and cannot be any more. */
  readonly onUnreadable: (message: Unstarted, error: unknown) => void;
}

/** The messages that were taken in and have not started: what is ready, and what waits for its time or its turn. */
export class Backlog {
  readonly #options: BacklogOptions;
  readonly #ready = new Fifo<Work>();
  /** Until an instant that people named. */
  readonly #held: DeadlineHeap<Held>;
  /** For a while, whatever is done to the clock. */
  readonly #paused: DeadlineHeap<Held>;
  readonly #limiter: RateLimiter<Work>;
  readonly #limitsRates: boolean;

  constructor(options: BacklogOptions) {
    this.#options = options;
    const { app, clock, onRelease } = options;
    this.#limitsRates = !app.settings.workerDisableRateLimits;
    this.#held = new DeadlineHeap<Held>(clock, 'wall', (due) => this.#due(due));
    this.#paused = new DeadlineHeap<Held>(clock, 'monotonic', (due) => this.#due(due));
    this.#limiter = new RateLimiter<Work>(clock, (released) => {
      for (const work of released) this.#ready.push(work);
      onRelease();
    });
  }

  /** How many could start. */
  get ready(): number {
    return this.#ready.size;
  }

  /** How many wait for their time. */
  get held(): number {
    return this.#held.size + this.#paused.size;
  }

  /** How many cannot start yet. */
  get waiting(): number {
    return this.held + this.#limiter.waiting;
  }

  /** Those that could start, and those that wait for their turn. */
  get reserved(): readonly Work[] {
    return [...this.#ready.items(), ...this.#limiter.items()];
  }

  /** Those that wait for their time. */
  get scheduled(): readonly Work[] {
    return [...this.#held.items(), ...this.#paused.items()].flatMap((held) => this.#workOf(held) ?? []);
  }

  /** It may start as soon as the rate of its task allows it. */
  add(work: Work): void {
    const { task } = work;
    if (this.#limitsRates && !this.#limiter.pass(task.name, task.options.rateLimit, work)) return;
    this.#ready.push(work);
  }

  /** It may start now: it had its turn before. */
  addAgain(work: Work): void {
    this.#ready.push(work);
  }

  /** Until its ETA. */
  hold({ session, delivery, request }: Work): void {
    if (this.#held.size >= MANY_HELD) delivery.rest?.(true);
    this.#held.add(request.eta as number, { session, delivery, as: 'eta' });
  }

  /** For so long; then it is ready, or told as unknown. */
  pause({ session, delivery }: Unstarted, ms: number, as: 'paused' | 'unknown'): void {
    this.#paused.add(this.#options.clock.monotonic() + ms, { session, delivery, as });
  }

  /** Takes the next one that could start. */
  shift(): Work | undefined {
    return this.#ready.shift();
  }

  /** Whether it is one of those that could start. */
  isReady(work: Work): boolean {
    return this.#ready.items().includes(work);
  }

  /** Takes out all for which `test` holds. */
  extract(test: (item: Unstarted) => boolean): Unstarted[] {
    return [
      ...this.#held.extract(test),
      ...this.#paused.extract(test),
      ...this.#ready.extract(test),
      ...this.#limiter.extract(test),
    ];
  }

  /** Takes out what `test` holds for and hands it to `found`, a few at a time: those that wait have to be read. */
  async sift(test: (work: Work) => boolean, found: (work: Work) => void): Promise<void> {
    for (const work of [...this.#ready.extract(test), ...this.#limiter.extract(test)]) found(work);
    const { clock } = this.#options;
    let begin = clock.monotonic();
    for (const heap of [this.#held, this.#paused]) {
      for (const entry of heap.entries()) {
        if (clock.monotonic() - begin > TURN_MS) {
          await new Promise<void>((resolve) => setImmediate(resolve));
          begin = clock.monotonic();
        }
        const work = this.#readable(entry);
        if (work !== undefined && test(work) && heap.remove(entry)) found(work);
      }
    }
  }

  /** What waits for its turn follows the new rate at once. Throws `ConfigError` for what is no limit. */
  setRateLimit(task: string, limit: string | number | null): void {
    this.#limiter.setLimit(task, limit);
  }

  /** Nothing is released any more. */
  close(): void {
    this.#limiter.close();
  }

  /** undefined: gone meanwhile, or nothing that can be told apart. */
  #readable({ index, item }: HeapEntry<Held>): Work | undefined {
    if (index < 0) return undefined;
    try {
      return this.#workOf(item);
    } catch {
      // It is dealt with when its time has come.
      return undefined;
    }
  }

  #due(due: readonly Held[]): void {
    const { onRelease, onUnknown, onUnreadable } = this.#options;
    for (const held of due) {
      try {
        held.delivery.rest?.(false);
        const work = this.#workOf(held);
        if (work === undefined) onUnknown(held);
        else if (held.as === 'eta') this.add(work);
        else this.addAgain(work);
      } catch (error) {
        onUnreadable(held, error);
      }
    }
    onRelease();
  }

  /** undefined: no task that is known here. */
  #workOf({ session, delivery, as }: Held): Work | undefined {
    if (as === 'unknown') return undefined;
    const { app } = this.#options;
    const request = decodeTaskHeaders(delivery.message, app.serializers);
    const task = app.tasks.get(request.task);
    return task === undefined ? undefined : new Work(session, delivery, request, task);
  }
}
