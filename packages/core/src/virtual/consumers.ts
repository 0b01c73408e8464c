import type { Logger } from '../internal/log.ts';
import type { Consumer, ConsumeOptions, Delivery, DeliverySink } from '../transport/contract.ts';
import type { Binding } from '../transport/topology.ts';
import { Held, VirtualConsumer } from './consumer.ts';
import type { Declarations } from './declarations.ts';
import type { Pulled, QueueDriver } from './driver.ts';
import type { Link } from './link.ts';
import { Puller } from './puller.ts';

export interface ConsumersOptions<Receipt> {
  readonly driver: QueueDriver<Receipt>;
  readonly link: Link;
  readonly declarations: Declarations;
  readonly logger: Logger;
  /** Called with what was pulled, before a consumer is told of it. */
  readonly onTaken: (pulled: readonly Pulled<Receipt>[]) => void;
}

type Subscription = Promise<{ unsubscribe(): Promise<void> }>;

/** The consumers of one connection: what feeds each of them, what they hold, and the queues that go with the last one. */
export class Consumers<Receipt> {
  readonly #driver: QueueDriver<Receipt>;
  readonly #link: Link;
  readonly #declarations: Declarations;
  readonly #logger: Logger;
  readonly #puller: Puller<Receipt>;
  /** Those that are open, and those that still hold something. */
  readonly #consumers = new Set<VirtualConsumer<Receipt>>();
  /** To broadcasts, by queue, exchange and routing key. */
  readonly #subscriptions = new Map<VirtualConsumer<Receipt>, Map<string, Subscription>>();
  /** Queues that go with their last consumer, and had one. */
  readonly #temporary = new Set<string>();

  constructor({ driver, link, declarations, logger, onTaken }: ConsumersOptions<Receipt>) {
    this.#driver = driver;
    this.#link = link;
    this.#declarations = declarations;
    this.#logger = logger;
    this.#puller = new Puller({ driver, owner: this, logger, onTaken, onLost: (error) => link.lose(error) });
  }

  /** Resolves when broadcasts reach the consumer and its queues are asked for messages. */
  async open(
    queues: readonly string[],
    sink: DeliverySink,
    { prefetch, refill, onLeaseLost }: ConsumeOptions,
  ): Promise<Consumer> {
    const consumer: VirtualConsumer<Receipt> = new VirtualConsumer<Receipt>({
      owner: this,
      queues,
      prefetch,
      refill,
      sink,
      onLeaseLost,
      logger: this.#logger,
      onRoom: () => this.#puller.wake(),
      onCancel: () => this.#cancel(consumer),
    });
    this.#consumers.add(consumer);
    this.#subscriptions.set(consumer, new Map());
    for (const queue of queues) {
      if (!this.#declarations.isBroadcastOnly(queue)) consumer.pulled.add(queue);
      if (this.#declarations.queue(queue)?.autoDelete === true) this.#temporary.add(queue);
    }
    try {
      await this.#link.guard(Promise.all(queues.map((queue) => this.#subscribe(consumer, queue))));
    } catch (error) {
      await consumer.cancel();
      throw error;
    }
    this.#puller.add(consumer);
    return consumer;
  }

  /** A queue that is consumed may have a new binding: its messages come from now on. */
  async follow({ queue, exchange }: Binding): Promise<void> {
    const consumers = [...this.#consumers].filter(({ queues }) => queues.includes(queue));
    if (this.#declarations.isBroadcast(exchange)) {
      await Promise.all(consumers.map((consumer) => this.#subscribe(consumer, queue)));
      return;
    }
    for (const consumer of consumers) {
      if (consumer.pulled.has(queue)) continue;
      consumer.pulled.add(queue);
      this.#puller.wake();
    }
  }

  /** A message goes out that may come back at once. */
  noteSent(queue: string, deliveryTag: string, payload: string, body: Uint8Array): void {
    this.#puller.noteSent(queue, deliveryTag, payload, body);
  }

  /** What is known of a delivery; undefined: it is not of this connection. */
  heldOf({ tag }: Delivery): Held<Receipt> | undefined {
    return tag instanceof Held && tag.owner === this ? (tag as Held<Receipt>) : undefined;
  }

  /** All that is unsettled. */
  *held(): Iterable<Held<Receipt>> {
    for (const consumer of this.#consumers) yield* consumer.held;
  }

  /** The message is settled. */
  release(held: Held<Receipt>): void {
    const { consumer } = held;
    consumer.release(held);
    if (!consumer.isOpen && consumer.held.size === 0) this.#consumers.delete(consumer);
  }

  /** It is not, after all. */
  restore(held: Held<Receipt>): void {
    held.consumer.restore(held);
    this.#consumers.add(held.consumer);
  }

  async cancelAll(): Promise<void> {
    await Promise.all([...this.#consumers].map((consumer) => consumer.cancel()));
  }

  /** Those that go with their last consumer, once all are cancelled and nothing is held. */
  async discardTemporaryQueues(): Promise<void> {
    await this.#discard([...this.#temporary]);
  }

  /** Nothing is fetched any more. */
  stop(): void {
    this.#puller.stop();
  }

  /** The link is lost: deliveries are the broker's again, and settling them is not possible any more. */
  fail(error: Error): void {
    this.stop();
    for (const consumer of this.#consumers) consumer.fail(error);
    this.#consumers.clear();
    this.#subscriptions.clear();
  }

  async #subscribe(consumer: VirtualConsumer<Receipt>, queue: string): Promise<void> {
    const { broadcast } = this.#driver;
    const subscriptions = this.#subscriptions.get(consumer);
    if (broadcast === undefined || subscriptions === undefined) return;
    await Promise.all(
      this.#declarations.broadcastsTo(queue).map(({ exchange, routingKey }) => {
        const key = JSON.stringify([queue, exchange, routingKey]);
        const present = subscriptions.get(key);
        if (present !== undefined) return present;
        const subscription = broadcast.subscribe(exchange, routingKey, (payload, sentKey) =>
          consumer.broadcast(payload, queue, exchange, sentKey),
        );
        subscriptions.set(key, subscription);
        return subscription;
      }),
    );
  }

  async #cancel(consumer: VirtualConsumer<Receipt>): Promise<void> {
    if (this.#link.isLost) return;
    const subscriptions = [...(this.#subscriptions.get(consumer)?.values() ?? [])];
    this.#subscriptions.delete(consumer);
    await Promise.all([
      this.#puller.remove(consumer),
      ...subscriptions.map((subscription) =>
        subscription.then(
          (active) => active.unsubscribe(),
          () => undefined, // it never came about
        ),
      ),
    ]).catch((error: unknown) => {
      if (!this.#link.noticeLoss(error)) this.#logger.warn({ err: error }, 'a consumer was not cancelled cleanly');
    });
    if (consumer.held.size === 0) this.#consumers.delete(consumer);
    // While closing, they go when what was held has gone back.
    if (!this.#link.isOpen) return;
    const others = [...this.#consumers].filter(({ isOpen }) => isOpen).flatMap(({ queues }) => queues);
    await this.#discard(consumer.queues.filter((name) => this.#temporary.has(name) && !others.includes(name)));
  }

  async #discard(queues: readonly string[]): Promise<void> {
    for (const name of queues) this.#temporary.delete(name);
    await this.#declarations.discard(queues);
  }
}
