import { randomBytes } from 'node:crypto';
import {
  BrokerUrl,
  type Binding,
  type Capabilities,
  type Connection,
  type ConnectOptions,
  type Consumer,
  type Delivery,
  type DeliverySink,
  type Exchange,
  type Message,
  type Outcome,
  type Publication,
  type Queue,
  type Topology,
} from '@lovage/core/transport';
import type { FaultyLink } from '../faulty-link.ts';
import { type Deadline, endAll, SkipTest, type Trial, type TrialTest } from '../suite.ts';
import { openLinkTo, urlThrough } from '../upstream.ts';
import type { TransportConformanceOptions } from './index.ts';

export type TransportTest = TrialTest<TransportTrial>;

const RUN = randomBytes(4).toString('hex');
let names = 0;

/** What one test opens, declares and waits for; all of it is closed and removed at its end. */
export class TransportTrial implements Trial {
  readonly deadline: Deadline;
  readonly options: TransportConformanceOptions;
  /** Of the session that was opened last. */
  capabilities: Capabilities | undefined;
  /** What the test asked for was refused, as the contract allows. */
  isRefused = false;
  readonly #connections: Connection[] = [];
  readonly #links: FaultyLink[] = [];
  readonly #barriers = new Map<Connection, { queue: string; receiver: Receiver }>();
  readonly #exchanges: Exchange[] = [];
  readonly #queues: Queue[] = [];
  readonly #bindings: Binding[] = [];

  constructor(options: TransportConformanceOptions, deadline: Deadline) {
    this.options = options;
    this.deadline = deadline;
  }

  /** A name that no other run and no other test uses. */
  name(kind: string): string {
    return `lovage-kit-${RUN}-${++names}-${kind}`;
  }

  /** The short lease of tests that wait for one to pass. */
  get shortLeaseMs(): number {
    return this.options.shortLeaseMs ?? 1000;
  }

  get heartbeatSeconds(): number {
    return 1;
  }

  skip(reason: string): never {
    throw new SkipTest(reason);
  }

  /** Opens a session, through `link` if one is given, and declares what the test has declared so far. */
  async open(options: ConnectOptions & { readonly link?: FaultyLink } = {}): Promise<Connection> {
    const { link, ...own } = options;
    const connection = await this.options.transport.connect(this.#url(link), { ...this.options.connect, ...own });
    this.#connections.push(connection);
    this.capabilities = connection.capabilities;
    const topology = { exchanges: this.#exchanges, queues: this.#queues, bindings: this.#bindings };
    if (this.#queues.length + this.#exchanges.length > 0) await connection.declare(topology);
    return connection;
  }

  /**
   * A session that can die as its process would: without a word. By the adapter's `crash`, else by cutting its link.
   */
  async openMortal(options: ConnectOptions = {}): Promise<{ connection: Connection; crash: () => Promise<void> }> {
    const { crash } = this.options;
    const clientName = this.name('mortal');
    if (crash !== undefined) {
      const connection = await this.open({ ...options, clientName });
      return { connection, crash: () => crash(connection, clientName) };
    }
    const link = await this.link();
    const connection = await this.open({ ...options, clientName, link });
    return {
      connection,
      crash: async () => {
        await link.refuse();
        link.cut();
      },
    };
  }

  /** A proxy before the broker; skips the test where the broker is not reached over TCP. */
  async link(): Promise<FaultyLink> {
    const link = await openLinkTo(this.options.url, this.options);
    this.#links.push(link);
    return link;
  }

  async declare(connection: Connection, topology: Topology): Promise<void> {
    await connection.declare(topology);
    this.#exchanges.push(...(topology.exchanges ?? []));
    this.#queues.push(...(topology.queues ?? []));
    this.#bindings.push(...(topology.bindings ?? []));
  }

  /** Declares a queue of its own name; `connection` and every session opened later knows it. */
  async queue(connection: Connection, queue: Omit<Queue, 'name'> = {}): Promise<string> {
    const name = this.name('queue');
    await this.declare(connection, { queues: [{ name, ...queue }] });
    return name;
  }

  /** Declares an exchange, and a queue for each binding key; the queues' names in the order of the keys. */
  async exchange(connection: Connection, type: Exchange['type'], keys: readonly string[]) {
    const exchange = this.name(type);
    const queues = keys.map(() => this.name('queue'));
    await this.declare(connection, {
      exchanges: [{ name: exchange, type }],
      queues: queues.map((name) => ({ name })),
      bindings: keys.map((routingKey, index) => ({ exchange, queue: queues[index] as string, routingKey })),
    });
    return { exchange, queues };
  }

  /** Consumes and keeps what arrives. */
  async receive(connection: Connection, queues: string | readonly string[], prefetch = 0): Promise<Receiver> {
    const receiver = new Receiver(connection, this.deadline);
    const names = typeof queues === 'string' ? [queues] : queues;
    receiver.consumer = await connection.consume(names, receiver.sink, {
      prefetch,
      onLeaseLost: (lost) => receiver.lost.push(...lost),
    });
    return receiver;
  }

  /**
   * Two messages there and back over this session: what it was going to deliver before them has been delivered, so
   * "nothing more came" can be asserted without guessing a time.
   */
  async barrier(connection: Connection): Promise<void> {
    let barrier = this.#barriers.get(connection);
    if (barrier === undefined) {
      const queue = await this.queue(connection);
      barrier = { queue, receiver: await this.receive(connection, queue) };
      this.#barriers.set(connection, barrier);
    }
    for (let round = 0; round < 2; round++) {
      await connection.publish([toQueue(barrier.queue, 'barrier')]);
      await barrier.receiver.settle(await barrier.receiver.take(1), 'ack');
    }
  }

  /** Waits until so many messages are ready in the queue. */
  async ready(connection: Connection, queue: string, count: number): Promise<void> {
    await this.deadline.until(`${count} ready messages in ${queue}`, async () => {
      const { ready } = await connection.inspect(queue);
      return ready === count;
    });
  }

  /** Takes and acks with a session of its own until all of `bodies` came; the deliveries in their order. */
  async drain(queue: string, bodies: Iterable<string>, options: ConnectOptions = {}): Promise<Delivery[]> {
    const missing = new Set(bodies);
    const connection = await this.open(options);
    const receiver = await this.receive(connection, queue, 50);
    const all: Delivery[] = [];
    while (missing.size > 0) {
      const taken = await receiver.take(1, `${missing.size} messages more, among them "${[...missing][0]}"`);
      for (const delivery of taken) missing.delete(textOf(delivery));
      all.push(...taken);
      await receiver.settle(taken, 'ack');
    }
    return all;
  }

  async end(): Promise<void> {
    const closeAll = this.#connections.map((connection) => ({
      what: 'close() of a session that the test has opened',
      act: () => connection.close(),
    }));
    try {
      await endAll(closeAll);
    } finally {
      await endAll(this.#links.map((link) => ({ what: 'the faulty link to close', act: () => link.close() })));
      await this.#remove();
    }
  }

  async #remove(): Promise<void> {
    if (this.#queues.length + this.#exchanges.length === 0) return;
    const connection = await this.options.transport.connect(this.#url(undefined), { ...this.options.connect });
    await endAll([
      {
        what: "remove() of the test's queues",
        act: () => connection.remove({ exchanges: this.#exchanges, queues: this.#queues, bindings: this.#bindings }),
      },
    ]);
    await connection.close();
  }

  #url(link: FaultyLink | undefined): BrokerUrl {
    return new BrokerUrl(urlThrough(this.options.url, link, this.options));
  }
}

/** Keeps what a consumer is given, and how many were unsettled at most. */
export class Receiver {
  consumer!: Consumer;
  readonly connection: Connection;
  readonly deliveries: Delivery[] = [];
  readonly lost: Delivery[] = [];
  maxUnsettled = 0;
  readonly #deadline: Deadline;
  readonly #unsettled = new Set<Delivery>();
  #taken = 0;
  #wakes: (() => void)[] = [];

  constructor(connection: Connection, deadline: Deadline) {
    this.connection = connection;
    this.#deadline = deadline;
  }

  readonly sink: DeliverySink = (deliveries) => {
    this.deliveries.push(...deliveries);
    for (const delivery of deliveries) this.#unsettled.add(delivery);
    this.maxUnsettled = Math.max(this.maxUnsettled, this.#unsettled.size);
    for (const wake of this.#wakes.splice(0)) wake();
  };

  get unsettled(): Delivery[] {
    return [...this.#unsettled];
  }

  /** The next `count` deliveries that were not taken yet. */
  async take(count: number, what = `${count} deliveries`): Promise<Delivery[]> {
    await this.#deadline.of(this.#arrived(this.#taken + count), what);
    const taken = this.deliveries.slice(this.#taken, this.#taken + count);
    this.#taken += count;
    return taken;
  }

  async takeOne(what?: string): Promise<Delivery> {
    return (await this.take(1, what))[0] as Delivery;
  }

  async settle(deliveries: readonly Delivery[], outcome: Outcome): Promise<void> {
    for (const delivery of deliveries) this.#unsettled.delete(delivery);
    await this.connection.settle(deliveries.map((delivery) => ({ delivery, outcome })));
  }

  async #arrived(total: number): Promise<void> {
    while (this.deliveries.length < total) {
      await new Promise<void>((resolve) => {
        this.#wakes.push(resolve);
      });
    }
  }
}

export function textMessage(text: string, properties: Message['properties'] = { deliveryMode: 2 }): Message {
  return {
    body: new TextEncoder().encode(text),
    contentType: 'text/plain',
    contentEncoding: 'utf-8',
    headers: {},
    properties,
  };
}

/** To a queue by its name, through the default exchange. */
export function toQueue(queue: string, text: string): Publication {
  return { exchange: '', routingKey: queue, message: textMessage(text) };
}

export function textOf(delivery: Delivery): string {
  return new TextDecoder().decode(delivery.message.body);
}

export function textsOf(deliveries: readonly Delivery[]): string[] {
  return deliveries.map(textOf);
}

/** `m0`, `m1` ... */
export function texts(count: number, prefix = 'm'): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}${index}`);
}
