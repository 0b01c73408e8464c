import type { Consumer } from '@lovage/core/transport';

/** One fetch of so many is as cheap as they get. */
const LARGEST_REFILL = 32;
/** AMQP counts prefetch in 16 bits; Celery switches the limit off beyond it. Source: kombu/common.py, QoS. */
const MOST = 65_535;

/**
 * How many deliveries a consumer may have unsettled: the base, and one more for each message that only waits for its
 * time, so that those do not take the place of messages that could run.
 */
export class PrefetchWindow {
  #base: number;
  #slots: number;
  readonly #heldLimit: number;
  readonly #onError: (error: unknown) => void;
  #consumer: Consumer | undefined;
  #held = 0;
  /** What the consumer was told: size and refill. */
  #told: readonly [size: number, refill: number];
  #telling = false;
  #scheduled = false;

  /**
   * `base` 0: no limit. `slots`: how many of them may run at once; what is beyond waits its turn here. `heldLimit`: up to
   * how many held messages the window grows.
   */
  constructor(
    { base, slots }: { readonly base: number; readonly slots: number },
    heldLimit: number,
    onError: (error: unknown) => void,
  ) {
    this.#base = base;
    this.#slots = slots;
    this.#heldLimit = heldLimit;
    this.#onError = onError;
    this.#told = [this.size, this.refill];
  }

  /** What the broker should be told; 0: no limit. */
  get size(): number {
    if (this.#base === 0) return 0;
    const size = this.#base + Math.min(this.#held, this.#heldLimit);
    return size > MOST ? 0 : size;
  }

  /** How many slots are free when it is time to fetch: half of what waits its turn while all of them are taken. */
  get refill(): number {
    // Messages that wait for their time and have no place of their own take that of those that could run.
    if (this.#base === 0 || this.#held > this.#heldLimit) return 1;
    return Math.min(LARGEST_REFILL, Math.max(1, Math.floor((this.#base - this.#slots) / 2)));
  }

  /** A new consumer and what it was made with: deliveries may have come, and been held, since then. */
  attach(consumer: Consumer, told: readonly [size: number, refill: number]): void {
    this.#consumer = consumer;
    this.#told = told;
    this.#tell();
  }

  detach(): void {
    this.#consumer = undefined;
  }

  /** 0: no limit. */
  setBase(base: number, slots: number): void {
    this.#base = base;
    this.#slots = slots;
    this.#changed();
  }

  setHeld(count: number): void {
    this.#held = count;
    this.#changed();
  }

  /** Changes of one turn reach the broker as one. */
  #changed(): void {
    if (this.#scheduled || this.#telling || this.#consumer === undefined || !this.#hasChanged) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#tell();
    });
  }

  get #hasChanged(): boolean {
    const [size, refill] = this.#told;
    return size !== this.size || refill !== this.refill;
  }

  #tell(): void {
    const consumer = this.#consumer;
    const { size, refill } = this;
    if (consumer === undefined || this.#telling || !this.#hasChanged) return;
    this.#telling = true;
    const before = this.#told;
    this.#told = [size, refill];
    consumer.setPrefetch(size, refill).then(
      () => {
        this.#telling = false;
        this.#tell();
      },
      (error: unknown) => {
        this.#telling = false;
        if (this.#consumer !== consumer) {
          this.#tell();
          return;
        }
        // The next change of what is held tries again.
        this.#told = before;
        this.#onError(error);
      },
    );
  }
}
