import { ConfigError, NotFoundError, PreconditionFailedError } from '../errors.ts';
import type { Logger } from '../internal/log.ts';
import type { Binding, Queue, Topology } from '../transport/topology.ts';
import type { RoutingTable } from './bindings.ts';
import type { QueueDriver, StoredBinding } from './driver.ts';
import type { Link } from './link.ts';

export interface DeclarationsOptions {
  readonly driver: Pick<QueueDriver<never>, 'ensureQueue' | 'removeQueue' | 'bindings' | 'broadcast'>;
  readonly table: RoutingTable;
  readonly link: Link;
  readonly logger: Logger;
}

/** The queues that one connection declared, and what is bound to them: in its process, and at the broker as far as that keeps it. */
export class Declarations {
  readonly #driver: DeclarationsOptions['driver'];
  readonly #table: RoutingTable;
  readonly #link: Link;
  readonly #logger: Logger;
  readonly #queues = new Map<string, Queue>();

  constructor({ driver, table, link, logger }: DeclarationsOptions) {
    this.#driver = driver;
    this.#table = table;
    this.#link = link;
    this.#logger = logger;
  }

  /** undefined: not declared on this connection. */
  queue(name: string): Queue | undefined {
    return this.#queues.get(name);
  }

  /** `UnsupportedError`, or `PreconditionFailedError` for what exists with other arguments. */
  async declare({ exchanges = [], queues = [] }: Omit<Topology, 'bindings'>): Promise<void> {
    for (const exchange of exchanges) this.#table.declareExchange(exchange);
    const fresh = queues.filter((queue) => this.#isNew(queue));
    await this.#link.guard(Promise.all(fresh.map((queue) => this.#driver.ensureQueue(queue))));
    for (const queue of queues) {
      const { deadLetter } = this.#queues.get(queue.name) ?? {};
      this.#queues.set(queue.name, deadLetter === undefined ? queue : { deadLetter, ...queue });
    }
  }

  /** `ConfigError` for the default exchange, `NotFoundError` for one that is not declared. */
  async bind(binding: Binding): Promise<void> {
    if (binding.exchange === '') {
      throw new ConfigError('Nothing can be bound to the default exchange: every queue is, under its own name.');
    }
    if (this.#table.typeOf(binding.exchange) === undefined) {
      throw new NotFoundError(
        `The exchange "${binding.exchange}" is not declared. Declare it in the same call as its binding, or before.`,
        { facts: { exchange: binding.exchange } },
      );
    }
    this.#table.bind(binding);
    if (this.isBroadcast(binding.exchange)) return;
    await this.#driver.bindings?.add(binding.exchange, this.#table.stored(binding));
  }

  /** What is bound to an exchange, by whomever, as far as the broker can tell. */
  async bindingsFrom(exchange: string): Promise<Iterable<StoredBinding>> {
    const { bindings } = this.#driver;
    return bindings === undefined || this.isBroadcast(exchange)
      ? this.#table.bindingsFrom(exchange)
      : this.#link.guard(bindings.list(exchange));
  }

  async remove({ exchanges = [], queues = [], bindings = [] }: Topology): Promise<void> {
    await this.#link.guard(Promise.all(bindings.map((binding) => this.#unbind(binding))));
    await this.#link.guard(Promise.all(queues.map(({ name }) => this.#removeQueue(name))));
    for (const { name } of exchanges) this.#table.removeExchange(name);
  }

  /** Removes queues whose time is over. Never rejects: one that the broker keeps is logged. */
  async discard(names: readonly string[]): Promise<void> {
    for (const name of names) {
      try {
        await this.#link.guard(this.#removeQueue(name));
      } catch (error) {
        if (this.#link.isLost) return;
        this.#logger.warn({ err: error, queue: name }, 'a temporary queue could not be removed');
      }
    }
  }

  /** Exclusive queues go with the connection. */
  async discardExclusive(): Promise<void> {
    await this.discard([...this.#queues.values()].filter((queue) => queue.exclusive === true).map(({ name }) => name));
  }

  /** The driver carries the exchange's messages past the queues. */
  isBroadcast(exchange: string): boolean {
    return this.#driver.broadcast !== undefined && this.#table.typeOf(exchange) === 'fanout';
  }

  /** No message ever waits in the queue. */
  isBroadcastOnly(queue: string): boolean {
    const bindings = this.#table.bindingsTo(queue);
    return bindings.length > 0 && bindings.every(({ exchange }) => this.isBroadcast(exchange));
  }

  broadcastsTo(queue: string): readonly Binding[] {
    return this.#table.bindingsTo(queue).filter(({ exchange }) => this.isBroadcast(exchange));
  }

  #isNew(queue: Queue): boolean {
    const known = this.#queues.get(queue.name);
    if (known === undefined) return true;
    if (signatureOf(known) !== signatureOf(queue)) {
      throw new PreconditionFailedError(
        `The queue "${queue.name}" was declared with other arguments: ${signatureOf(known)}, not ${signatureOf(queue)}. Declare it the same everywhere, or remove it first.`,
        { facts: { queue: queue.name } },
      );
    }
    return false;
  }

  async #unbind(binding: Binding): Promise<void> {
    const stored = this.#table.stored(binding);
    this.#table.unbind(binding);
    if (this.isBroadcast(binding.exchange)) return;
    await this.#driver.bindings?.remove(binding.exchange, stored);
  }

  async #removeQueue(name: string): Promise<void> {
    await Promise.all(this.#table.bindingsTo(name).map((binding) => this.#unbind(binding)));
    this.#queues.delete(name);
    await this.#driver.removeQueue(name);
  }
}

function signatureOf({ durable = true, exclusive = false, autoDelete = false, arguments: args = {} }: Queue): string {
  const sorted = Object.fromEntries(Object.entries(args).toSorted(([a], [b]) => (a < b ? -1 : 1)));
  return JSON.stringify({ durable, exclusive, autoDelete, arguments: sorted });
}
