import {
  ClosedError,
  ConfigError,
  ConnectionLostError,
  isLovageError,
  LovageError,
  MessageTooLargeError,
  NotFoundError,
  PreconditionFailedError,
  PublishError,
  UnroutableError,
  UnsupportedError,
  type PublishFailure,
} from '../errors.ts';
import { LATE, within } from '../internal/deadline.ts';
import { silentLogger, type Logger } from '../internal/log.ts';
import { TurnBatch } from '../internal/turn-batch.ts';
import type {
  Capabilities,
  Connection,
  ConnectOptions,
  ConsumeOptions,
  Consumer,
  Delivery,
  DeliverySink,
  Outcome,
  Publication,
  QueueStatus,
  Settlement,
  Transport,
} from '../transport/contract.ts';
import type { Message } from '../transport/message.ts';
import type { Binding, Queue, Topology } from '../transport/topology.ts';
import type { BrokerUrl } from '../transport/url.ts';
import { RoutingTable } from './bindings.ts';
import { Held, VirtualConsumer } from './consumer.ts';
import type { Pulled, QueueDriver, QueueEntry, StoredBinding } from './driver.ts';
import { newDeliveryTag, openEnvelope, priorityOf, sealEnvelope } from './envelope.ts';
import { LeaseKeeping } from './lease-keeper.ts';
import { Puller } from './puller.ts';

/** `close()` takes hardly longer, whatever the broker does. */
const CLOSE_MS = 5000;
/** What is left for the driver when the rest took all the time. */
const LAST_CALL_MS = 500;
const MAX_PUSH_ENTRIES = 1000;
/** Characters of payload in one push; a single larger message still goes. */
const MAX_PUSH_CHARS = 4 * 1024 * 1024;

/** A broker with only queues: how to open a driver for it. */
export interface VirtualTransportDefinition<Receipt> {
  /** URL schemes, lower case, without `://`. */
  readonly schemes: readonly string[];
  /**
   * Opens one link. Rejects with `ConnectError`, `AuthError` or `ConfigError`; never retries. Abort rejects with the
   * signal's reason and leaves nothing open.
   */
  readonly open: (url: BrokerUrl, options: ConnectOptions) => Promise<QueueDriver<Receipt>>;
  /**
   * `file:` URL of a module whose export `openLeaseKeeper` is an `OpenLeaseKeeper`: renews leases from another thread while
   * the event loop of a connection stands still. See `builtModule`.
   */
  readonly leaseKeeper?: string;
}

/**
 * Makes a `Transport` of a driver: exchanges, bindings, Kombu's envelope, joining of publishes and settlements of a
 * turn, prefetch, lease renewal, dead letters and orderly close.
 *
 * Exchanges are known to the process that declared them, as in Kombu; bindings to every process where the driver has a
 * `BindingStore`. A queue that is bound to fanout exchanges only gets its messages by the driver's `Broadcast`, if it
 * has one: at most once, and only while it is consumed.
 *
 * @example
 * export const beanstalkTransport: Transport = virtualTransport({
 *   schemes: ['beanstalk'],
 *   open: async (url, { signal }) => new BeanstalkDriver(await openClient(url, signal), parseOptions(url)),
 * });
 */
export function virtualTransport<Receipt>(definition: VirtualTransportDefinition<Receipt>): Transport {
  const { schemes, open, leaseKeeper } = definition;
  const tables = new Map<string, { readonly table: RoutingTable; users: number }>();

  function useTable(key: string): { table: RoutingTable; release: () => void } {
    const shared = tables.get(key) ?? { table: new RoutingTable(), users: 0 };
    tables.set(key, shared);
    shared.users++;
    let isReleased = false;
    return {
      table: shared.table,
      release: () => {
        if (isReleased) return;
        isReleased = true;
        if (--shared.users === 0) tables.delete(key);
      },
    };
  }

  return {
    schemes,
    async connect(url, options) {
      const driver = await open(url, options);
      const { table, release } = useTable(url.raw);
      const logger = options.logger ?? silentLogger;
      return new VirtualConnection(driver, table, release, logger, keepLeases(driver, leaseKeeper, url, options));
    },
  };
}

function keepLeases<Receipt>(
  driver: QueueDriver<Receipt>,
  module: string | undefined,
  url: BrokerUrl,
  connect: ConnectOptions,
): LeaseKeeping<Receipt> | undefined {
  const { leaseMs } = driver.capabilities;
  if (connect.keepsLeases !== true || module === undefined || leaseMs === 0) return undefined;
  const logger = connect.logger ?? silentLogger;
  try {
    return new LeaseKeeping({ driver, module, url, connect, leaseMs, logger });
  } catch (error) {
    logger.warn({ err: error }, 'Leases cannot be renewed while the event loop stands still.');
    return undefined;
  }
}

/** One message on its way out. */
interface Outgoing {
  readonly exchange: string;
  readonly routingKey: string;
  /** The envelope up to its tag. */
  readonly opened: string;
  readonly body: Uint8Array;
  readonly priority: number;
  readonly delayMs: number;
  readonly mandatory: boolean;
  readonly call: PublishCall;
  readonly index: number;
}

/** One call of `publish()`: settles when the last of its messages has its answer. */
class PublishCall {
  readonly promise: Promise<void>;
  readonly #total: number;
  #left: number;
  readonly #failures: PublishFailure[] = [];
  #resolve!: () => void;
  #reject!: (error: unknown) => void;

  constructor(total: number) {
    this.#total = total;
    this.#left = total;
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    if (total === 0) this.#resolve();
  }

  taken(): void {
    if (--this.#left === 0) this.#settle();
  }

  refused(index: number, error: LovageError): void {
    this.#failures.push({ index, error });
    if (--this.#left === 0) this.#settle();
  }

  /** Nothing is known of the batch any more. */
  fail(error: unknown): void {
    this.#reject(error);
  }

  #settle(): void {
    if (this.#failures.length === 0) return this.#resolve();
    this.#reject(
      new PublishError(
        this.#failures.toSorted((a, b) => a.index - b.index),
        this.#total,
      ),
    );
  }
}

interface Settling<Receipt> {
  readonly held: Held<Receipt>;
  readonly outcome: Outcome;
}

/** What this layer does for every driver. */
const EMULATED = ['exchanges', 'prefetch', 'dead letters'] as const;

class VirtualConnection<Receipt> implements Connection {
  readonly capabilities: Capabilities;
  readonly closed: Promise<void>;
  readonly #driver: QueueDriver<Receipt>;
  readonly #table: RoutingTable;
  readonly #releaseTable: () => void;
  readonly #logger: Logger;
  readonly #keeping: LeaseKeeping<Receipt> | undefined;
  readonly #queues = new Map<string, Queue>();
  /** Queues that go with their last consumer, and had one. */
  readonly #temporary = new Set<string>();
  /** Those that are open, and those that still hold something. */
  readonly #consumers = new Set<VirtualConsumer<Receipt>>();
  readonly #subscriptions = new Map<VirtualConsumer<Receipt>, Map<string, Promise<{ unsubscribe(): Promise<void> }>>>();
  readonly #puller: Puller<Receipt>;
  readonly #outgoing: TurnBatch<Outgoing>;
  readonly #settling: TurnBatch<Settling<Receipt>>;
  /** Work whose outcome becomes unknown with the link. */
  readonly #pending = new Set<(error: Error) => void>();
  #onIdle: (() => void) | undefined;
  #state: 'open' | 'closing' | 'closed' | 'lost' = 'open';
  #loss: Error | undefined;
  #closing: Promise<void> | undefined;
  #settleClosed!: { resolve: () => void; reject: (error: Error) => void };
  #lease: NodeJS.Timeout | undefined;
  #renewedAt = 0;

  constructor(
    driver: QueueDriver<Receipt>,
    table: RoutingTable,
    releaseTable: () => void,
    logger: Logger,
    keeping: LeaseKeeping<Receipt> | undefined,
  ) {
    this.#driver = driver;
    this.#table = table;
    this.#releaseTable = releaseTable;
    this.#logger = logger;
    this.#keeping = keeping;
    const onTaken =
      keeping === undefined
        ? undefined
        : (pulled: readonly Pulled<Receipt>[]): void => keeping.hold(pulled.map(({ receipt }) => receipt));
    this.#puller = new Puller({ driver, owner: this, logger, onTaken, onLost: (error) => this.#lose(error) });
    this.#outgoing = new TurnBatch((items) => this.#push(items), {
      maxItems: MAX_PUSH_ENTRIES,
      maxWeight: MAX_PUSH_CHARS,
    });
    this.#settling = new TurnBatch((items) => this.#settle(items), { maxItems: MAX_PUSH_ENTRIES });
    this.closed = new Promise((resolve, reject) => {
      this.#settleClosed = { resolve, reject };
    });
    // Whoever does not look at `closed` learns of the loss from the next call.
    this.closed.catch(() => {});
    driver.lost?.catch((error: unknown) => this.#lose(error));
    this.capabilities = {
      ...driver.capabilities,
      ...(driver.bindings === undefined ? { sharesBindings: false } : {}),
      emulated: [
        ...EMULATED,
        ...(driver.capabilities.fanout && driver.broadcast === undefined ? (['fanout'] as const) : []),
        ...(driver.capabilities.emulated ?? []),
      ],
    };
    const { leaseMs } = driver.capabilities;
    if (leaseMs > 0 && driver.extendLease !== undefined) {
      this.#lease = setInterval(() => void this.#renew(), leaseMs / 3).unref();
    }
  }

  async declare({ exchanges = [], queues = [], bindings = [] }: Topology): Promise<void> {
    this.#checkOpen();
    for (const exchange of exchanges) this.#table.declareExchange(exchange);
    const fresh = queues.filter((queue) => this.#isNew(queue));
    await this.#guard(Promise.all(fresh.map((queue) => this.#driver.ensureQueue(queue))));
    for (const queue of queues) {
      const { deadLetter } = this.#queues.get(queue.name) ?? {};
      this.#queues.set(queue.name, deadLetter === undefined ? queue : { deadLetter, ...queue });
    }
    await this.#guard(Promise.all(bindings.map((binding) => this.#bind(binding))));
  }

  publish(batch: readonly Publication[], { signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    const refusal = this.#refusal();
    if (refusal !== undefined) return Promise.reject(refusal);
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    const call = new PublishCall(batch.length);
    for (let index = 0; index < batch.length; index++) this.#enqueue(batch[index] as Publication, call, index);
    return signal === undefined ? call.promise : abandonOn(signal, call.promise);
  }

  async consume(
    queues: readonly string[],
    sink: DeliverySink,
    { prefetch, refill, onLeaseLost }: ConsumeOptions,
  ): Promise<Consumer> {
    this.#checkOpen();
    if (!Number.isInteger(prefetch) || prefetch < 0) {
      throw new ConfigError(`The prefetch ${prefetch} is not possible. Expected a whole number, or 0 for no limit.`);
    }
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
      if (!this.#isBroadcastOnly(queue)) consumer.pulled.add(queue);
      if (this.#queues.get(queue)?.autoDelete === true) this.#temporary.add(queue);
    }
    try {
      await this.#guard(Promise.all(queues.map((queue) => this.#subscribe(consumer, queue))));
    } catch (error) {
      await consumer.cancel();
      throw error;
    }
    this.#puller.add(consumer);
    return consumer;
  }

  settle(settlements: readonly Settlement[]): Promise<void> {
    if (this.#loss !== undefined) return Promise.reject(this.#loss);
    if (this.#state === 'closed') return Promise.reject(closedError());
    let done: Promise<void> | undefined;
    const turns = new Set<Promise<void>>();
    let isStale = false;
    for (const { delivery, outcome } of settlements) {
      const held = delivery.tag;
      if (!(held instanceof Held) || held.owner !== this) {
        isStale = true;
        continue;
      }
      if (held.isSettled) continue;
      held.isSettled = true;
      const turn = this.#settling.add({ held: held as Held<Receipt>, outcome });
      if (done === undefined) done = turn;
      else if (done !== turn) turns.add(turn);
    }
    if (isStale) {
      const stale = new ConnectionLostError(
        'A delivery of an earlier connection cannot be settled: the broker gives it to somebody again.',
      );
      return Promise.allSettled([done, ...turns]).then(() => Promise.reject(stale));
    }
    if (turns.size > 0) return Promise.all([done, ...turns]).then(() => undefined);
    return done ?? Promise.resolve();
  }

  async inspect(queue: string): Promise<QueueStatus> {
    this.#checkOpen();
    return { ready: await this.#guard(this.#driver.size(queue)) };
  }

  async purge(queue: string): Promise<number> {
    this.#checkOpen();
    return this.#guard(this.#driver.purge(queue));
  }

  async bindings(exchange: string): Promise<readonly Binding[]> {
    this.#checkOpen();
    const { bindings } = this.#driver;
    const stored =
      bindings === undefined || this.#isBroadcast(exchange)
        ? this.#table.bindingsFrom(exchange)
        : await this.#guard(bindings.list(exchange));
    return [...stored].map(({ queue, routingKey }) => ({ queue, exchange, routingKey }));
  }

  async remove({ exchanges = [], queues = [], bindings = [] }: Topology): Promise<void> {
    this.#checkOpen();
    await this.#guard(Promise.all(bindings.map((binding) => this.#unbind(binding))));
    await this.#guard(Promise.all(queues.map(({ name }) => this.#removeQueue(name))));
    for (const { name } of exchanges) this.#table.removeExchange(name);
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  // Declaring

  #isNew(queue: Queue): boolean {
    const known = this.#queues.get(queue.name);
    if (known === undefined) return true;
    if (signatureOf(known) !== signatureOf(queue)) {
      throw new PreconditionFailedError(`The queue "${queue.name}" was declared with other arguments.`, {
        facts: { queue: queue.name },
      });
    }
    return false;
  }

  async #bind(binding: Binding): Promise<void> {
    if (binding.exchange === '') {
      throw new ConfigError('Nothing can be bound to the default exchange: every queue is, under its own name.');
    }
    const type = this.#table.typeOf(binding.exchange);
    if (type === undefined) {
      throw new NotFoundError(
        `The exchange "${binding.exchange}" is not declared. Declare it in the same call as its binding, or before.`,
        { facts: { exchange: binding.exchange } },
      );
    }
    this.#table.bind(binding);
    if (type === 'fanout' && this.#driver.broadcast !== undefined) {
      const consumers = [...this.#consumers].filter(({ queues }) => queues.includes(binding.queue));
      await Promise.all(consumers.map((consumer) => this.#subscribe(consumer, binding.queue)));
      return;
    }
    await this.#driver.bindings?.add(binding.exchange, this.#table.stored(binding));
    for (const consumer of this.#consumers) {
      if (!consumer.queues.includes(binding.queue) || consumer.pulled.has(binding.queue)) continue;
      consumer.pulled.add(binding.queue);
      this.#puller.wake();
    }
  }

  async #unbind(binding: Binding): Promise<void> {
    const stored = this.#table.stored(binding);
    this.#table.unbind(binding);
    if (this.#isBroadcast(binding.exchange)) return;
    await this.#driver.bindings?.remove(binding.exchange, stored);
  }

  async #removeQueue(name: string): Promise<void> {
    await Promise.all(this.#table.bindingsTo(name).map((binding) => this.#unbind(binding)));
    this.#queues.delete(name);
    await this.#driver.removeQueue(name);
  }

  #isBroadcast(exchange: string): boolean {
    return this.#driver.broadcast !== undefined && this.#table.typeOf(exchange) === 'fanout';
  }

  #isBroadcastOnly(queue: string): boolean {
    const bindings = this.#table.bindingsTo(queue);
    return bindings.length > 0 && bindings.every(({ exchange }) => this.#isBroadcast(exchange));
  }

  async #subscribe(consumer: VirtualConsumer<Receipt>, queue: string): Promise<void> {
    const { broadcast } = this.#driver;
    const subscriptions = this.#subscriptions.get(consumer);
    if (broadcast === undefined || subscriptions === undefined) return;
    const fanouts = this.#table.bindingsTo(queue).filter(({ exchange }) => this.#isBroadcast(exchange));
    await Promise.all(
      fanouts.map(({ exchange, routingKey }) => {
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

  // Publishing

  #enqueue(
    { exchange, routingKey, message, mandatory = false, delayMs = 0 }: Publication,
    call: PublishCall,
    index: number,
  ): void {
    const { maxMessageBytes, maxDelayMs } = this.#driver.capabilities;
    if (delayMs > maxDelayMs) {
      const limit =
        maxDelayMs === 0
          ? 'This broker cannot delay messages'
          : `This broker delays messages by ${maxDelayMs} ms at most`;
      return call.refused(index, new UnsupportedError(`${limit}; ${delayMs} ms were asked for.`));
    }
    let opened: string;
    try {
      opened = openEnvelope(message, exchange, routingKey);
    } catch (error) {
      return call.refused(index, toLovageError(error));
    }
    if (maxMessageBytes > 0 && exceeds(opened, maxMessageBytes)) {
      return call.refused(
        index,
        new MessageTooLargeError(
          `A message of ${Buffer.byteLength(opened)} bytes in its envelope is more than the ${maxMessageBytes} bytes that this broker takes.`,
          { facts: { limitBytes: maxMessageBytes, exchange, routingKey } },
        ),
      );
    }
    void this.#outgoing.add(
      {
        exchange,
        routingKey,
        opened,
        body: message.body,
        priority: priorityOf(message.properties),
        delayMs: delayMs > 0 ? delayMs : 0,
        mandatory,
        call,
        index,
      },
      opened.length,
    );
  }

  /** Never rejects: every item answers to its call. */
  async #push(items: readonly Outgoing[]): Promise<void> {
    const onLoss = (error: Error): void => {
      for (const { call } of items) call.fail(error);
    };
    this.#pending.add(onLoss);
    try {
      const tables = this.#lookUp(items);
      await this.#send(items, tables === undefined ? undefined : await tables);
    } catch (error) {
      this.#noticeLoss(error);
      if (isLovageError(error, 'ERR_CONNECTION_LOST')) onLoss(error);
      else for (const item of items) item.call.refused(item.index, toLovageError(error));
    } finally {
      this.#untrack(onLoss);
    }
  }

  /** The bindings that other processes may have changed, read once per batch. */
  #lookUp(items: readonly Outgoing[]): Promise<ReadonlyMap<string, readonly StoredBinding[]>> | undefined {
    const { bindings } = this.#driver;
    if (bindings === undefined) return undefined;
    let exchanges: Set<string> | undefined;
    for (const { exchange } of items) {
      if (exchange !== '' && !this.#isBroadcast(exchange)) (exchanges ??= new Set()).add(exchange);
    }
    if (exchanges === undefined) return undefined;
    return Promise.all([...exchanges].map(async (name) => [name, await bindings.list(name)] as const)).then(
      (lists) => new Map(lists),
    );
  }

  async #send(
    items: readonly Outgoing[],
    tables: ReadonlyMap<string, readonly StoredBinding[]> | undefined,
  ): Promise<void> {
    const entries: QueueEntry[] = [];
    /** `owners[i]` is the message of `entries[i]`. */
    const owners: Outgoing[] = [];
    const others: Promise<void>[] = [];
    for (const item of items) {
      if (item.exchange === '') {
        if (item.mandatory && !this.#queues.has(item.routingKey)) others.push(this.#sendIfExists(item));
        else this.#copy(item, item.routingKey, entries, owners);
      } else if (this.#isBroadcast(item.exchange)) others.push(this.#broadcast(item));
      else {
        const bindings = tables?.get(item.exchange) ?? this.#table.bindingsFrom(item.exchange);
        const queues = this.#table.route(item.exchange, item.routingKey, bindings);
        for (const queue of queues) this.#copy(item, queue, entries, owners);
        if (queues.length === 0) this.#unrouted(item, bindings);
      }
    }
    if (entries.length > 0) await this.#pushEntries(entries, owners);
    if (others.length > 0) await Promise.all(others);
  }

  #copy(item: Outgoing, queue: string, entries: QueueEntry[], owners: Outgoing[]): void {
    const deliveryTag = newDeliveryTag();
    const payload = sealEnvelope(item.opened, deliveryTag);
    if (item.delayMs === 0) this.#puller.noteSent(queue, deliveryTag, payload, item.body);
    entries.push({
      queue,
      payload,
      deliveryTag,
      priority: item.priority,
      delayMs: item.delayMs,
    });
    owners.push(item);
  }

  async #pushEntries(entries: readonly QueueEntry[], owners: readonly Outgoing[]): Promise<void> {
    const refused = new Map<Outgoing, LovageError>();
    try {
      await this.#driver.push(entries);
    } catch (error) {
      if (isLovageError(error, 'ERR_CONNECTION_LOST')) throw error;
      if (isLovageError(error, 'ERR_PUBLISH')) {
        for (const failure of (error as PublishError).failures) {
          const owner = owners[failure.index];
          if (owner !== undefined) refused.set(owner, failure.error);
        }
      } else for (const owner of owners) refused.set(owner, toLovageError(error));
    }
    for (const [index, owner] of owners.entries()) {
      // Copies of one message stand side by side; the last one answers.
      if (owners[index + 1] === owner) continue;
      const error = refused.get(owner);
      if (error === undefined) owner.call.taken();
      else owner.call.refused(owner.index, error);
    }
  }

  async #sendIfExists(item: Outgoing): Promise<void> {
    try {
      await this.#driver.size(item.routingKey);
    } catch (error) {
      if (isLovageError(error, 'ERR_NOT_FOUND')) return this.#unrouted(item, []);
      if (isLovageError(error, 'ERR_CONNECTION_LOST')) throw error;
      return item.call.refused(item.index, toLovageError(error));
    }
    const entries: QueueEntry[] = [];
    const owners: Outgoing[] = [];
    this.#copy(item, item.routingKey, entries, owners);
    await this.#pushEntries(entries, owners);
  }

  async #broadcast(item: Outgoing): Promise<void> {
    if (item.delayMs > 0) {
      return item.call.refused(
        item.index,
        new UnsupportedError(`A message for the fanout exchange "${item.exchange}" cannot be delayed here.`),
      );
    }
    try {
      await this.#driver.broadcast?.publish(
        item.exchange,
        item.routingKey,
        sealEnvelope(item.opened, newDeliveryTag()),
      );
    } catch (error) {
      if (isLovageError(error, 'ERR_CONNECTION_LOST')) throw error;
      return item.call.refused(item.index, toLovageError(error));
    }
    item.call.taken();
  }

  #unrouted({ exchange, routingKey, mandatory, call, index }: Outgoing, bindings: Iterable<StoredBinding>): void {
    const facts = { exchange, routingKey };
    if (mandatory) {
      return call.refused(
        index,
        new UnroutableError(
          exchange === ''
            ? `There is no queue "${routingKey}".`
            : `No queue is bound to the exchange "${exchange}" for the routing key "${routingKey}".`,
          { facts },
        ),
      );
    }
    if (exchange !== '' && this.#table.typeOf(exchange) === undefined && [...bindings].length === 0) {
      return call.refused(
        index,
        new NotFoundError(
          `The exchange "${exchange}" is not declared and has no bindings. Declare it before publishing.`,
          { facts },
        ),
      );
    }
    call.taken();
  }

  // Settling

  async #settle(items: readonly Settling<Receipt>[]): Promise<void> {
    if (this.#keeping?.isBusy === true) await this.#keeping.idle();
    if (this.#loss !== undefined) throw this.#loss;
    const direct: { held: Held<Receipt>; receipt: Receipt; outcome: 'ack' | 'requeue' }[] = [];
    const dead: { held: Held<Receipt>; receipt: Receipt; target: NonNullable<Queue['deadLetter']> }[] = [];
    for (const { held, outcome } of items) {
      held.consumer.release(held);
      if (!held.consumer.isOpen && held.consumer.held.size === 0) this.#consumers.delete(held.consumer);
      if (held.receipt === undefined) {
        if (outcome === 'requeue') held.consumer.broadcastAgain(held);
        continue;
      }
      const receipt = held.receipt.value;
      const target = outcome === 'reject' ? this.#queues.get(held.delivery.queue)?.deadLetter : undefined;
      if (target !== undefined) dead.push({ held, receipt, target });
      else direct.push({ held, receipt, outcome: outcome === 'requeue' ? 'requeue' : 'ack' });
    }
    this.#keeping?.sync();
    this.#keeping?.release(items.flatMap(({ held }) => (held.receipt === undefined ? [] : [held.receipt.value])));
    const onLoss = (): void => {}; // the parts notice it themselves
    this.#pending.add(onLoss);
    try {
      await Promise.all([this.#settleAll(direct), dead.length > 0 ? this.#bury(dead) : undefined]);
    } finally {
      this.#untrack(onLoss);
    }
  }

  async #settleAll(
    items: readonly { held: Held<Receipt>; receipt: Receipt; outcome: 'ack' | 'requeue' }[],
  ): Promise<void> {
    if (items.length === 0) return;
    try {
      await this.#guard(this.#driver.settle(items.map(({ receipt, outcome }) => ({ receipt, outcome }))));
    } catch (error) {
      this.#restore(items.map(({ held }) => held));
      throw error;
    }
  }

  /** The copy in the dead letter place is owned by the broker before the original is acknowledged. */
  async #bury(
    items: readonly { held: Held<Receipt>; receipt: Receipt; target: NonNullable<Queue['deadLetter']> }[],
  ): Promise<void> {
    const call = new PublishCall(items.length);
    const refused = new Set<number>();
    for (const [index, { held, target }] of items.entries()) {
      this.#enqueue({ ...target, message: deadLetter(held.delivery), mandatory: target.exchange !== '' }, call, index);
    }
    this.#outgoing.flush();
    let failure: unknown;
    try {
      await call.promise;
    } catch (error) {
      failure = error;
      if (isLovageError(error, 'ERR_PUBLISH'))
        for (const { index } of (error as PublishError).failures) refused.add(index);
      else for (const index of items.keys()) refused.add(index);
    }
    this.#restore(items.flatMap(({ held }, index) => (refused.has(index) ? [held] : [])));
    await this.#settleAll(
      items.flatMap(({ held, receipt }, index) => (refused.has(index) ? [] : [{ held, receipt, outcome: 'ack' }])),
    );
    if (failure !== undefined) throw failure as Error;
  }

  /** The link lives, so they are still ours. */
  #restore(settled: readonly Held<Receipt>[]): void {
    if (this.#state !== 'open') return;
    const receipts = settled.flatMap(({ receipt }) => (receipt === undefined ? [] : [receipt.value]));
    this.#keeping?.hold(receipts);
    for (const held of settled) {
      held.consumer.restore(held);
      this.#consumers.add(held.consumer);
    }
  }

  // Leases

  async #renew(): Promise<void> {
    const { leaseMs } = this.#driver.capabilities;
    if (this.#keeping?.isBusy === true) await this.#keeping.idle();
    this.#keeping?.sync();
    const byReceipt = new Map<Receipt, Held<Receipt>>();
    for (const held of this.#held()) if (held.receipt !== undefined) byReceipt.set(held.receipt.value, held);
    if (byReceipt.size === 0) return;
    const startedAt = Date.now();
    let lost: Held<Receipt>[];
    try {
      const receipts = await this.#driver.extendLease?.([...byReceipt.keys()]);
      this.#renewedAt = startedAt;
      this.#keeping?.renewed();
      lost = (receipts ?? []).flatMap((receipt) => byReceipt.get(receipt) ?? []);
    } catch (error) {
      if (this.#noticeLoss(error)) return;
      this.#logger.warn({ err: error, messages: byReceipt.size }, 'leases could not be renewed; trying again');
      const now = Date.now();
      lost = [...byReceipt.values()].filter(({ takenAt }) => now - Math.max(takenAt, this.#renewedAt) > leaseMs);
    }
    const byConsumer = new Map<VirtualConsumer<Receipt>, Held<Receipt>[]>();
    for (const held of lost) {
      // Settled meanwhile: that it is not ours any more is as it should be.
      if (held.isSettled) continue;
      const batch = byConsumer.get(held.consumer);
      if (batch === undefined) byConsumer.set(held.consumer, [held]);
      else batch.push(held);
    }
    for (const [consumer, batch] of byConsumer) consumer.leaseLost(batch);
  }

  // The end

  async #cancel(consumer: VirtualConsumer<Receipt>): Promise<void> {
    if (this.#state === 'lost') return;
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
      if (!this.#noticeLoss(error)) this.#logger.warn({ err: error }, 'a consumer was not cancelled cleanly');
    });
    if (consumer.held.size === 0) this.#consumers.delete(consumer);
    // While closing, they go when what was held has gone back.
    if (this.#state !== 'open') return;
    const others = [...this.#consumers].filter(({ isOpen }) => isOpen).flatMap(({ queues }) => queues);
    await this.#removeAll(consumer.queues.filter((name) => this.#temporary.has(name) && !others.includes(name)));
  }

  async #removeAll(names: readonly string[]): Promise<void> {
    for (const name of names) {
      this.#temporary.delete(name);
      try {
        await this.#guard(this.#removeQueue(name));
      } catch (error) {
        if (this.#state === 'lost') return;
        this.#logger.warn({ err: error, queue: name }, 'a temporary queue could not be removed');
      }
    }
  }

  async #close(): Promise<void> {
    const deadline = Date.now() + CLOSE_MS;
    if (this.#state === 'open') {
      this.#state = 'closing';
      if ((await within(this.#finish(), CLOSE_MS)) === LATE) {
        this.#logger.warn({ timeoutMs: CLOSE_MS }, 'the broker did not answer while the connection was closed');
      }
    }
    if (this.#state === 'closing') this.#state = 'closed';
    this.#puller.stop();
    clearInterval(this.#lease);
    this.#keeping?.stop();
    this.#failPending(closedError());
    const driverClosed = this.#driver.close().catch((error: unknown) => {
      this.#logger.warn({ err: error }, 'a driver did not close cleanly');
    });
    await within(driverClosed, Math.max(LAST_CALL_MS, deadline - Date.now()));
    this.#releaseTable();
    this.#settleClosed.resolve();
  }

  /** Cancels, sends what waits, gives back what is held. Ends early when the link is lost. */
  async #finish(): Promise<void> {
    await Promise.all([...this.#consumers].map((consumer) => consumer.cancel()));
    this.#outgoing.flush();
    this.#settling.flush();
    await this.#idle();
    const held = [...this.#held()];
    for (const item of held) item.isSettled = true;
    const owned = held.flatMap(({ receipt }) => (receipt === undefined ? [] : [receipt.value]));
    try {
      if (owned.length > 0)
        await this.#guard(this.#driver.settle(owned.map((receipt) => ({ receipt, outcome: 'requeue' }))));
    } catch (error) {
      if (this.#isLost()) return;
      this.#logger.warn(
        { err: error, messages: owned.length },
        'unsettled messages could not be given back; their lease will end',
      );
    }
    const exclusive = [...this.#queues.values()].filter((queue) => queue.exclusive === true).map(({ name }) => name);
    await this.#removeAll([...this.#temporary, ...exclusive]);
  }

  /** Resolves when nothing is under way. */
  #idle(): Promise<void> {
    if (this.#pending.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onIdle = resolve;
    });
  }

  #untrack(fail: (error: Error) => void): void {
    this.#pending.delete(fail);
    if (this.#pending.size === 0) this.#onIdle?.();
  }

  *#held(): Iterable<Held<Receipt>> {
    for (const consumer of this.#consumers) yield* consumer.held;
  }

  #lose(cause: unknown): void {
    if (this.#state === 'closed' || this.#state === 'lost') return;
    const wasOpen = this.#state === 'open';
    this.#state = 'lost';
    const error = isLovageError(cause, 'ERR_CONNECTION_LOST')
      ? cause
      : new ConnectionLostError('The link to the broker broke.', { cause });
    this.#loss = error;
    this.#puller.stop();
    clearInterval(this.#lease);
    this.#keeping?.stop();
    this.#failPending(error);
    for (const consumer of this.#consumers) {
      // Its deliveries are the broker's again: settling them is not possible any more.
      consumer.fail(error);
    }
    this.#consumers.clear();
    this.#subscriptions.clear();
    // A loss while closing is no news: whoever closes wants the end.
    if (wasOpen) this.#settleClosed.reject(error);
  }

  #failPending(error: Error): void {
    for (const fail of this.#pending) {
      this.#untrack(fail);
      fail(error);
    }
  }

  #noticeLoss(error: unknown): boolean {
    if (!isLovageError(error, 'ERR_CONNECTION_LOST')) return false;
    this.#lose(error);
    return true;
  }

  #isLost(): boolean {
    return this.#state === 'lost';
  }

  #refusal(): Error | undefined {
    if (this.#loss !== undefined) return this.#loss;
    return this.#state === 'open' ? undefined : closedError();
  }

  #checkOpen(): void {
    const refusal = this.#refusal();
    if (refusal !== undefined) throw refusal;
  }

  /** The work's outcome, or the loss of the link if that comes first. */
  #guard<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#pending.add(reject);
      work.then(
        (value) => {
          this.#untrack(reject);
          resolve(value);
        },
        (error: unknown) => {
          this.#untrack(reject);
          this.#noticeLoss(error);
          reject(error as Error);
        },
      );
    });
  }
}

/** Rejects with the signal's reason on abort; the work goes on. */
function abandonOn(signal: AbortSignal, work: Promise<void>): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

/** The names are RabbitMQ's. */
function deadLetter({ message, malformed, queue, exchange }: Delivery): Message {
  return {
    ...message,
    contentType: malformed === undefined ? message.contentType : 'application/octet-stream',
    contentEncoding: malformed === undefined ? message.contentEncoding : 'binary',
    headers: {
      'x-first-death-queue': queue,
      'x-first-death-exchange': exchange,
      'x-first-death-reason': 'rejected',
      ...message.headers,
    },
  };
}

function signatureOf({ durable = true, exclusive = false, autoDelete = false, arguments: args = {} }: Queue): string {
  return JSON.stringify([
    durable,
    exclusive,
    autoDelete,
    Object.entries(args).toSorted(([a], [b]) => (a < b ? -1 : 1)),
  ]);
}

/** Room for tag and end included. */
function exceeds(opened: string, limit: number): boolean {
  const rest = 40;
  if (opened.length + rest > limit) return true;
  return (opened.length + rest) * 3 > limit && Buffer.byteLength(opened) + rest > limit;
}

function toLovageError(error: unknown): LovageError {
  if (isLovageError(error)) return error;
  return new LovageError(
    'ERR_PUBLISH',
    `The broker did not take the message: ${error instanceof Error ? error.message : String(error)}`,
    {
      cause: error,
    },
  );
}

function closedError(): LovageError {
  return new ClosedError('The connection is closed.');
}
