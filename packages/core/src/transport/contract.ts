import type { Logger } from '../internal/log.ts';
import type { Message } from './message.ts';
import type { Binding, Topology } from './topology.ts';
import type { BrokerUrl } from './url.ts';

/** One kind of broker: a value to pass around, not a base class. */
export interface Transport {
  /** URL schemes, lower case, without `://`: `['redis', 'rediss']`. */
  readonly schemes: readonly string[];
  /**
   * Opens one session. Rejects with `ConnectError`, `AuthError` or `ConfigError`; never retries: the supervisor does.
   * Abort rejects with the signal's reason and leaves nothing open.
   */
  connect(url: BrokerUrl, options: ConnectOptions): Promise<Connection>;
}

export interface ConnectOptions {
  /** Celery's `broker_transport_options`, camelCase or snake_case; each adapter documents and validates its own. */
  readonly transportOptions?: Readonly<Record<string, unknown>>;
  /** Default 4000 (Celery's `broker_connection_timeout`). */
  readonly connectTimeoutMs?: number;
  /** AMQP heartbeat and socket liveness; default 20 seconds. A silent peer is lost after two of them. */
  readonly heartbeatSeconds?: number;
  /** How long a silent consumer's messages stay its own, on brokers with leases. Default 30000. */
  readonly leaseMs?: number;
  /**
   * Renew leases while the event loop of this thread stands still too, where the transport can. For consumers whose
   * sink runs code that may compute for longer than a lease. Default false.
   */
  readonly keepsLeases?: boolean;
  /** Celery's `broker_use_ssl`: true, or Node's TLS options under Celery's names. */
  readonly useSsl?: boolean | Readonly<Record<string, unknown>>;
  /** Shown by the broker's own tools, where it has a place for it. */
  readonly clientName?: string;
  readonly logger?: Logger;
  readonly signal?: AbortSignal;
}

/** One live session. It never reconnects: when it dies it says so once, and the supervisor opens another. */
export interface Connection extends AsyncDisposable {
  readonly capabilities: Capabilities;
  /** Settles once: resolves after `close()`, rejects with `ConnectionLostError` when the link is lost. */
  readonly closed: Promise<void>;
  /** Idempotent; `PreconditionFailedError` if the entity exists with other arguments. */
  declare(topology: Topology): Promise<void>;
  /**
   * Resolves when the broker owns every message; rejects with `PublishError`, which names the indexes it does not own.
   * Calls made in one tick may share a round trip. Abort ends the waiting, not the work.
   */
  publish(batch: readonly Publication[], options?: { readonly signal?: AbortSignal }): Promise<void>;
  /** Hands each arriving batch to `sink`; at most `prefetch` deliveries of this consumer are unsettled. */
  consume(queues: readonly string[], sink: DeliverySink, options: ConsumeOptions): Promise<Consumer>;
  /**
   * Settles deliveries of any consumer of this connection, in any order; one already settled is ignored.
   * Resolves when the broker has it (for `ack` on AMQP: when it is written). Rejects with `ConnectionLostError` after a
   * loss: the broker will redeliver.
   */
  settle(settlements: readonly Settlement[]): Promise<void>;
  /** `NotFoundError` when the queue does not exist and the broker can tell. */
  inspect(queue: string): Promise<QueueStatus>;
  /** Messages dropped. */
  purge(queue: string): Promise<number>;
  /** What is bound to an exchange, by whomever. Absent where the broker cannot tell. */
  bindings?(exchange: string): Promise<readonly Binding[]>;
  /** Removes what is named; an entity that does not exist is no error. */
  remove(topology: Topology): Promise<void>;
  /**
   * Removes one queue or exchange on condition, in one step of the broker; one that does not exist is no error. Gives the
   * messages that went with a queue. `PreconditionFailedError` where the condition does not hold; `UnsupportedError` where
   * the broker has no such step for this entity. Absent where it has none at all.
   */
  removeIf?(removal: ConditionalRemoval): Promise<number>;
  /**
   * Messages that the broker keeps back until they are due, of all queues together, where no queue's `inspect` counts
   * them. Some may be counted twice while they are on their way, none is left out. Absent where `inspect` counts them.
   */
  delayed?(): Promise<number>;
  /** Cancels consumers, gives back what is unsettled, flushes, disconnects. Never rejects; twice is fine. */
  close(): Promise<void>;
}

/** A queue to be removed if it has no messages, no consumers, or neither; an exchange if nothing is bound to it. */
export type ConditionalRemoval =
  | { readonly queue: string; readonly ifEmpty: boolean; readonly ifUnused: boolean }
  | { readonly exchange: string; readonly ifUnused: true };

export interface ConsumeOptions {
  /** 0: no limit. */
  readonly prefetch: number;
  /**
   * Where messages are fetched: fetch when so many of the prefetch are free, so that fetches are fewer and larger. For
   * consumers that have enough until then. Brokers that push have their own way. Default 1.
   */
  readonly refill?: number;
  /** Called when the broker may have given these deliveries to somebody else: stop working on them. */
  readonly onLeaseLost?: (deliveries: readonly Delivery[]) => void;
}

export interface Consumer {
  /** Resolves after `cancel()`, rejects with the loss. */
  readonly done: Promise<void>;
  /** 0: no limit. `refill` as in {@link ConsumeOptions}; default 1. */
  setPrefetch(count: number, refill?: number): Promise<void>;
  /** Once it resolves, the sink is not called again. What is unsettled stays the caller's to settle. */
  cancel(): Promise<void>;
}

/** Synchronous; must not throw. */
export type DeliverySink = (deliveries: readonly Delivery[]) => void;

export interface Publication {
  /** `''`: the default exchange, where the routing key is the queue's name. */
  readonly exchange: string;
  readonly routingKey: string;
  readonly message: Message;
  /** `UnroutableError` when no queue is bound. Default false: the message is dropped, as AMQP says. */
  readonly mandatory?: boolean;
  /** The message becomes visible after so long; honoured up to `capabilities.maxDelayMs`, beyond it `UnsupportedError`. */
  readonly delayMs?: number;
}

export interface Delivery {
  readonly message: Message;
  readonly queue: string;
  readonly exchange: string;
  readonly routingKey: string;
  readonly redelivered: boolean;
  /** 1 at first; counts deliveries as far as the broker knows them (2 where it knows only that there was one before). */
  readonly deliveryCount: number;
  /**
   * Set when the payload was not a readable envelope: `message.body` then holds the raw bytes. Settle it as any other.
   */
  readonly malformed?: Error;
  /**
   * For a message that waits long among many: with true it gives up what can be made from its bytes, and until false is
   * said each look at `message` makes it anew. Absent where that saves nothing.
   */
  rest?(isResting: boolean): void;
  /** The adapter's own; dies with its connection. */
  readonly tag: unknown;
}

/**
 * `ack`: done. `requeue`: somebody may take it again, at once. `reject`: to the queue's dead letter place if it has
 * one, else dropped.
 */
export type Outcome = 'ack' | 'requeue' | 'reject';

export interface Settlement {
  readonly delivery: Delivery;
  readonly outcome: Outcome;
}

export interface QueueStatus {
  /** Messages waiting, without the unsettled ones. */
  readonly ready: number;
  readonly consumers?: number;
}

export interface Capabilities {
  /** Fanout exchanges reach other processes. */
  readonly fanout: boolean;
  /**
   * false: a binding is known to the process that declared it only, so that messages for others have to name their queue
   * (default exchange) or a fanout. Default true.
   */
  readonly sharesBindings?: boolean;
  /** 0: priorities are ignored. */
  readonly priorityLevels: number;
  /** Which priority number leaves the queue first. */
  readonly servesFirst: 'highest' | 'lowest';
  /** 0: no delayed publishing; the worker holds ETA messages itself. */
  readonly maxDelayMs: number;
  /** How long a silent consumer's messages stay its own; 0: held until the connection drops. Renewed by the connection. */
  readonly leaseMs: number;
  /** 0: no limit known. */
  readonly maxMessageBytes: number;
  /**
   * Neither holds up the other on one connection, so that a worker publishes over the one it consumes from, and what it
   * publishes for itself reaches it without a detour. Default false: publishing has a connection of its own.
   */
  readonly publishesWhileConsuming?: boolean;
  /** What this layer does in the broker's stead, `exchanges` for one; what is not named is the broker's own. */
  readonly emulated?: readonly EmulatedFeature[];
  /** What the at-least-once promise rests on here, in one line for people: `redis, appendfsync everysec: ...`. */
  readonly guarantee: string;
}

export type EmulatedFeature = 'exchanges' | 'fanout' | 'prefetch' | 'dead letters' | 'priority' | 'delay';
