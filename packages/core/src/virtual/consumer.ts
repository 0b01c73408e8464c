import { ConfigError } from '../errors.ts';
import type { Logger } from '../internal/log.ts';
import type { Consumer, Delivery, DeliverySink } from '../transport/contract.ts';
import { decodeEnvelope } from './envelope.ts';

/** Broadcast messages that wait for a free slot; the oldest beyond are dropped: broadcast is at most once. */
const MAX_WAITING_BROADCASTS = 10_000;

/** A delivery that has no tag yet. */
type DeliveryDraft = Delivery & { tag: unknown };

/** The tag of a virtual delivery: what the connection knows of a message that it handed out. */
export class Held<Receipt> {
  readonly owner: object;
  readonly consumer: VirtualConsumer<Receipt>;
  readonly delivery: Delivery;
  /** undefined: a broadcast, which no broker keeps. */
  readonly receipt: { readonly value: Receipt } | undefined;
  /** For the lease: epoch milliseconds. */
  readonly takenAt: number;
  isSettled = false;

  constructor(
    owner: object,
    consumer: VirtualConsumer<Receipt>,
    receipt: { readonly value: Receipt } | undefined,
    takenAt: number,
    delivery: DeliveryDraft,
  ) {
    this.owner = owner;
    this.consumer = consumer;
    this.receipt = receipt;
    this.takenAt = takenAt;
    delivery.tag = this;
    this.delivery = delivery;
  }
}

export interface VirtualConsumerOptions {
  readonly owner: object;
  readonly queues: readonly string[];
  readonly prefetch: number;
  readonly refill: number | undefined;
  readonly sink: DeliverySink;
  readonly onLeaseLost: ((deliveries: readonly Delivery[]) => void) | undefined;
  readonly logger: Logger;
  /** Called when slots became free. */
  readonly onRoom: () => void;
  /** Stops what feeds the consumer. */
  readonly onCancel: () => Promise<void>;
}

/** One consumer of a virtual connection: its window of unsettled deliveries and its waiting broadcasts. */
export class VirtualConsumer<Receipt> implements Consumer {
  readonly done: Promise<void>;
  readonly queues: readonly string[];
  /** The queues that are asked for messages; the others get broadcasts only. */
  readonly pulled = new Set<string>();
  readonly held = new Set<Held<Receipt>>();
  readonly #options: VirtualConsumerOptions;
  #broadcasts: DeliveryDraft[] = [];
  #isDraining = false;
  #prefetch: number;
  #refill: number;
  #isOpen = true;
  #cancelling: Promise<void> | undefined;
  #finish!: { resolve: () => void; reject: (error: Error) => void };

  /** `ConfigError` for a prefetch that is no whole number from 0 up. */
  constructor(options: VirtualConsumerOptions) {
    checkPrefetch(options.prefetch);
    this.#options = options;
    this.queues = options.queues;
    this.#prefetch = options.prefetch;
    this.#refill = options.refill ?? 1;
    this.done = new Promise((resolve, reject) => {
      this.#finish = { resolve, reject };
    });
    // Whoever does not look at `done` learns of a loss from the connection.
    this.done.catch(() => {});
  }

  /** False as soon as cancelling begins, or after a loss: the sink is not called any more. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Free slots; Infinity without a limit. */
  get room(): number {
    return this.#prefetch === 0 ? Number.POSITIVE_INFINITY : Math.max(0, this.#prefetch - this.held.size);
  }

  /** Enough slots are free that a fetch is worth it. */
  get isHungry(): boolean {
    return (
      this.#isOpen && this.room >= (this.#prefetch === 0 ? 1 : Math.max(1, Math.min(this.#refill, this.#prefetch)))
    );
  }

  async setPrefetch(count: number, refill = 1): Promise<void> {
    checkPrefetch(count);
    this.#prefetch = count;
    this.#refill = refill;
    if (this.room > 0) this.#roomMade();
  }

  cancel(): Promise<void> {
    if (this.#cancelling !== undefined) return this.#cancelling;
    this.#isOpen = false;
    this.#cancelling = this.#options.onCancel().finally(() => this.#finish.resolve());
    return this.#cancelling;
  }

  /** Ends `done` with the loss. */
  fail(error: Error): void {
    this.#isOpen = false;
    this.#finish.reject(error);
  }

  /** Hands a batch to the sink; nothing that the sink does wrong may end the loop behind. */
  deliver(batch: readonly Held<Receipt>[]): void {
    for (const held of batch) this.held.add(held);
    try {
      this.#options.sink(batch.map(({ delivery }) => delivery));
    } catch (error) {
      this.#options.logger.error(
        { err: error, queues: this.queues },
        'the sink of a consumer threw; its deliveries stay unsettled',
      );
    }
  }

  /** The message counts no longer. */
  release(held: Held<Receipt>): void {
    if (this.held.delete(held)) this.#roomMade();
  }

  /** A settlement failed while the link lives: the message is still ours. */
  restore(held: Held<Receipt>): void {
    held.isSettled = false;
    this.held.add(held);
  }

  leaseLost(lost: readonly Held<Receipt>[]): void {
    for (const held of lost) {
      held.isSettled = true;
      this.release(held);
    }
    try {
      this.#options.onLeaseLost?.(lost.map(({ delivery }) => delivery));
    } catch (error) {
      this.#options.logger.error({ err: error }, 'onLeaseLost of a consumer threw');
    }
  }

  broadcast(payload: string | Uint8Array, queue: string, exchange: string, routingKey: string): void {
    const { message, routingKey: own = routingKey, redelivered, malformed } = decodeEnvelope(payload);
    const facts = { message, queue, exchange, routingKey: own, redelivered, deliveryCount: redelivered ? 2 : 1 };
    this.#wait({ ...facts, tag: undefined, ...(malformed === undefined ? {} : { malformed }) });
  }

  /** A broadcast that was requeued: nobody else can take it. */
  broadcastAgain({ delivery }: Held<Receipt>): void {
    this.#wait({ ...delivery, redelivered: true, deliveryCount: delivery.deliveryCount + 1 });
  }

  #wait(delivery: DeliveryDraft): void {
    if (!this.#isOpen) return;
    this.#broadcasts.push(delivery);
    if (this.#broadcasts.length > MAX_WAITING_BROADCASTS) {
      this.#broadcasts.shift();
      this.#options.logger.warn(
        { queue: delivery.queue },
        'a broadcast message was dropped: too many wait for a free slot',
      );
    }
    this.#drainSoon();
  }

  #drainSoon(): void {
    if (this.#broadcasts.length === 0 || this.#isDraining) return;
    this.#isDraining = true;
    setImmediate(() => this.#drain());
  }

  #drain(): void {
    this.#isDraining = false;
    if (!this.#isOpen || this.room === 0) return;
    const ready = this.#broadcasts.splice(0, Math.min(this.#broadcasts.length, this.room));
    if (ready.length === 0) return;
    const now = Date.now();
    this.deliver(ready.map((delivery) => new Held<Receipt>(this.#options.owner, this, undefined, now, delivery)));
  }

  #roomMade(): void {
    this.#drainSoon();
    this.#options.onRoom();
  }
}

function checkPrefetch(count: number): void {
  if (Number.isInteger(count) && count >= 0) return;
  throw new ConfigError(`The prefetch ${count} is not possible. Expected a whole number, or 0 for no limit.`);
}
