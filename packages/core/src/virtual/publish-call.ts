import { type LovageError, PublishError, type PublishFailure } from '../errors.ts';

/** One call of `publish()`: settles when the last of its messages has its answer. */
export class PublishCall {
  readonly promise: Promise<void>;
  readonly #total: number;
  #left: number;
  readonly #failures: PublishFailure[] = [];
  #resolve!: () => void;
  #reject!: (error: unknown) => void;

  constructor(total: number) {
    this.#total = total;
    this.#left = total;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    if (total === 0) this.#resolve();
  }

  taken(): void {
    if (--this.#left === 0) this.#settle();
  }

  refused(index: number, error: LovageError): void {
    this.#failures.push({ index, error });
    if (--this.#left === 0) this.#settle();
  }

  /** Nothing is known of the batch any more. */
  fail(error: unknown): void {
    this.#reject(error);
  }

  #settle(): void {
    if (this.#failures.length === 0) return this.#resolve();
    this.#reject(
      new PublishError(
        this.#failures.toSorted((a, b) => a.index - b.index),
        this.#total,
      ),
    );
  }
}
