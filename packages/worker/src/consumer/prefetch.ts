import type { Consumer } from '@lovage/core/transport';

/** AMQP counts prefetch in 16 bits; Celery switches the limit off beyond it. Source: kombu/common.py, QoS. */
const MOST = 65_535;

/**
 * How many deliveries a consumer may have unsettled: the base, and one more for each message that only waits for its
 * time, so that those do not take the place of messages that could run.
 */
export class PrefetchWindow {
  #base: number;
  readonly #heldLimit: number;
  readonly #onError: (error: unknown) => void;
  #consumer: Consumer | undefined;
  #held = 0;
  #told: number;
  #telling = false;
  #scheduled = false;

  /** `base` 0: no limit. `heldLimit`: up to how many held messages the window grows. */
  constructor(base: number, heldLimit: number, onError: (error: unknown) => void) {
    this.#base = base;
    this.#heldLimit = heldLimit;
    this.#onError = onError;
    this.#told = this.size;
  }

  /** What the broker should be told; 0: no limit. */
  get size(): number {
    if (this.#base === 0) return 0;
    const size = this.#base + Math.min(this.#held, this.#heldLimit);
    return size > MOST ? 0 : size;
  }

  /** A new consumer and the prefetch it was made with: deliveries may have come, and been held, since then. */
  attach(consumer: Consumer, prefetch: number): void {
    this.#consumer = consumer;
    this.#told = prefetch;
    this.#tell();
  }

  detach(): void {
    this.#consumer = undefined;
  }

  /** 0: no limit. */
  setBase(base: number): void {
    this.#base = base;
    this.#changed();
  }

  setHeld(count: number): void {
    this.#held = count;
    this.#changed();
  }

  /** Changes of one turn reach the broker as one. */
  #changed(): void {
    if (this.#scheduled || this.#telling || this.#consumer === undefined || this.size === this.#told) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#tell();
    });
  }

  #tell(): void {
    const consumer = this.#consumer;
    const size = this.size;
    if (consumer === undefined || this.#telling || size === this.#told) return;
    this.#telling = true;
    this.#told = size;
    consumer.setPrefetch(size).then(
      () => {
        this.#telling = false;
        this.#tell();
      },
      (error: unknown) => {
        this.#telling = false;
        if (this.#consumer === consumer) this.#onError(error);
      },
    );
  }
}
