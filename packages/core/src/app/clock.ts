/**
 * A Lamport clock: what happens after something else that this process knows of has a higher number. Control messages
 * and events carry it, and monitors order by it. Source: kombu/clocks.py, LamportClock.
 */
export class LogicalClock {
  #value = 0;

  get value(): number {
    return this.#value;
  }

  /** The number of the next thing that happens here. */
  forward(): number {
    return ++this.#value;
  }

  /** Something was heard of that has this number. What is no number a clock can have counts as none. */
  adjust(other: unknown): number {
    const heard = typeof other === 'bigint' ? Number(other) : other;
    if (typeof heard === 'number' && Number.isSafeInteger(heard) && heard > this.#value && heard < FARTHEST) {
      this.#value = heard;
    }
    return this.forward();
  }
}

/** One message from outside must not bring the clock to where it cannot count any more. */
const FARTHEST = 2 ** 52;
