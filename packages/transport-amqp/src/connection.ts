import {
  type Capabilities,
  ClosedError,
  type ConditionalRemoval,
  type Connection,
  ConnectionLostError,
  type ConsumeOptions,
  type Consumer,
  type DeliverySink,
  type Logger,
  LovageError,
  type Message,
  type Publication,
  PublishError,
  type QueueStatus,
  type Settlement,
  type Topology,
  UnsupportedError,
} from '@lovage/core/transport';
import { AmqpConsumer, type ConsumerHost, DeliveryTag } from './consumer.ts';
import { type DelayedPublication, delayedPublication, MAX_DELAY_MS } from './delayed.ts';
import { Link } from './link.ts';
import type { AmqpSettings } from './options.ts';
import { Publisher } from './publisher.ts';
import { type DeadLetter, TopologyKeeper } from './topology.ts';

const MEBIBYTE = 1024 * 1024;
/** What `close` grants to messages on their way before they count as unconfirmed. */
const CLOSE_CONFIRM_MS = 800;

/**
 * One session with RabbitMQ. It has a second TCP connection as soon as it both publishes and consumes: under an alarm
 * the server stops reading from connections that publish, and with them acknowledgements would stand still too.
 */
export class AmqpConnection implements Connection, ConsumerHost {
  readonly capabilities: Capabilities;
  readonly closed: Promise<void>;
  readonly logger: Logger;
  readonly countRedeliveries: boolean;
  readonly #settings: AmqpSettings;
  readonly #clientName: string | undefined;
  readonly #maxMessageBytes: number;
  readonly #topology = new TopologyKeeper();
  readonly #links = new Set<Link>();
  readonly #consumers = new Set<AmqpConsumer>();
  /** Has no role until it is first published or consumed over. */
  readonly #first: Link;
  #publishing: Promise<Publisher> | undefined;
  #publisher: Publisher | undefined;
  #consuming: Promise<Link> | undefined;
  #closing: Promise<void> | undefined;
  #lost: LovageError | undefined;
  #resolveClosed!: () => void;
  #rejectClosed!: (error: LovageError) => void;

  constructor(first: Link, settings: AmqpSettings, clientName: string | undefined, logger: Logger) {
    this.#first = first;
    this.#settings = settings;
    this.#clientName = clientName;
    this.logger = logger;
    this.countRedeliveries = settings.countRedeliveries;
    // The servers' defaults of max_message_size.
    this.#maxMessageBytes = settings.maxMessageBytes ?? (first.version[0] >= 4 ? 16 : 128) * MEBIBYTE;
    this.capabilities = {
      fanout: true,
      priorityLevels: 10,
      servesFirst: 'highest',
      maxDelayMs: settings.nativeDelayedDelivery ? MAX_DELAY_MS : 0,
      leaseMs: 0,
      maxMessageBytes: this.#maxMessageBytes,
      emulated: settings.nativeDelayedDelivery ? ['delay'] : [],
      guarantee: `${first.serverName}: publisher confirms; durable queues survive a restart, quorum queues also the loss of a node`,
    };
    this.closed = new Promise((resolve, reject) => {
      this.#resolveClosed = resolve;
      this.#rejectClosed = reject;
    });
    // Whoever does not look at it hears of the loss by the next call.
    this.closed.catch(() => {});
    this.#adopt(first);
  }

  async declare(topology: Topology): Promise<void> {
    // An exclusive queue can be consumed only over the connection that declared it.
    const exclusive = topology.queues?.some((queue) => queue.exclusive === true) ?? false;
    await this.#topology.declare(exclusive ? await this.#consumeLink() : await this.#requestLink(), topology);
  }

  publish(batch: readonly Publication[], { signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    if (this.#closing !== undefined) return Promise.reject(this.#closedError());
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    const publisher = this.#publisher;
    const isPlain = publisher !== undefined && !batch.some(isDelayed);
    const published = isPlain ? publisher.publish(batch) : this.#publishSlowly(batch);
    return signal === undefined ? published : untilAborted(published, signal);
  }

  async #publishSlowly(batch: readonly Publication[]): Promise<void> {
    let ready: readonly Publication[];
    let publisher: Publisher;
    try {
      publisher = await this.#openPublisher();
      ready = batch.some(isDelayed) ? await this.#withDelays(batch) : batch;
    } catch (error) {
      throw new PublishError(
        batch.map((_, index) => ({ index, error: error as LovageError })),
        batch.length,
      );
    }
    await publisher.publish(ready);
  }

  /** All or nothing: a message that cannot be delayed leaves the whole batch unsent. */
  async #withDelays(batch: readonly Publication[]): Promise<readonly Publication[]> {
    if (!this.#settings.nativeDelayedDelivery) {
      throw new UnsupportedError(
        'Delayed publishing is switched off. See the transport option "nativeDelayedDelivery".',
      );
    }
    const link = await this.#requestLink();
    const delayed = batch.map((publication): DelayedPublication | undefined =>
      isDelayed(publication) ? delayedPublication(publication, this.#topology) : undefined,
    );
    for (const entry of delayed) if (entry !== undefined) await this.#topology.prepareDelay(link, entry.target);
    return batch.map((publication, index) => delayed[index]?.publication ?? publication);
  }

  async consume(queues: readonly string[], sink: DeliverySink, { prefetch }: ConsumeOptions): Promise<Consumer> {
    const link = await this.#consumeLink();
    const consumer = new AmqpConsumer(link, this, queues, sink, prefetch);
    await consumer.start();
    if (this.#closing !== undefined) {
      consumer.end();
      throw this.#closedError();
    }
    this.#consumers.add(consumer);
    const forget = (): void => {
      this.#consumers.delete(consumer);
    };
    consumer.done.then(forget, forget);
    return consumer;
  }

  settle(settlements: readonly Settlement[]): Promise<void> {
    if (this.#closing !== undefined) return Promise.reject(this.#closedError());
    if (this.#lost !== undefined) return Promise.reject(this.#lost);
    let link: Link | undefined;
    let slower: Promise<void>[] | undefined;
    let failure: unknown;
    for (const { delivery, outcome } of settlements) {
      const { tag } = delivery;
      try {
        if (!(tag instanceof DeliveryTag) || tag.consumer.host !== this) throw staleError(delivery.queue);
        const settled = tag.consumer.settle(delivery, tag, outcome);
        if (typeof settled !== 'boolean') (slower ??= []).push(settled);
        else if (settled) link = tag.consumer.link;
      } catch (error) {
        failure ??= error;
      }
    }
    if (failure === undefined && slower === undefined) return link === undefined ? Promise.resolve() : link.flushed();
    return settledTogether(failure, link?.flushed(), slower ?? []);
  }

  async inspect(queue: string): Promise<QueueStatus> {
    return this.#topology.inspect(await this.#requestLink(), queue);
  }

  async purge(queue: string): Promise<number> {
    return this.#topology.purge(await this.#requestLink(), queue);
  }

  async remove(topology: Topology): Promise<void> {
    await this.#topology.remove(await this.#requestLink(), topology);
  }

  /** Over a link of its own: the server ends the connection that asks a quorum queue for it. */
  async removeIf(removal: ConditionalRemoval): Promise<number> {
    this.#throwIfOver();
    const link = await Link.open(this.#settings, this.#clientName, this.logger, undefined);
    try {
      return await this.#topology.removeIf(link, removal);
    } finally {
      await link.close();
    }
  }

  async delayed(): Promise<number> {
    return this.#topology.delayed(await this.#requestLink());
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    const publisher = await this.#publishing?.catch(() => undefined);
    await publisher?.close(CLOSE_CONFIRM_MS);
    for (const link of this.#links) link.flush();
    for (const consumer of this.#consumers) consumer.end();
    await Promise.all([...this.#links].map((link) => link.close()));
    this.#resolveClosed();
  }

  publishOne(exchange: string, routingKey: string, message: Message): Promise<void> {
    return this.publish([{ exchange, routingKey, message, mandatory: true }]).catch((error: unknown) => {
      throw error instanceof PublishError ? (error.failures[0]?.error ?? error) : error;
    });
  }

  deadLetterOf(queue: string): DeadLetter | undefined {
    return this.#topology.deadLetterOf(queue);
  }

  #adopt(link: Link): void {
    this.#links.add(link);
    link.onLost((error) => this.#lose(error));
  }

  #lose(error: LovageError): void {
    if (this.#lost !== undefined || this.#closing !== undefined) return;
    this.#lost = error;
    for (const link of this.#links) link.destroy(error);
    this.#rejectClosed(error);
  }

  #closedError(): LovageError {
    return new ClosedError('The connection to RabbitMQ is closed.');
  }

  #throwIfOver(): void {
    if (this.#closing !== undefined) throw this.#closedError();
    if (this.#lost !== undefined) throw this.#lost;
  }

  /** For declarations and questions: rather the link that an alarm does not stop. */
  async #requestLink(): Promise<Link> {
    this.#throwIfOver();
    return this.#consuming ?? this.#first;
  }

  async #consumeLink(): Promise<Link> {
    this.#throwIfOver();
    this.#consuming ??= this.#publishing === undefined ? Promise.resolve(this.#first) : this.#openSecond();
    try {
      return await this.#consuming;
    } catch (error) {
      this.#consuming = undefined;
      throw error;
    }
  }

  async #openPublisher(): Promise<Publisher> {
    this.#throwIfOver();
    this.#publishing ??= (this.#consuming === undefined ? Promise.resolve(this.#first) : this.#openSecond()).then(
      (link) => new Publisher(link, this.#maxMessageBytes),
    );
    try {
      this.#publisher = await this.#publishing;
      return this.#publisher;
    } catch (error) {
      this.#publishing = undefined;
      throw error;
    }
  }

  async #openSecond(): Promise<Link> {
    const link = await Link.open(this.#settings, this.#clientName, this.logger, undefined);
    if (this.#closing !== undefined || this.#lost !== undefined) {
      await link.close();
      this.#throwIfOver();
    }
    this.#adopt(link);
    return link;
  }
}

function isDelayed({ delayMs }: Publication): boolean {
  return delayMs !== undefined && delayMs > 0;
}

function staleError(queue: string): LovageError {
  return new ConnectionLostError(
    'The delivery belongs to another connection, and its tag would settle a different message here. The broker delivers it again.',
    { facts: { queue } },
  );
}

async function settledTogether(
  failure: unknown,
  flushed: Promise<void> | undefined,
  slower: readonly Promise<void>[],
): Promise<void> {
  const outcomes = await Promise.allSettled([...(flushed === undefined ? [] : [flushed]), ...slower]);
  if (failure !== undefined) throw failure;
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
}

function untilAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
