import {
  type ConditionalRemoval,
  type Exchange,
  type ExchangeType,
  NotFoundError,
  PreconditionFailedError,
  type Queue,
  type QueueStatus,
  type Topology,
} from '@lovage/core/transport';
import type { Channel } from 'amqplib';
import { writtenArguments } from './arguments.ts';
import { bindDelayTarget, declareDelays, DELAY_QUEUES, type DelayTarget, type KnownTopology } from './delayed.ts';
import type { Link, LinkChannel } from './link.ts';

/** From here RabbitMQ refuses queues that are neither durable nor exclusive (541). */
const DENIES_TRANSIENT: readonly [number, number] = [4, 3];

/** Where a rejected message goes when the broker does not do it by itself. */
export type DeadLetter = NonNullable<Queue['deadLetter']>;

/**
 * Declarations and questions about queues, over throw-away channels: the server closes a channel over a wrong argument
 * or a missing queue, and nothing else may be on it. A channel that survived is used again.
 */
export class TopologyKeeper implements KnownTopology {
  readonly #exchangeTypes = new Map<string, ExchangeType>();
  readonly #deadLetters = new Map<string, DeadLetter>();
  readonly #boundQueues = new Map<string, Set<string>>();
  readonly #idle = new WeakMap<Link, LinkChannel>();
  readonly #delayTargets = new Set<string>();
  #delays: Promise<void> | undefined;

  exchangeType(exchange: string): ExchangeType | undefined {
    return this.#exchangeTypes.get(exchange);
  }

  queuesBound(exchange: string, routingKey: string): readonly string[] {
    return [...(this.#boundQueues.get(bindingKey(exchange, routingKey)) ?? [])];
  }

  deadLetterOf(queue: string): DeadLetter | undefined {
    return this.#deadLetters.get(queue);
  }

  async declare(link: Link, { exchanges = [], queues = [], bindings = [] }: Topology): Promise<void> {
    const { nativeDelayedDelivery } = link.settings;
    await this.#withChannel(link, async (channel) => {
      for (const exchange of exchanges) await this.#declareExchange(link, channel, exchange);
      for (const queue of queues) await this.#declareQueue(link, channel, queue);
      for (const { queue, exchange, routingKey, arguments: args } of bindings) {
        if (exchange === '') continue;
        await link.request(
          `bind the queue "${queue}" to the exchange "${exchange}"`,
          () => channel.api.bindQueue(queue, exchange, routingKey, writtenArguments(args)),
          { queue, exchange },
        );
        const key = bindingKey(exchange, routingKey);
        const bound = this.#boundQueues.get(key);
        if (bound === undefined) this.#boundQueues.set(key, new Set([queue]));
        else bound.add(queue);
      }
    });
    if (!nativeDelayedDelivery) return;
    for (const { queue, exchange, routingKey } of bindings) {
      const type = this.#exchangeTypes.get(exchange);
      if (type === undefined || type === 'direct') continue;
      await this.prepareDelay(link, { kind: 'exchange', exchange, pattern: `#.${routingKey}` });
      // The others do not look at the key, and a headers exchange would take a binding without arguments for "all".
      if (type !== 'topic') continue;
      await this.#withChannel(link, (channel) =>
        link.request(
          `bind the queue "${queue}" for delayed messages`,
          () => channel.api.bindQueue(queue, exchange, `#.${routingKey}`),
          { queue },
        ),
      );
    }
  }

  async #declareExchange(link: Link, channel: LinkChannel, exchange: Exchange): Promise<void> {
    const { name, type, durable = true, autoDelete = false, arguments: args } = exchange;
    if (name === '') return;
    await link.request(
      `declare the exchange "${name}"`,
      () => channel.api.assertExchange(name, type, { durable, autoDelete, arguments: writtenArguments(args) }),
      { exchange: name },
    );
    this.#exchangeTypes.set(name, type);
  }

  async #declareQueue(link: Link, channel: LinkChannel, queue: Queue): Promise<void> {
    const { name, exclusive = false, autoDelete = false, arguments: args, deadLetter } = queue;
    const durable = acceptedDurability(queue, link.version);
    await link.request(
      `declare the queue "${name}"`,
      () => channel.api.assertQueue(name, { durable, exclusive, autoDelete, arguments: writtenArguments(args) }),
      { queue: name },
    );
    if (deadLetter !== undefined && args?.['x-dead-letter-exchange'] === undefined)
      this.#deadLetters.set(name, deadLetter);
    else this.#deadLetters.delete(name);
  }

  async remove(link: Link, { exchanges = [], queues = [], bindings = [] }: Topology): Promise<void> {
    for (const { queue, exchange, routingKey, arguments: args } of bindings) {
      if (exchange === '') continue;
      await this.#removeOne(link, `unbind the queue "${queue}" from the exchange "${exchange}"`, (api) =>
        api.unbindQueue(queue, exchange, routingKey, writtenArguments(args)),
      );
      this.#boundQueues.get(bindingKey(exchange, routingKey))?.delete(queue);
    }
    for (const { name } of queues) {
      await this.#removeOne(link, `delete the queue "${name}"`, (api) => api.deleteQueue(name));
      this.#forgetQueue(name);
    }
    for (const { name } of exchanges) {
      if (name !== '') await this.#removeOne(link, `delete the exchange "${name}"`, (api) => api.deleteExchange(name));
      this.#exchangeTypes.delete(name);
    }
  }

  async removeIf(link: Link, removal: ConditionalRemoval): Promise<number> {
    const [kind, name] =
      'queue' in removal ? (['queue', removal.queue] as const) : (['exchange', removal.exchange] as const);
    try {
      return await this.#withChannel(link, (channel) =>
        link.request(`delete the ${kind} "${name}"`, async () => {
          if ('exchange' in removal) {
            await channel.api.deleteExchange(name, { ifUnused: true });
            this.#exchangeTypes.delete(name);
            return 0;
          }
          const { ifEmpty, ifUnused } = removal;
          const { messageCount } = await channel.api.deleteQueue(name, { ifEmpty, ifUnused });
          this.#forgetQueue(name);
          return messageCount;
        }),
      );
    } catch (error) {
      // The server's text says which; that it exists with other properties is no news here.
      if (!(error instanceof PreconditionFailedError) || !(error.cause instanceof Error)) throw error;
      throw new PreconditionFailedError(`RabbitMQ did not delete the ${kind} "${name}": ${error.cause.message}`, {
        cause: error.cause,
        facts: { [kind]: name },
      });
    }
  }

  #forgetQueue(name: string): void {
    this.#deadLetters.delete(name);
    for (const bound of this.#boundQueues.values()) bound.delete(name);
  }

  async #removeOne(link: Link, what: string, run: (api: Channel) => Promise<unknown>): Promise<void> {
    try {
      await this.#withChannel(link, (channel) => link.request(what, () => run(channel.api)));
    } catch (error) {
      if (!(error instanceof NotFoundError)) throw error;
    }
  }

  inspect(link: Link, queue: string): Promise<QueueStatus> {
    return this.#withChannel(link, async (channel) => {
      const { messageCount, consumerCount } = await link.request(
        `inspect the queue "${queue}"`,
        () => channel.api.checkQueue(queue),
        { queue },
      );
      return { ready: messageCount, consumers: consumerCount };
    });
  }

  purge(link: Link, queue: string): Promise<number> {
    return this.#withChannel(link, async (channel) => {
      const { messageCount } = await link.request(`purge the queue "${queue}"`, () => channel.api.purgeQueue(queue), {
        queue,
      });
      return messageCount;
    });
  }

  /** Messages in the levels of delayed delivery, whoever sent them: 0 where nobody has declared them. */
  async delayed(link: Link): Promise<number> {
    let count = 0;
    try {
      await this.#withChannel(link, async (channel) => {
        // From the longest delay down, as messages go: one that moves meanwhile is counted twice rather than never.
        for (const queue of DELAY_QUEUES.toReversed()) {
          const { messageCount } = await link.request(
            `inspect the queue "${queue}"`,
            () => channel.api.checkQueue(queue),
            { queue },
          );
          count += messageCount;
        }
      });
    } catch (error) {
      if (!(error instanceof NotFoundError)) throw error;
    }
    return count;
  }

  /** The 28 levels, once per connection, and the way from their end to the target. */
  async prepareDelay(link: Link, target: DelayTarget): Promise<void> {
    const key = JSON.stringify(target);
    if (this.#delayTargets.has(key)) return;
    this.#delays ??= this.#declareDelays(link);
    await this.#delays;
    await this.#withChannel(link, (channel) =>
      link.request('bind the target of a delayed message', () => bindDelayTarget(channel.api, target), { ...target }),
    );
    this.#delayTargets.add(key);
  }

  async #declareDelays(link: Link): Promise<void> {
    try {
      await this.#withChannel(link, (channel) =>
        link.request('declare the queues of delayed delivery', () =>
          declareDelays(channel.api, link.settings.nativeDelayedDeliveryQueueType),
        ),
      );
    } catch (error) {
      this.#delays = undefined;
      throw error;
    }
  }

  async #withChannel<T>(link: Link, run: (channel: LinkChannel) => Promise<T>): Promise<T> {
    const idle = this.#idle.get(link);
    this.#idle.delete(link);
    const channel = idle !== undefined && !idle.closed ? idle : await link.openChannel('plain');
    try {
      const result = await run(channel);
      if (this.#idle.has(link)) await channel.close();
      else this.#idle.set(link, channel);
      return result;
    } catch (error) {
      await channel.close();
      throw error;
    }
  }
}

/**
 * RabbitMQ 4.3 refuses queues that are neither durable nor exclusive. Those that Celery declares so (mailboxes, event
 * queues, replies) belong to one process each, so making them durable there disturbs nobody.
 */
export function acceptedDurability(
  { durable = true, exclusive = false }: Queue,
  [major, minor]: readonly [number, number],
): boolean {
  const denied = major > DENIES_TRANSIENT[0] || (major === DENIES_TRANSIENT[0] && minor >= DENIES_TRANSIENT[1]);
  return durable || (denied && !exclusive);
}

function bindingKey(exchange: string, routingKey: string): string {
  return `${exchange}\0${routingKey}`;
}
