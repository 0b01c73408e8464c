import type { StoredBinding } from '@lovage/core/transport';
import type { SqlDatabase, SqlTransaction } from '@lovage/sql';

/** A message as it was taken. */
export interface ClaimedRow {
  readonly id: number;
  /** As stored, whether it is text or not. */
  readonly payload: string | Uint8Array;
  /** 1 at first. */
  readonly deliveries: number;
}

/** What a waiting consumer asks. */
export interface Outlook {
  /** One of the queues has a message to take, or a delayed message of any queue is due. */
  readonly ready: boolean;
  /** When the next delayed message is due, epoch milliseconds. */
  readonly nextDueAt: number | undefined;
}

/** Who consumes, as far as the tables know. */
export interface Census {
  readonly consumers: readonly { readonly id: number; readonly leaseUntil: number; readonly process: string }[];
  readonly hasExpiredQueue: boolean;
}

/**
 * Kombu's two tables and Lovage's beside them, in one SQL dialect. Methods that take a transaction write; the others
 * read outside of any. Instants are epoch milliseconds.
 *
 * A message in Kombu's table is waiting (`visible`), taken by us (hidden, with a claim that has a consumer), or taken by
 * Python (hidden without one), which nobody ever revives. A delayed message is in a table of its own until it is due: a
 * hidden row would fall to those who clean up what Kombu leaves behind.
 */
export interface QueueTables {
  /** Most bytes of a payload; 0: no limit. Known once the tables are there. */
  readonly maxPayloadBytes: number;
  /** Creates what is missing. */
  create(database: SqlDatabase): Promise<void>;
  ensureQueue(transaction: SqlTransaction, name: string): Promise<void>;
  /** With its messages, bindings and expiry. */
  removeQueue(transaction: SqlTransaction, name: string): Promise<void>;
  /** At the end of the queue, which is created if it does not exist. */
  insert(transaction: SqlTransaction, queue: string, payloads: readonly string[]): Promise<void>;
  insertDelayed(transaction: SqlTransaction, queue: string, payload: string, dueAt: number): Promise<void>;
  outlook(database: SqlDatabase, queues: readonly string[], now: number): Promise<Outlook>;
  /** Puts the delayed messages that are due, of all queues, at the end of theirs. */
  releaseDue(transaction: SqlTransaction, now: number): Promise<void>;
  /** The oldest messages of a queue, in order, hidden and recorded as this consumer's. */
  claim(transaction: SqlTransaction, queue: string, max: number, consumer: number): Promise<readonly ClaimedRow[]>;
  /** Deletes those of the messages that this consumer still holds. */
  ack(transaction: SqlTransaction, consumer: number, ids: readonly number[]): Promise<void>;
  /** Makes those visible again that this consumer still holds; they keep their place. */
  requeue(transaction: SqlTransaction, consumer: number, ids: readonly number[]): Promise<void>;
  /** A new consumer; its number is never given again. `process` is what `processIdentity` says. */
  registerConsumer(transaction: SqlTransaction, leaseUntil: number, process: string): Promise<number>;
  /** False when the consumer was declared dead: what it held belongs to others. */
  renewLease(transaction: SqlTransaction, consumer: number, leaseUntil: number): Promise<boolean>;
  isAlive(transaction: SqlTransaction, consumer: number): Promise<boolean>;
  /** Forgets a consumer that holds nothing; one that holds something stays until its lease ends. */
  retireConsumer(transaction: SqlTransaction, consumer: number): Promise<void>;
  /** All consumers, and whether a queue's expiry has passed. */
  census(database: SqlDatabase, now: number): Promise<Census>;
  /**
   * Gives back what these consumers held, and removes queues whose expiry passed. Consumers in `expired` are spared when
   * they renewed their lease meanwhile; those in `dead` cannot. Messages given back.
   */
  reap(transaction: SqlTransaction, now: number, expired: readonly number[], dead: readonly number[]): Promise<number>;
  /** The queue and its bindings go away at that time unless it is moved. */
  setQueueExpiry(transaction: SqlTransaction, name: string, expiresAt: number): Promise<void>;
  /** Those of the queues that have no expiry any more: they were removed meanwhile. */
  renewQueueExpiry(
    transaction: SqlTransaction,
    names: readonly string[],
    expiresAt: number,
  ): Promise<readonly string[]>;
  /** Waiting and delayed messages. */
  size(database: SqlDatabase, queue: string): Promise<number>;
  /** Drops waiting and delayed messages. */
  purge(transaction: SqlTransaction, queue: string): Promise<number>;
  addBinding(transaction: SqlTransaction, exchange: string, binding: StoredBinding): Promise<void>;
  removeBinding(transaction: SqlTransaction, exchange: string, binding: StoredBinding): Promise<void>;
  bindings(database: SqlDatabase, exchange: string): Promise<readonly StoredBinding[]>;
}
