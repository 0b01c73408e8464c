import type { StoredBinding } from '../virtual/driver.ts';

/** A message that waits, is delayed, or is held by a link. */
export interface MemoryMessage {
  readonly payload: string;
  readonly priority: number;
  deliveries: number;
}

/** What a link holds of a queue until it settles it, it is cut, or its lease ends. */
export interface MemoryReceipt {
  readonly queue: MemoryQueue;
  readonly message: MemoryMessage;
  readonly holder: object;
  /** Epoch milliseconds; Infinity: until the link ends. */
  leaseUntil: number;
}

interface Delayed {
  readonly message: MemoryMessage;
  readonly dueAt: number;
}

const LEVELS = 10;

/** One queue: ten priorities, each first in, first out; what is delayed; what is held. */
export class MemoryQueue {
  readonly name: string;
  readonly held = new Set<MemoryReceipt>();
  /** Those of {@link held} that a lease may end. */
  readonly #leased = new Set<MemoryReceipt>();
  readonly #levels: Fifo[] = Array.from({ length: LEVELS }, () => new Fifo());
  /** Sorted, the next one last. */
  #delayed: Delayed[] = [];
  #ready = 0;

  constructor(name: string) {
    this.name = name;
  }

  get size(): number {
    return this.#ready + this.#delayed.length;
  }

  add(message: MemoryMessage, dueAt: number): void {
    if (dueAt <= Date.now()) return this.#queue(message);
    let index = this.#delayed.length;
    while (index > 0 && (this.#delayed[index - 1] as Delayed).dueAt <= dueAt) index--;
    this.#delayed.splice(index, 0, { message, dueAt });
  }

  /** The message of the highest priority that waits longest. */
  take(): MemoryMessage | undefined {
    if (this.#ready === 0) return undefined;
    for (let level = LEVELS - 1; level >= 0; level--) {
      const message = (this.#levels[level] as Fifo).shift();
      if (message === undefined) continue;
      this.#ready--;
      message.deliveries++;
      return message;
    }
    return undefined;
  }

  hold(receipt: MemoryReceipt): void {
    this.held.add(receipt);
    if (receipt.leaseUntil !== Number.POSITIVE_INFINITY) this.#leased.add(receipt);
  }

  /** False when it was held no longer. */
  letGo(receipt: MemoryReceipt): boolean {
    this.#leased.delete(receipt);
    return this.held.delete(receipt);
  }

  /** Next of its priority. */
  giveBack(receipt: MemoryReceipt): void {
    if (!this.letGo(receipt)) return;
    (this.#levels[receipt.message.priority] as Fifo).unshift(receipt.message);
    this.#ready++;
  }

  /** Makes visible what is due, and what is held beyond its lease. */
  refresh(now: number): void {
    while ((this.#delayed.at(-1)?.dueAt ?? Number.POSITIVE_INFINITY) <= now)
      this.#queue((this.#delayed.pop() as Delayed).message);
    for (const receipt of this.#leased) if (receipt.leaseUntil <= now) this.giveBack(receipt);
  }

  /** When {@link refresh} will have something to do: epoch milliseconds, or Infinity. */
  get nextChangeAt(): number {
    let next = this.#delayed.at(-1)?.dueAt ?? Number.POSITIVE_INFINITY;
    for (const { leaseUntil } of this.#leased) next = Math.min(next, leaseUntil);
    return next;
  }

  /** Drops what waits; what is held stays. */
  clear(): number {
    const dropped = this.size;
    for (const level of this.#levels) level.clear();
    this.#delayed = [];
    this.#ready = 0;
    return dropped;
  }

  #queue(message: MemoryMessage): void {
    (this.#levels[message.priority] as Fifo).push(message);
    this.#ready++;
  }
}

/** First in, first out, with what comes back at the front. */
class Fifo {
  #front: MemoryMessage[] = [];
  #items: MemoryMessage[] = [];
  #head = 0;

  push(message: MemoryMessage): void {
    this.#items.push(message);
  }

  unshift(message: MemoryMessage): void {
    this.#front.push(message);
  }

  shift(): MemoryMessage | undefined {
    if (this.#front.length > 0) return this.#front.pop();
    const message = this.#items[this.#head];
    if (message === undefined) return undefined;
    this.#head++;
    // Cutting off what is taken in large pieces keeps every step short.
    if (this.#head > 1000 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return message;
  }

  clear(): void {
    this.#front = [];
    this.#items = [];
    this.#head = 0;
  }
}

/** A broadcast listener and the binding key it listens with. */
export interface MemoryListener {
  readonly exchange: string;
  readonly routingKey: string;
  readonly listener: (payload: string, routingKey: string) => void;
}

/** A broker within the process: what all links to `memory://<name>` share. */
export class MemoryBroker {
  readonly queues = new Map<string, MemoryQueue>();
  readonly bindings = new Map<string, StoredBinding[]>();
  readonly listeners = new Set<MemoryListener>();
  readonly links = new Set<{ cut(): void; readonly clientName: string | undefined }>();
  /** Called when a queue has something to take, so that waiting links look again. */
  readonly waiting = new Set<(queue: string) => void>();

  queue(name: string): MemoryQueue {
    let queue = this.queues.get(name);
    if (queue === undefined) this.queues.set(name, (queue = new MemoryQueue(name)));
    return queue;
  }

  wake(queue: string): void {
    for (const look of this.waiting) look(queue);
  }

  /** Nothing left that a later link could find. */
  get isEmpty(): boolean {
    return (
      this.links.size === 0 && [...this.queues.values()].every((queue) => queue.size === 0 && queue.held.size === 0)
    );
  }
}

const brokers = new Map<string, MemoryBroker>();

export function memoryBroker(name: string): MemoryBroker {
  let broker = brokers.get(name);
  if (broker === undefined) brokers.set(name, (broker = new MemoryBroker()));
  return broker;
}

/** Forgets a broker that nobody is linked to and that keeps no message. */
export function forgetIfEmpty(name: string): void {
  if (brokers.get(name)?.isEmpty === true) brokers.delete(name);
}

/**
 * Breaks links to the memory broker of this URL, as a fault of the network would: their calls reject with
 * `ConnectionLostError`, and what they held goes back at once, or when its lease ends. For tests of what happens then.
 * With a client name only the links that were opened under it. Returns how many were cut.
 */
export function cutMemoryLinks(url: string, { clientName }: { readonly clientName?: string } = {}): number {
  const links = [...(brokers.get(brokerName(url))?.links ?? [])].filter(
    (link) => clientName === undefined || link.clientName === clientName,
  );
  for (const link of links) link.cut();
  return links.length;
}

/** `memory://a/b?lease_ms=5` names the broker `a/b`. */
export function brokerName(url: string): string {
  return url.replace(/^[^:]*:\/\//, '').replace(/[?#].*$/, '');
}
