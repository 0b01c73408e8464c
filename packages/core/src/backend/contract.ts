import type { Logger } from '../internal/log.ts';
import type { TaskMeta } from '../protocol/task-meta.ts';
import type { Connection } from '../transport/contract.ts';
import type { BackendUrl } from '../transport/url.ts';

/** One kind of result store: a value to pass around. */
export interface Backend {
  /** URL schemes, lower case, without `://`: `['db+sqlite']`. */
  readonly schemes: readonly string[];
  /** Opens the store. Rejects with `ConnectError`, `AuthError` or `ConfigError`. */
  open(url: BackendUrl, options: BackendOptions): Promise<ResultBackend>;
}

export interface BackendOptions {
  /** Seconds that a result is kept; undefined: for ever. Celery's `result_expires`, default 86400. */
  readonly expiresSeconds: number | undefined;
  /** Celery's `result_backend_transport_options`. */
  readonly transportOptions?: Readonly<Record<string, unknown>>;
  /** Every setting by its camelCase name, for stores with settings of their own (`databaseTableNames` ...). */
  readonly settings: Readonly<Record<string, unknown>>;
  /** Encodes and decodes values with `result_serializer`; the accept list holds on reading. */
  readonly codec: ResultCodec;
  /** This process's reply address: the `reply_to` of the messages it sends. */
  readonly oid: string;
  /** A broker connection, for stores that live in the broker (`rpc://`). Never closed by the backend. */
  readonly brokerConnection: () => Promise<Connection>;
  readonly logger?: Logger;
}

export interface ResultCodec {
  readonly contentType: string;
  readonly contentEncoding: string;
  /** `binary` encodings give bytes, others text. Throws `EncodeError`. */
  encode(value: unknown): string | Uint8Array;
  /** Throws `DecodeError` or `ContentDisallowedError`. */
  decode(data: string | Uint8Array): unknown;
}

/** One state to keep, and where `rpc://` sends it. */
export interface ResultWrite {
  readonly meta: TaskMeta;
  /** When the task came into this state, epoch milliseconds. Default: now. */
  readonly at?: number;
  /** The request's `reply_to`; undefined: nobody waits for a reply. */
  readonly replyTo?: string;
  /** The request's `correlation_id`. */
  readonly correlationId?: string;
}

/**
 * Where states and results of tasks are kept. Layouts are Celery's (Source: celery/backends/).
 *
 * It heals itself: a lost link is reopened by the next call. Every call has a deadline (10 s by default) and rejects
 * with `ConnectionLostError`, `ConnectError` or `TimeoutError`; it never hangs.
 */
export interface ResultBackend extends AsyncDisposable {
  readonly capabilities: BackendCapabilities;
  /** Called before tasks are published whose results will be asked for here: an rpc client opens its reply queue. */
  expect(taskIds: readonly string[]): Promise<void>;
  /**
   * Resolves when every state is kept. A stored SUCCESS is never overwritten, and a FAILURE or REVOKED not by a state that
   * the task was in before, as a write may have that was given up with its link and arrives after all. Writes of one tick
   * may share a round trip. A write that fails for its own sake (too large) rejects; the others of its batch are still
   * tried.
   */
  store(writes: readonly ResultWrite[]): Promise<void>;
  /** In the order asked; undefined where nothing is kept. What cannot be read is a FAILURE with a `DecodeError`. */
  load(taskIds: readonly string[]): Promise<readonly (TaskMeta | undefined)[]>;
  /**
   * Calls `listener` with each state stored for these ids from the moment the promise resolves, until unsubscribed.
   * One connection for all subscriptions of a process; after a loss it is opened again and what was missed is read.
   * Where the store cannot notify, one adaptive poll shared by all subscriptions.
   */
  subscribe(taskIds: readonly string[], listener: (meta: TaskMeta) => void): Promise<Subscription>;
  forget(taskIds: readonly string[]): Promise<void>;
  /** Celery's saved group: `(groupId, [taskId, ...])`, nested by `AsyncResult.as_tuple`. `UnsupportedError` for rpc. */
  saveGroup(groupId: string, tuple: unknown): Promise<void>;
  loadGroup(groupId: string): Promise<unknown>;
  forgetGroup(groupId: string): Promise<void>;
  /** Absent where the store cannot compare and swap. */
  readonly documents?: DocumentStore;
  /** Absent where the store cannot count a chord's parts: then `celery.chord_unlock` looks after its chords. */
  readonly chords?: ChordStore;
  /** Removes what has expired, where the store does not do it by itself. */
  cleanup(): Promise<void>;
  /** Flushes and disconnects. Never rejects; twice is fine. */
  close(): Promise<void>;
}

/**
 * Small texts kept beside the results, each written only over the version that was read: what several processes agree by,
 * such as which beat leads.
 */
export interface DocumentStore {
  read(name: string): Promise<StoredDocument | undefined>;
  /**
   * Writes over this version, or, for undefined, only where there is nothing. Gives the new version; undefined when
   * somebody else was first. `ttlSeconds`: how long it is kept at least; default for ever.
   */
  write(
    name: string,
    text: string,
    over: string | undefined,
    options?: { readonly ttlSeconds?: number },
  ): Promise<string | undefined>;
}

export interface StoredDocument {
  readonly text: string;
  /** Another one after each write. */
  readonly version: string;
}

/**
 * Chords on a store that counts their parts itself, by task id: a part that comes twice counts once. Every worker that
 * ends a part tells it, and the one whose part completes the chord sends the body.
 */
export interface ChordStore {
  /**
   * Parts are read from where results are kept, as Celery's counting stores do it: the header is saved as a group before
   * the chord begins, and what a part returned is kept even where results are ignored. Default: parts are kept apart.
   */
  readonly joinsResults?: boolean;
  /** Before the first part is published: how many there will be. */
  begin(groupId: string, size: number): Promise<void>;
  /**
   * Notes a part. Gives all parts, in the order of their index, when this one makes the chord complete and its body is
   * the caller's to send; undefined otherwise. Called again with the same part before {@link finish} it gives them
   * again: whoever died in between is made up for by the redelivery of its message.
   */
  part(groupId: string, part: ChordPart): Promise<readonly ChordPart[] | undefined>;
  /** The body is sent, or will never be: nothing that comes later sends it again. */
  finish(groupId: string): Promise<void>;
  /** One more part, `taskId`, than the chord began with; adding it twice counts once. */
  extend(groupId: string, taskId: string): Promise<void>;
}

export interface ChordPart {
  readonly taskId: string;
  /** undefined: after all others. */
  readonly index: number | undefined;
  /** SUCCESS, FAILURE or REVOKED. */
  readonly state: string;
  /** The value, or the exception as it is stored. */
  readonly result: unknown;
}

export interface Subscription {
  unsubscribe(): void;
}

export interface BackendCapabilities {
  /** A state change reaches a waiter without polling. */
  readonly notifies: boolean;
  /** Any process can read a result, any number of times. False for rpc. */
  readonly shared: boolean;
  /** Removes expired results by itself. */
  readonly autoExpires: boolean;
}
