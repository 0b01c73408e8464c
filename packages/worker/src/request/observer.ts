import type { DescribedError, TaskRequest } from '@lovage/core/protocol';
import type { Delivery } from '@lovage/core/transport';
import type { Attempt } from './attempt.ts';
import type { Work } from './work.ts';

/** Why a task ended without a result of its own, where it was revoked. */
export interface RevokeFacts {
  /** It ran, and was told to end. */
  readonly terminated: boolean;
  readonly expired: boolean;
  /** With `terminated`: what its child gets before it is killed. */
  readonly signal?: NodeJS.Signals;
}

/** What is told of tasks on their way through a worker: what events, signals and metrics are made of. */
export interface TaskObserver {
  /** The message was taken in and will run, now or at its time. */
  received?(work: Work): void;
  /** The function is about to be called. */
  started?(attempt: Attempt): void;
  /** The function has returned and its result is kept. */
  succeeded?(attempt: Attempt, result: unknown, seconds: number): void;
  failed?(attempt: Attempt, error: unknown, described: DescribedError, seconds: number): void;
  /** The next attempt is in the broker. `cause` undefined: the task gave none. */
  retried?(attempt: Attempt, cause: unknown, described: DescribedError | undefined): void;
  /** `attempt` undefined: it never ran. */
  revoked?(work: Work, facts: RevokeFacts, attempt: Attempt | undefined): void;
  rejected?(attempt: Attempt, requeue: boolean): void;
  /** The attempt is over and nothing of it is left to do but to settle its message. */
  ended?(attempt: Attempt, state: string, value: unknown): void;
  unknown?(delivery: Delivery, request: TaskRequest, error: Error): void;
  /** What follows a task failed in an unexpected way: a defect, not the task's doing. */
  internalError?(attempt: Attempt, error: unknown): void;
}

/**
 * The observers of a worker. While there are none, a call costs next to nothing; what an observer throws is its own
 * affair and never the task's.
 */
export class TaskObservers implements Required<TaskObserver> {
  readonly #onError: (error: unknown) => void;
  #all: readonly TaskObserver[] = [];

  constructor(onError: (error: unknown) => void) {
    this.#onError = onError;
  }

  add(observer: TaskObserver): void {
    if (!this.#all.includes(observer)) this.#all = [...this.#all, observer];
  }

  remove(observer: TaskObserver): void {
    this.#all = this.#all.filter((other) => other !== observer);
  }

  received(work: Work): void {
    for (const one of this.#all) this.#call(() => one.received?.(work));
  }

  started(attempt: Attempt): void {
    for (const one of this.#all) this.#call(() => one.started?.(attempt));
  }

  succeeded(attempt: Attempt, result: unknown, seconds: number): void {
    for (const one of this.#all) this.#call(() => one.succeeded?.(attempt, result, seconds));
  }

  failed(attempt: Attempt, error: unknown, described: DescribedError, seconds: number): void {
    for (const one of this.#all) this.#call(() => one.failed?.(attempt, error, described, seconds));
  }

  retried(attempt: Attempt, cause: unknown, described: DescribedError | undefined): void {
    for (const one of this.#all) this.#call(() => one.retried?.(attempt, cause, described));
  }

  revoked(work: Work, facts: RevokeFacts, attempt: Attempt | undefined): void {
    for (const one of this.#all) this.#call(() => one.revoked?.(work, facts, attempt));
  }

  rejected(attempt: Attempt, requeue: boolean): void {
    for (const one of this.#all) this.#call(() => one.rejected?.(attempt, requeue));
  }

  ended(attempt: Attempt, state: string, value: unknown): void {
    for (const one of this.#all) this.#call(() => one.ended?.(attempt, state, value));
  }

  unknown(delivery: Delivery, request: TaskRequest, error: Error): void {
    for (const one of this.#all) this.#call(() => one.unknown?.(delivery, request, error));
  }

  internalError(attempt: Attempt, error: unknown): void {
    for (const one of this.#all) this.#call(() => one.internalError?.(attempt, error));
  }

  #call(tell: () => void): void {
    try {
      tell();
    } catch (error) {
      this.#onError(error);
    }
  }
}
