import { ClosedError, ConfigError, ConnectionLostError, NotFoundError } from '../errors.ts';
import { nearestName } from '../internal/nearest-name.ts';
import type { Capabilities, ConnectOptions, Transport } from '../transport/contract.ts';
import type { Queue } from '../transport/topology.ts';
import type { BrokerUrl } from '../transport/url.ts';
import type {
  BindingStore,
  Broadcast,
  Pulled,
  PullRequest,
  QueueDriver,
  QueueEntry,
  ReceiptSettlement,
  StoredBinding,
} from '../virtual/driver.ts';
import { matchesTopic } from '../virtual/routing.ts';
import { virtualTransport } from '../virtual/virtual-transport.ts';
import {
  brokerName,
  forgetIfEmpty,
  memoryBroker,
  type MemoryBroker,
  type MemoryListener,
  type MemoryReceipt,
} from './memory-broker.ts';

/** Transport options of `memory://`, in camelCase or snake_case, also as query of the URL. */
export interface MemoryTransportOptions {
  /** How long a message stays with a link that does not renew it; 0, the default: until the link ends. */
  readonly leaseMs?: number;
  /** Longest message in its envelope; 0, the default: no limit. */
  readonly maxMessageBytes?: number;
}

/** Options that Kombu knows for every broker, and the lease of others: they mean nothing here and are no mistake. */
const IGNORED = new Set(
  'max_retries interval_start interval_step interval_max connect_retries_timeout polling_interval visibility_timeout'.split(
    ' ',
  ),
);
const OPTION_NAMES = ['leaseMs', 'maxMessageBytes'] as const;
/** A year. */
const MAX_DELAY_MS = 365 * 24 * 3600 * 1000;
/** The longest that `setTimeout` can wait. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * A broker within the process, for tests and for trying things out: `memory://` or, apart from each other,
 * `memory://any-name`. Nothing is kept beyond the process. It does all that a driver can do, in the plainest way.
 */
export const memoryTransport: Transport = virtualTransport<MemoryReceipt>({
  schemes: ['memory'],
  open: openMemoryDriver,
});

/** The driver below {@link memoryTransport}, to build other drivers of. Throws `ConfigError` on a wrong option. */
export async function openMemoryDriver(
  url: BrokerUrl,
  options: ConnectOptions = {},
): Promise<QueueDriver<MemoryReceipt>> {
  options.signal?.throwIfAborted();
  return new MemoryDriver(
    brokerName(url.raw),
    readOptions({ ...options.transportOptions, ...url.query }),
    options.clientName,
  );
}

class MemoryDriver implements QueueDriver<MemoryReceipt> {
  readonly capabilities: Capabilities;
  readonly lost: Promise<never>;
  readonly bindings: BindingStore;
  readonly broadcast: Broadcast;
  readonly clientName: string | undefined;
  readonly #name: string;
  readonly #broker: MemoryBroker;
  readonly #held = new Set<MemoryReceipt>();
  readonly #listeners = new Set<MemoryListener>();
  #endWaiting: (() => void) | undefined;
  #lose!: (error: Error) => void;
  #ended: Error | undefined;

  constructor(
    name: string,
    { leaseMs, maxMessageBytes }: Required<MemoryTransportOptions>,
    clientName: string | undefined,
  ) {
    this.capabilities = {
      fanout: true,
      priorityLevels: 10,
      servesFirst: 'highest',
      maxDelayMs: MAX_DELAY_MS,
      leaseMs,
      maxMessageBytes,
      publishesWhileConsuming: true,
      guarantee: 'memory: messages live in this process and end with it',
    };
    this.clientName = clientName;
    this.#name = name;
    this.#broker = memoryBroker(name);
    this.#broker.links.add(this);
    this.lost = new Promise((_, reject) => {
      this.#lose = reject;
    });
    this.lost.catch(() => {});
    this.bindings = this.#bindings();
    this.broadcast = this.#broadcast();
  }

  async ensureQueue({ name }: Queue): Promise<void> {
    this.#check();
    this.#broker.queue(name);
  }

  async removeQueue(name: string): Promise<void> {
    this.#check();
    this.#broker.queues.delete(name);
  }

  async push(entries: readonly QueueEntry[]): Promise<void> {
    this.#check();
    const now = Date.now();
    const filled = new Set<string>();
    for (const { queue, payload, priority, delayMs } of entries) {
      this.#broker.queue(queue).add({ payload, priority, deliveries: 0 }, delayMs === 0 ? 0 : now + delayMs);
      filled.add(queue);
    }
    for (const queue of filled) this.#broker.wake(queue);
  }

  async pull({ queues, max, waitMs, signal }: PullRequest): Promise<readonly Pulled<MemoryReceipt>[]> {
    const deadline = Date.now() + waitMs;
    for (;;) {
      this.#check();
      if (signal.aborted) return [];
      const pulled = this.#take(queues, max);
      const now = Date.now();
      if (pulled.length > 0 || now >= deadline) return pulled;
      await this.#change(queues, deadline - now, signal);
    }
  }

  async settle(settlements: readonly ReceiptSettlement<MemoryReceipt>[]): Promise<void> {
    this.#check();
    const changed = new Set<string>();
    // Each goes to the front: from the last one on, they keep their order.
    for (const { receipt, outcome } of settlements.toReversed()) {
      this.#held.delete(receipt);
      if (outcome === 'ack') receipt.queue.letGo(receipt);
      else receipt.queue.giveBack(receipt);
      if (outcome === 'requeue') changed.add(receipt.queue.name);
    }
    for (const queue of changed) this.#broker.wake(queue);
  }

  async size(name: string): Promise<number> {
    this.#check();
    const queue = this.#broker.queues.get(name);
    if (queue === undefined) throw new NotFoundError(`There is no queue "${name}".`, { facts: { queue: name } });
    queue.refresh(Date.now());
    return queue.size;
  }

  async purge(name: string): Promise<number> {
    this.#check();
    return this.#broker.queues.get(name)?.clear() ?? 0;
  }

  async extendLease(receipts: readonly MemoryReceipt[]): Promise<readonly MemoryReceipt[]> {
    this.#check();
    const now = Date.now();
    return receipts.filter((receipt) => {
      receipt.queue.refresh(now);
      if (!receipt.queue.held.has(receipt)) {
        this.#held.delete(receipt);
        return true;
      }
      receipt.leaseUntil = now + this.capabilities.leaseMs;
      return false;
    });
  }

  async close(): Promise<void> {
    this.#end(new ClosedError('The memory link is closed.'));
  }

  /** What a fault of the network does. */
  cut(): void {
    const error = new ConnectionLostError(`The link to memory://${this.#name} was cut.`);
    this.#end(error);
    this.#lose(error);
  }

  #take(queues: readonly string[], max: number): readonly Pulled<MemoryReceipt>[] {
    const now = Date.now();
    const leaseUntil = this.capabilities.leaseMs > 0 ? now + this.capabilities.leaseMs : Number.POSITIVE_INFINITY;
    const pulled: Pulled<MemoryReceipt>[] = [];
    for (const name of queues) {
      const queue = this.#broker.queue(name);
      queue.refresh(now);
      while (pulled.length < max) {
        const message = queue.take();
        if (message === undefined) break;
        const receipt: MemoryReceipt = { queue, message, holder: this, leaseUntil };
        queue.hold(receipt);
        this.#held.add(receipt);
        pulled.push({ queue: name, payload: message.payload, receipt, deliveryCount: message.deliveries });
      }
    }
    return pulled;
  }

  /** Resolves when there may be something to take, after `waitMs`, on abort, or when the link ends. */
  #change(queues: readonly string[], waitMs: number, signal: AbortSignal): Promise<void> {
    const now = Date.now();
    const nextChangeAt = Math.min(...queues.map((name) => this.#broker.queue(name).nextChangeAt));
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        this.#broker.waiting.delete(look);
        signal.removeEventListener('abort', end);
        this.#endWaiting = undefined;
        resolve();
      };
      const look = (queue: string): void => {
        if (queues.includes(queue)) end();
      };
      const timer = setTimeout(end, Math.min(waitMs, Math.max(0, nextChangeAt - now), MAX_TIMER_MS));
      this.#broker.waiting.add(look);
      this.#endWaiting = end;
      signal.addEventListener('abort', end);
    });
  }

  #end(reason: Error): void {
    if (this.#ended !== undefined) return;
    this.#ended = reason;
    for (const listener of this.#listeners) this.#broker.listeners.delete(listener);
    this.#broker.links.delete(this);
    const changed = new Set<string>();
    // With a lease nobody knows yet that the holder is gone.
    if (this.capabilities.leaseMs === 0) {
      for (const receipt of [...this.#held].toReversed()) {
        receipt.queue.giveBack(receipt);
        changed.add(receipt.queue.name);
      }
    }
    for (const queue of changed) this.#broker.wake(queue);
    this.#endWaiting?.();
    forgetIfEmpty(this.#name);
  }

  #check(): void {
    if (this.#ended !== undefined) throw this.#ended;
  }

  #bindings(): BindingStore {
    const { bindings } = this.#broker;
    const isSame = (a: StoredBinding, b: StoredBinding): boolean =>
      a.queue === b.queue && a.routingKey === b.routingKey;
    return {
      add: async (exchange, binding) => {
        this.#check();
        const others = (bindings.get(exchange) ?? []).filter((other) => !isSame(other, binding));
        bindings.set(exchange, [...others, binding]);
      },
      remove: async (exchange, binding) => {
        this.#check();
        bindings.set(
          exchange,
          (bindings.get(exchange) ?? []).filter((other) => !isSame(other, binding)),
        );
      },
      list: async (exchange) => {
        this.#check();
        return bindings.get(exchange) ?? [];
      },
    };
  }

  #broadcast(): Broadcast {
    const { listeners } = this.#broker;
    return {
      publish: async (exchange, routingKey, payload) => {
        this.#check();
        for (const { exchange: wanted, routingKey: pattern, listener } of listeners) {
          if (wanted === exchange && (pattern === '' || matchesTopic(pattern, routingKey)))
            listener(payload, routingKey);
        }
      },
      subscribe: async (exchange, routingKey, listener) => {
        this.#check();
        const entry: MemoryListener = { exchange, routingKey, listener };
        listeners.add(entry);
        this.#listeners.add(entry);
        return {
          unsubscribe: async () => {
            listeners.delete(entry);
            this.#listeners.delete(entry);
          },
        };
      },
    };
  }
}

function readOptions(given: Readonly<Record<string, unknown>>): Required<MemoryTransportOptions> {
  const options = { leaseMs: 0, maxMessageBytes: 0 };
  for (const [key, value] of Object.entries(given)) {
    if (IGNORED.has(key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`))) continue;
    const name = key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
    if (!isOption(name)) {
      throw new ConfigError(
        `The memory transport has no option "${key}". Expected one of: ${OPTION_NAMES.join(', ')}.${nearestName(name, OPTION_NAMES)}`,
      );
    }
    const number = Number(value);
    if (!Number.isInteger(number) || number < 0) {
      throw new ConfigError(
        `The option "${key}" of the memory transport is ${JSON.stringify(value)}. Expected a whole number from 0.`,
      );
    }
    options[name] = number;
  }
  return options;
}

function isOption(name: string): name is (typeof OPTION_NAMES)[number] {
  return (OPTION_NAMES as readonly string[]).includes(name);
}
