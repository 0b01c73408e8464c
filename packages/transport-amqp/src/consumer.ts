import {
  ClosedError,
  ConfigError,
  type Consumer,
  ConnectionLostError,
  type Delivery,
  type DeliverySink,
  type Logger,
  LovageError,
  type Message,
  NotFoundError,
  type Outcome,
} from '@lovage/core/transport';
import { type IncomingMessage, writeAck, writeNack } from './content.ts';
import { undelayed, withoutDelayNotes } from './delayed.ts';
import type { Link, LinkChannel } from './link.ts';
import { type DeliveryHistory, readHistory, recordHistory, withoutCounters } from './redelivery.ts';
import { SettledPrefix } from './settled-prefix.ts';

/** basic.qos has 16 bits; 0 there means no limit, and so would 65536 to Python. */
const PREFETCH_MAX = 65_535;

/** Dies with its channel. */
export class DeliveryTag {
  readonly consumer: AmqpConsumer;
  readonly number: number;
  settled = false;

  constructor(consumer: AmqpConsumer, number: number) {
    this.consumer = consumer;
    this.number = number;
  }
}

interface TaggedDelivery extends Delivery {
  readonly tag: DeliveryTag;
}

/** What a consumer needs from its connection. */
export interface ConsumerHost {
  readonly logger: Logger;
  /** Count deliveries on classic queues by republishing. */
  readonly countRedeliveries: boolean;
  /** Publishes with confirm; rejects when no queue takes the message. */
  publishOne(exchange: string, routingKey: string, message: Message): Promise<void>;
  deadLetterOf(queue: string): { readonly exchange: string; readonly routingKey: string } | undefined;
}

/**
 * Consumes some queues over a channel of its own. Every queue has the whole prefetch as its per-consumer limit at the
 * broker, because a limit over several queues would need global QoS, which quorum queues refuse; what arrives beyond
 * the consumer's own limit waits here until something is settled.
 */
export class AmqpConsumer implements Consumer {
  readonly done: Promise<void>;
  readonly link: Link;
  readonly host: ConsumerHost;
  readonly #queues: readonly string[];
  readonly #sink: DeliverySink;
  readonly #tags = new SettledPrefix();
  /** Queue by consumer tag. */
  readonly #consumerTags = new Map<string, string>();
  /** Replaced by `setPrefetch`. */
  readonly #formerTags = new Map<string, string>();
  #consumerTagCount = 0;
  #channel!: LinkChannel;
  #limit: number;
  #handed = 0;
  /** Arrived and not handed on. */
  #held: TaggedDelivery[] = [];
  #handOverScheduled = false;
  /** Being republished with their count. */
  #recording = 0;
  #state: 'open' | 'cancelled' | 'lost' = 'open';
  #cancelling: Promise<void> | undefined;
  #stopFlushing: (() => void) | undefined;
  #resolveDone!: () => void;
  #rejectDone!: (error: LovageError) => void;

  constructor(link: Link, host: ConsumerHost, queues: readonly string[], sink: DeliverySink, prefetch: number) {
    this.link = link;
    this.host = host;
    this.#queues = queues;
    this.#sink = sink;
    this.#limit = checkedPrefetch(prefetch);
    this.done = new Promise((resolve, reject) => {
      this.#resolveDone = resolve;
      this.#rejectDone = reject;
    });
    // Whoever does not look at it is told by the connection's `closed`.
    this.done.catch(() => {});
  }

  /** Rejects as a request does; leaves nothing behind then. */
  async start(): Promise<void> {
    const channel = await this.link.openChannel('plain', {
      delivered: (consumerTag, tag, redelivered, exchange, routingKey, message) => {
        this.#delivered(consumerTag, tag, redelivered, exchange, routingKey, message);
      },
    });
    this.#channel = channel;
    // amqplib closes the channels of a lost connection before it tells of the loss itself.
    channel.api.on('close', () => queueMicrotask(() => this.#lose(channel.failure ?? this.link.lost)));
    this.link.onLost((error) => this.#lose(error));
    this.#stopFlushing = this.link.onFlush(() => this.#writeAcks());
    try {
      await this.#subscribe();
    } catch (error) {
      this.#state = 'lost';
      this.#stopFlushing();
      this.done.catch(() => {});
      this.#rejectDone(error as LovageError);
      await channel.close();
      throw error;
    }
  }

  async setPrefetch(count: number): Promise<void> {
    const limit = checkedPrefetch(count);
    if (this.#state !== 'open') throw new ClosedError('The consumer has ended.');
    if (limit === this.#limit) return;
    this.#limit = limit;
    this.#handOverLater();
    // basic.qos reaches only consumers that come after it. The former ones go once the new ones are there, so that no
    // queue is left without one (an auto-delete queue would vanish); what they delivered stays ours to settle.
    const former = [...this.#consumerTags];
    await this.#subscribe();
    for (const [consumerTag, queue] of former) {
      this.#formerTags.set(consumerTag, queue);
      this.#consumerTags.delete(consumerTag);
      await this.link.request('cancel a consumer', () => this.#channel.api.cancel(consumerTag));
      this.#formerTags.delete(consumerTag);
    }
  }

  cancel(): Promise<void> {
    this.#cancelling ??= this.#cancel();
    return this.#cancelling;
  }

  async #cancel(): Promise<void> {
    if (this.#state !== 'open') return;
    this.#state = 'cancelled';
    this.#giveBackHeld();
    try {
      for (const consumerTag of this.#consumerTags.keys()) {
        await this.link.request('cancel a consumer', () => this.#channel.api.cancel(consumerTag));
      }
    } catch (error) {
      // Without a link or channel nothing arrives any more either.
      this.host.logger.debug({ err: error }, 'A consumer was not cancelled at the broker');
    }
    this.#resolveDone();
    this.#closeWhenSettled();
  }

  /** False when the delivery was settled before. Throws `ConnectionLostError` when it is not ours any more. */
  settle(delivery: Delivery, tag: DeliveryTag, outcome: Outcome): Promise<void> | boolean {
    if (tag.settled) return false;
    if (this.#state === 'lost' || this.#channel.closed) {
      throw new ConnectionLostError('The channel of this delivery was closed; the broker delivers the message again.', {
        cause: this.#channel.failure,
        facts: { queue: delivery.queue },
      });
    }
    tag.settled = true;
    if (outcome === 'reject') {
      const target = this.host.deadLetterOf(delivery.queue);
      if (target !== undefined) return this.#deadLetter(delivery, tag, target);
    }
    if (outcome === 'ack') {
      this.#ack(tag.number);
    } else {
      this.#nack(tag.number, outcome === 'requeue');
    }
    this.#released();
    return true;
  }

  /** Queues declared by Python have no dead letter exchange of the broker's, and may not get one. */
  async #deadLetter(
    delivery: Delivery,
    tag: DeliveryTag,
    target: { readonly exchange: string; readonly routingKey: string },
  ): Promise<void> {
    try {
      await this.host.publishOne(target.exchange, target.routingKey, withoutCounters(delivery.message));
    } catch (error) {
      tag.settled = false;
      throw error;
    }
    if (this.#state === 'lost') {
      throw new ConnectionLostError(
        'The channel was closed after a message was dead lettered and before it was acknowledged.',
      );
    }
    this.#ack(tag.number);
    this.#released();
    await this.link.flushed();
  }

  #ack(tag: number): void {
    this.#tags.ack(tag);
    this.link.scheduleFlush();
  }

  #nack(tag: number, requeue: boolean): void {
    this.#tags.settle(tag);
    // At once into the buffer, and so before any joined acknowledgement of this tick, which would cover it.
    writeNack(this.link.out, this.#channel.number, tag, requeue);
    this.link.scheduleFlush();
  }

  #released(): void {
    this.#handed--;
    if (this.#held.length > 0) this.#handOverLater();
    if (this.#state === 'cancelled') this.#closeWhenSettled();
  }

  #writeAcks(): void {
    if (!this.#tags.hasAcks || this.#channel.closed) return;
    const { upTo, joined, single } = this.#tags.plan();
    const { out } = this.link;
    if (joined > 0) writeAck(out, this.#channel.number, upTo, joined > 1);
    for (const tag of single) writeAck(out, this.#channel.number, tag, false);
  }

  async #subscribe(): Promise<void> {
    const { api } = this.#channel;
    await this.link.request('set the prefetch', () => api.prefetch(this.#limit, false));
    for (const queue of this.#queues) {
      // Named here, because the first deliveries arrive in one chunk with the server's answer.
      const consumerTag = `lovage${++this.#consumerTagCount}`;
      this.#consumerTags.set(consumerTag, queue);
      // Deliveries never reach this callback, only the news that the queue is gone.
      const onMessage = (message: unknown): void => {
        if (message === null) this.#cancelledByServer(consumerTag);
      };
      await this.link.request(
        `consume from the queue "${queue}"`,
        () => api.consume(queue, onMessage, { consumerTag }),
        { queue },
      );
    }
  }

  #cancelledByServer(consumerTag: string): void {
    const queue = this.#consumerTags.get(consumerTag);
    if (queue === undefined || this.#state !== 'open') return;
    this.#consumerTags.delete(consumerTag);
    this.#state = 'cancelled';
    this.#giveBackHeld();
    this.#rejectDone(
      new NotFoundError(
        `The queue "${queue}" was deleted, or its node went away, while it was consumed. Declare it and consume again.`,
        {
          facts: { queue },
          retryable: true,
        },
      ),
    );
    this.#closeWhenSettled();
  }

  #delivered(
    consumerTag: string,
    number: number,
    redelivered: boolean,
    exchange: string,
    routingKey: string,
    message: IncomingMessage,
  ): void {
    this.#tags.add(number);
    if (this.#state !== 'open') {
      this.#nack(number, true);
      return;
    }
    // Messages on their way when their consumer was replaced still come under its tag.
    const queue = this.#consumerTags.get(consumerTag) ?? this.#formerTags.get(consumerTag) ?? '';
    const tag = new DeliveryTag(this, number);
    if (message.malformed !== undefined) {
      this.#hold({
        message,
        queue,
        exchange,
        routingKey,
        redelivered,
        deliveryCount: redelivered ? 2 : 1,
        malformed: message.malformed,
        tag,
      });
      return;
    }
    const address = undelayed(exchange, routingKey);
    const plain = address.routingKey === routingKey ? message : withoutDelayNotes(message);
    const history = readHistory(plain, redelivered, address.exchange, address.routingKey);
    if (history.mustBeRecorded && this.host.countRedeliveries) void this.#record(history, queue, tag);
    else this.#hold(toDelivery(history, queue, tag));
  }

  /**
   * Classic queues say only that there was a delivery before. The count is written before anybody works on the
   * message: published again with it, confirmed, then acknowledged. Dying in between leaves two copies, never none.
   */
  async #record(history: DeliveryHistory, queue: string, tag: DeliveryTag): Promise<void> {
    this.#recording++;
    let recorded = true;
    try {
      await this.host.publishOne('', queue, recordHistory(history));
    } catch (error) {
      recorded = false;
      this.host.logger.warn({ queue, err: error }, 'The delivery count of a message could not be recorded');
    }
    this.#recording--;
    if (this.#state === 'lost' || this.#channel.closed) return;
    if (recorded) {
      tag.settled = true;
      this.#ack(tag.number);
    } else if (this.#state === 'open') {
      this.#hold(toDelivery(history, queue, tag));
    } else {
      this.#nack(tag.number, true);
    }
    if (this.#state === 'cancelled') this.#closeWhenSettled();
  }

  #hold(delivery: TaggedDelivery): void {
    this.#held.push(delivery);
    this.#handOverLater();
  }

  #handOverLater(): void {
    if (this.#handOverScheduled) return;
    this.#handOverScheduled = true;
    // After the chunk of the socket that is being read.
    queueMicrotask(() => {
      this.#handOverScheduled = false;
      this.#handOver();
    });
  }

  #handOver(): void {
    if (this.#state !== 'open' || this.#held.length === 0) return;
    const room = this.#limit === 0 ? this.#held.length : this.#limit - this.#handed;
    if (room <= 0) return;
    let batch = this.#held;
    if (room >= batch.length) this.#held = [];
    else batch = this.#held.splice(0, room);
    this.#handed += batch.length;
    try {
      this.#sink(batch);
    } catch (error) {
      this.host.logger.error({ err: error }, 'A delivery sink threw');
    }
  }

  #giveBackHeld(): void {
    for (const { tag } of this.#held) {
      tag.settled = true;
      this.#nack(tag.number, true);
    }
    this.#held = [];
  }

  /** The channel stays open for what the caller still has to settle. */
  #closeWhenSettled(): void {
    if (this.#handed > 0 || this.#recording > 0 || this.#state !== 'cancelled') return;
    this.#state = 'lost';
    const close = (): Promise<void> => {
      this.#stopFlushing?.();
      return this.#channel.close();
    };
    this.link.flushed().then(close, () => {});
  }

  /** The connection was closed by its owner: `done` resolves, the broker takes back what is unsettled. */
  end(): void {
    if (this.#state === 'lost') return;
    this.#state = 'lost';
    this.#held = [];
    this.#resolveDone();
  }

  #lose(cause: Error | undefined): void {
    this.#stopFlushing?.();
    this.#held = [];
    if (this.#state === 'lost') return;
    this.#state = 'lost';
    this.#rejectDone(
      cause instanceof LovageError
        ? cause
        : new ConnectionLostError(
            `RabbitMQ closed the channel of a consumer: ${cause?.message ?? 'no reason was given'}`,
            {
              cause,
              facts: { queues: this.#queues },
            },
          ),
    );
  }
}

function toDelivery(
  { message, exchange, routingKey, redelivered, count }: DeliveryHistory,
  queue: string,
  tag: DeliveryTag,
): TaggedDelivery {
  return { message, queue, exchange, routingKey, redelivered, deliveryCount: count, tag };
}

function checkedPrefetch(count: number): number {
  if (!Number.isInteger(count) || count < 0)
    throw new ConfigError(`The prefetch is ${count}. Expected a whole number, 0 for no limit.`);
  return Math.min(count, PREFETCH_MAX);
}
