import type { StoredBinding } from '@lovage/core/transport';
import type { DriverSettings } from './options.ts';

/** Names of keys and channels, Kombu's byte for byte. Source: kombu/transport/redis.py, Channel. */
export class Keys {
  /** Hash: delivery tag to `[envelope, exchange, routing key]`. */
  readonly unacked: string;
  /** Sorted set: delivery tag by the time it was fetched, epoch seconds. */
  readonly unackedIndex: string;
  readonly unackedMutex: string;
  /** Sorted set, ours: consumer by the end of its lease, epoch milliseconds. */
  readonly leases: string;
  readonly prefix: string;
  readonly separator: string;
  readonly #steps: readonly number[];
  readonly #channelPrefix: string;
  readonly #hasPatterns: boolean;

  constructor(settings: DriverSettings, db: number) {
    const { keyPrefix } = settings;
    this.prefix = keyPrefix;
    this.separator = settings.separator;
    this.unacked = keyPrefix + settings.unackedKey;
    this.unackedIndex = keyPrefix + settings.unackedIndexKey;
    this.unackedMutex = keyPrefix + settings.unackedMutexKey;
    this.leases = `${keyPrefix}lovage.leases`;
    this.#steps = settings.prioritySteps;
    this.#channelPrefix = keyPrefix + settings.fanoutPrefix.replaceAll('{db}', String(db));
    this.#hasPatterns = settings.fanoutPatterns;
  }

  /** Position of the step that takes this priority: the largest not above it. */
  stepIndex(priority: number): number {
    let index = this.#steps.length - 1;
    while (index > 0 && (this.#steps[index] as number) > priority) index--;
    return index;
  }

  list(queue: string, stepIndex: number): string {
    const step = this.#steps[stepIndex] as number;
    return step === 0 ? this.prefix + queue : `${this.prefix}${queue}${this.separator}${step}`;
  }

  lists(queue: string): readonly string[] {
    return this.#steps.map((_, index) => this.list(queue, index));
  }

  /** Sorted set, ours: position of the step and envelope, by when it is due, epoch milliseconds. */
  delayed(queue: string): string {
    return `${this.prefix}lovage.delayed.${queue}`;
  }

  /** Set of {@link Keys.bindingMember}s. */
  bindings(exchange: string): string {
    return `${this.prefix}_kombu.binding.${exchange}`;
  }

  /**
   * Set of the members that do not expire: Kombu 5.7 sweeps tables that have none. Older Kombu does not know it.
   * Source: kombu/transport/redis.py, _queue_bind (5.7).
   */
  permanentBindings(exchange: string): string {
    return `${this.prefix}_kombu.binding_permanent.${exchange}`;
  }

  bindingMember({ routingKey, pattern, queue }: StoredBinding): string {
    return [routingKey, pattern, queue].join(this.separator);
  }

  parseBinding(member: string): StoredBinding | undefined {
    const [routingKey, pattern, queue] = member.split(this.separator);
    return routingKey === undefined || pattern === undefined || queue === undefined
      ? undefined
      : { routingKey, pattern, queue };
  }

  channel(exchange: string, routingKey: string): string {
    return this.#channelPrefix + exchange + (routingKey !== '' && this.#hasPatterns ? `/${routingKey}` : '');
  }

  /**
   * For PSUBSCRIBE, with the routing key of a binding. A queue bound without a key gets what was sent with any key, as a
   * fanout exchange promises; Kombu gives it only what was sent without one.
   */
  channelPatterns(exchange: string, bindingKey: string): readonly string[] {
    const pattern = this.channel(exchange, bindingKey.replaceAll('#', '*'));
    return bindingKey === '' && this.#hasPatterns ? [pattern, `${pattern}/*`] : [pattern];
  }

  /** What stands behind the exchange in the name of a channel. */
  routingKeyOf(channel: string, exchange: string): string {
    return channel.slice(this.#channelPrefix.length + exchange.length + 1);
  }
}
