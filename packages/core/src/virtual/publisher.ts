import {
  isLovageError,
  LovageError,
  MessageTooLargeError,
  NotFoundError,
  type PublishError,
  UnroutableError,
  UnsupportedError,
} from '../errors.ts';
import { TurnBatch } from '../internal/turn-batch.ts';
import type { Publication } from '../transport/contract.ts';
import type { RoutingTable } from './bindings.ts';
import type { Declarations } from './declarations.ts';
import type { QueueDriver, QueueEntry, StoredBinding } from './driver.ts';
import { newDeliveryTag, openEnvelope, priorityOf, sealEnvelope } from './envelope.ts';
import type { Link } from './link.ts';
import { PublishCall } from './publish-call.ts';

const MAX_PUSH_ENTRIES = 1000;
/** Characters of payload in one push; a single larger message still goes. */
const MAX_PUSH_CHARS = 4 * 1024 * 1024;

export interface PublisherOptions {
  readonly driver: Pick<QueueDriver<never>, 'capabilities' | 'push' | 'size' | 'bindings' | 'broadcast'>;
  readonly link: Link;
  readonly table: RoutingTable;
  readonly declarations: Declarations;
  /** Called with each message that goes to a queue at once, before it does. */
  readonly onSend: (queue: string, deliveryTag: string, payload: string, body: Uint8Array) => void;
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

/** Routes messages and pushes their copies, those of all calls in one turn together. */
export class Publisher {
  readonly #driver: PublisherOptions['driver'];
  readonly #link: Link;
  readonly #table: RoutingTable;
  readonly #declarations: Declarations;
  readonly #onSend: PublisherOptions['onSend'];
  readonly #outgoing: TurnBatch<Outgoing>;

  constructor({ driver, link, table, declarations, onSend }: PublisherOptions) {
    this.#driver = driver;
    this.#link = link;
    this.#table = table;
    this.#declarations = declarations;
    this.#onSend = onSend;
    this.#outgoing = new TurnBatch((items) => this.#push(items), {
      maxItems: MAX_PUSH_ENTRIES,
      maxWeight: MAX_PUSH_CHARS,
    });
  }

  /** As the `publish` of a connection. */
  publish(batch: readonly Publication[]): Promise<void> {
    const call = new PublishCall(batch.length);
    for (let index = 0; index < batch.length; index++) this.#enqueue(batch[index] as Publication, call, index);
    return call.promise;
  }

  /** Hands on what waits for the end of the turn, now. */
  flush(): void {
    this.#outgoing.flush();
  }

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
          `A message of ${Buffer.byteLength(opened)} bytes in its envelope is more than the ${maxMessageBytes} bytes that this broker takes. Compress it (compression: "zlib"), or store it elsewhere and send where it is.`,
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
    const fail = (error: Error): void => {
      for (const { call } of items) call.fail(error);
    };
    const untrack = this.#link.track(fail);
    try {
      const tables = this.#lookUp(items);
      await this.#send(items, tables === undefined ? undefined : await tables);
    } catch (error) {
      if (this.#link.noticeLoss(error)) fail(error as Error);
      else for (const item of items) item.call.refused(item.index, toLovageError(error));
    } finally {
      untrack();
    }
  }

  /** The bindings that other processes may have changed, read once per batch. */
  #lookUp(items: readonly Outgoing[]): Promise<ReadonlyMap<string, readonly StoredBinding[]>> | undefined {
    const { bindings } = this.#driver;
    if (bindings === undefined) return undefined;
    let exchanges: Set<string> | undefined;
    for (const { exchange } of items) {
      if (exchange !== '' && !this.#declarations.isBroadcast(exchange)) (exchanges ??= new Set()).add(exchange);
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
        if (item.mandatory && this.#declarations.queue(item.routingKey) === undefined)
          others.push(this.#sendIfExists(item));
        else this.#copy(item, item.routingKey, entries, owners);
      } else if (this.#declarations.isBroadcast(item.exchange)) others.push(this.#broadcast(item));
      else {
        const bindings = tables?.get(item.exchange) ?? this.#table.bindingsFrom(item.exchange);
        const queues = this.#table.route(item.exchange, item.routingKey, bindings);
        for (const queue of queues) this.#copy(item, queue, entries, owners);
        if (queues.length === 0) this.#unrouted(item, bindings);
      }
    }
    if (others.length === 0) {
      if (entries.length > 0) await this.#pushEntries(entries, owners);
      return;
    }
    // All at once: one that is lost while another is waited for would be nobody's.
    if (entries.length > 0) others.push(this.#pushEntries(entries, owners));
    await Promise.all(others);
  }

  #copy(item: Outgoing, queue: string, entries: QueueEntry[], owners: Outgoing[]): void {
    const deliveryTag = newDeliveryTag();
    const payload = sealEnvelope(item.opened, deliveryTag);
    if (item.delayMs === 0) this.#onSend(queue, deliveryTag, payload, item.body);
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
            ? `There is no queue "${routingKey}". Declare it before publishing.`
            : `No queue is bound to the exchange "${exchange}" for the routing key "${routingKey}". Bind one before publishing.`,
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
