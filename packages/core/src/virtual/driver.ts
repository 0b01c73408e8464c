import type { Capabilities } from '../transport/contract.ts';
import type { Queue } from '../transport/topology.ts';

/**
 * What a broker that has only queues provides. `virtualTransport` makes a `Transport` of it: exchanges, envelope,
 * prefetch, acknowledgement, lease renewal, dead letters and close are written there, once.
 *
 * A driver dies once: after a lost link every call rejects with `ConnectionLostError` and `lost` rejects.
 */
export interface QueueDriver<Receipt> {
  readonly capabilities: Capabilities;
  /** Pending while the link lives; rejects with `ConnectionLostError`. Absent where no link can be lost. */
  readonly lost?: Promise<never>;
  ensureQueue(queue: Queue): Promise<void>;
  removeQueue(name: string): Promise<void>;
  /** Resolves when the broker owns every entry. All or nothing where the broker can; else rejects with `PublishError`. */
  push(entries: readonly QueueEntry[]): Promise<void>;
  /**
   * Takes up to `max` messages, atomically recorded as held by this driver, waiting `waitMs` for the first. Waiting
   * consumes nothing. On abort: returns what was taken. Called again only after the former call ended.
   */
  pull(request: PullRequest): Promise<readonly Pulled<Receipt>[]>;
  /** `ack` removes, `requeue` makes visible at once. A receipt whose lease was lost is ignored. */
  settle(settlements: readonly ReceiptSettlement<Receipt>[]): Promise<void>;
  /** Messages waiting, delayed ones included. `NotFoundError` when there is no such queue and the broker can tell. */
  size(queue: string): Promise<number>;
  /** Messages dropped. */
  purge(queue: string): Promise<number>;
  /** Gives back nothing by itself (the virtual layer settles first), flushes, disconnects. Never rejects. */
  close(): Promise<void>;
  /**
   * Restarts the lease of all that is held. Returns the receipts that are no longer ours. Called every `leaseMs / 3`, one
   * call at a time; one without an answer for `leaseMs` counts as failed.
   */
  extendLease?(receipts: readonly Receipt[]): Promise<readonly Receipt[]>;
  /**
   * Who holds what this driver has taken: what a `LeaseKeeper` in another thread needs to renew it. Can be cloned; may
   * change with each pull.
   */
  readonly leaseHolder?: unknown;
  /**
   * The lease is the holder's, whatever it holds: a `LeaseKeeper` that knows {@link leaseHolder} renews all of it, and may
   * learn late of single receipts. Default false.
   */
  readonly renewsByHolder?: boolean;
  /** What a `LeaseKeeper` is told of a receipt, where that is not the receipt itself. Can be cloned. */
  keptForm?(receipt: Receipt): unknown;
  /** A `LeaseKeeper` has renewed these: what it does on another thread, the driver learns here. */
  leaseKept?(renewal: LeaseRenewal<Receipt>): void;
  /** A routing table that every process sees: enough for fanout by copies. */
  readonly bindings?: BindingStore;
  /** Or fanout natively: pub/sub. At most once, no buffering. */
  readonly broadcast?: Broadcast;
}

/** Times are of `performance.now()` in the driver's thread. */
export interface LeaseRenewal<Receipt> {
  readonly receipts: readonly Receipt[];
  /** In their order, as the keeper left them; null: not renewed. undefined: it tells no difference, and renewed what is still held. */
  readonly forms: readonly unknown[] | undefined;
  readonly askedAt: number;
  readonly answeredAt: number;
}

export interface QueueEntry {
  readonly queue: string;
  /** The envelope, JSON text in Kombu's layout (Source: kombu/transport/virtual/base.py). ASCII or UTF-8. */
  readonly payload: string;
  /** `properties.delivery_tag` of the payload. */
  readonly deliveryTag: string;
  /** 0 to 9, as published. */
  readonly priority: number;
  /** 0: at once. */
  readonly delayMs: number;
}

export interface PullRequest {
  readonly queues: readonly string[];
  readonly max: number;
  /** 0: do not wait. */
  readonly waitMs: number;
  readonly signal: AbortSignal;
}

export interface Pulled<Receipt> {
  readonly queue: string;
  /** As stored; the virtual layer parses it, and hands on as malformed what it cannot read. */
  readonly payload: string | Uint8Array;
  readonly receipt: Receipt;
  /** 1 at first. */
  readonly deliveryCount: number;
}

export interface ReceiptSettlement<Receipt> {
  readonly receipt: Receipt;
  readonly outcome: 'ack' | 'requeue';
}

/** Source: kombu/transport/virtual/exchange.py: (routing_key, pattern, queue). */
export interface StoredBinding {
  readonly routingKey: string;
  /** Kombu's regular expression text for a topic binding, else `''`. */
  readonly pattern: string;
  readonly queue: string;
}

export interface BindingStore {
  add(exchange: string, binding: StoredBinding): Promise<void>;
  remove(exchange: string, binding: StoredBinding): Promise<void>;
  list(exchange: string): Promise<readonly StoredBinding[]>;
}

export interface Broadcast {
  publish(exchange: string, routingKey: string, payload: string): Promise<void>;
  /** Resolves when messages published from now on arrive. `routingKey` is the binding's (`#` and `*` allowed). */
  subscribe(
    exchange: string,
    routingKey: string,
    listener: (payload: string | Uint8Array, routingKey: string) => void,
  ): Promise<{ unsubscribe(): Promise<void> }>;
}
