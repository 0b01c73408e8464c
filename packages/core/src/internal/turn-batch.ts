import { outsideOfTasks } from './outside-of-tasks.ts';
import { atTurnEnd } from './turn-end.ts';

/**
 * Joins what is added within one turn of the event loop and hands it on together, at the end of the turn or as soon
 * as a bound is reached.
 */
export class TurnBatch<T> {
  readonly #flush: (items: T[]) => Promise<void>;
  readonly #maxItems: number;
  readonly #maxWeight: number;
  #items: T[] = [];
  #weight = 0;
  #deferred: { promise: Promise<void>; resolve: (result: Promise<void>) => void } | undefined;
  #isScheduled = false;

  constructor(flush: (items: T[]) => Promise<void>, { maxItems = 1000, maxWeight = Number.POSITIVE_INFINITY } = {}) {
    this.#flush = flush;
    this.#maxItems = maxItems;
    this.#maxWeight = maxWeight;
  }

  /** Settles as the flush does that takes the item along: all of a turn share one promise. */
  add(item: T, weight = 0): Promise<void> {
    const deferred = (this.#deferred ??= defer());
    this.#items.push(item);
    this.#weight += weight;
    if (this.#items.length >= this.#maxItems || this.#weight >= this.#maxWeight) this.flush();
    else if (!this.#isScheduled) {
      this.#isScheduled = true;
      atTurnEnd(() => {
        this.#isScheduled = false;
        this.flush();
      });
    }
    return deferred.promise;
  }

  /** Hands on what there is, now. */
  flush(): void {
    const deferred = this.#deferred;
    if (deferred === undefined) return;
    const items = this.#items;
    this.#items = [];
    this.#weight = 0;
    this.#deferred = undefined;
    deferred.resolve(outsideOfTasks(() => this.#flush(items)));
  }
}

function defer(): { promise: Promise<void>; resolve: (result: Promise<void>) => void } {
  let resolve!: (result: Promise<void>) => void;
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
