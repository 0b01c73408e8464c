const OPEN = 0;
const ACKED = 1;
const SETTLED = 2;

const INITIAL_CAPACITY = 256;

/** How to tell the broker of acknowledgements: everything up to `upTo` at once, then the `single` ones. */
export interface AckPlan {
  /** 0: nothing can be joined. Itself always an unsettled tag, as the broker demands. */
  readonly upTo: number;
  /** How many acknowledgements `upTo` stands for. */
  readonly joined: number;
  readonly single: readonly number[];
}

/**
 * The delivery tags of one channel, which count from 1 without gaps. Acknowledgements wait here until the tick is over;
 * the longest finished run at the low end then goes out as one basic.ack with `multiple`.
 */
export class SettledPrefix {
  /** The lowest tag that is not settled. */
  #base = 1;
  #capacity = INITIAL_CAPACITY;
  #states = new Uint8Array(INITIAL_CAPACITY);
  #acked: number[] = [];
  #highest = 0;

  /** Tags arrive in order. */
  add(tag: number): void {
    this.#highest = tag;
    if (tag - this.#base >= this.#capacity) this.#grow();
    this.#states[tag & (this.#capacity - 1)] = OPEN;
  }

  ack(tag: number): void {
    this.#states[tag & (this.#capacity - 1)] = ACKED;
    this.#acked.push(tag);
  }

  /** It was told to the broker in another way. */
  settle(tag: number): void {
    this.#states[tag & (this.#capacity - 1)] = SETTLED;
  }

  get hasAcks(): boolean {
    return this.#acked.length > 0;
  }

  /** What to tell now; it counts as told. */
  plan(): AckPlan {
    const mask = this.#capacity - 1;
    const states = this.#states;
    let upTo = 0;
    let joined = 0;
    let base = this.#base;
    for (; base <= this.#highest && states[base & mask] !== OPEN; base++) {
      if (states[base & mask] === ACKED) {
        upTo = base;
        joined++;
      }
    }
    this.#base = base;
    const acked = this.#acked;
    this.#acked = [];
    if (joined === acked.length) return { upTo, joined, single: [] };
    const single = acked.filter((tag) => tag > upTo);
    for (const tag of single) states[tag & mask] = SETTLED;
    return { upTo, joined, single };
  }

  #grow(): void {
    const capacity = this.#capacity * 2;
    const states = new Uint8Array(capacity);
    for (let tag = this.#base; tag < this.#highest; tag++) {
      states[tag & (capacity - 1)] = this.#states[tag & (this.#capacity - 1)] as number;
    }
    this.#capacity = capacity;
    this.#states = states;
  }
}
