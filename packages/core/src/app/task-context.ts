import type { Logger } from '../internal/log.ts';
import type { TaskRequest } from '../protocol/task-message.ts';
import type { SomeSignature } from '../canvas/canvas-types.ts';
import type { Signature } from '../canvas/signature.ts';
import type { Lovage } from './lovage.ts';
import type { AsyncResult } from '../result/async-result.ts';

/** Where a task message came from. Source: celery/app/task.py, Context.delivery_info. */
export interface DeliveryInfo {
  readonly exchange: string;
  readonly routingKey: string;
  readonly priority: number | undefined;
  readonly redelivered: boolean;
}

/** What a running task knows of the message that started it. */
export interface RequestInfo extends TaskRequest {
  readonly args: readonly unknown[];
  readonly kwargs: Readonly<Record<string, unknown>>;
  readonly deliveryInfo: DeliveryInfo;
  /** Node name of the worker that runs it. */
  readonly hostname: string | undefined;
  /** True when run by `apply()` or `taskAlwaysEager`. */
  readonly isEager: boolean;
}

/** Options of {@link TaskContext.retry}; what is not given stays as it was in the request. */
export interface RetryOptions {
  /** The reason. Thrown in place of `MaxRetriesExceededError` when no retry is left, and kept as the RETRY state's result. */
  readonly cause?: unknown;
  /** Seconds until the next attempt. Default: the task's `defaultRetryDelay` (180). */
  readonly countdown?: number;
  readonly eta?: Date;
  /** Default: the task's `maxRetries`. null: for ever. */
  readonly maxRetries?: number | null;
  /** New arguments for the next attempt. */
  readonly args?: readonly unknown[];
  readonly kwargs?: Readonly<Record<string, unknown>>;
  readonly queue?: string;
  readonly priority?: number;
  readonly expires?: number | Date;
  readonly timeLimit?: number;
  readonly softTimeLimit?: number;
}

/** The first argument of a task with `bind: true`, and what `currentTask.getStore()` gives inside any task. */
export interface TaskContext {
  /** The app that runs the task. */
  readonly app: Lovage;
  readonly request: RequestInfo;
  /** What calls made inside the task inherit: of {@link request}, where that takes time to make. */
  readonly lineage?: Pick<RequestInfo, 'id' | 'rootId' | 'priority'>;
  /**
   * Fires on the soft time limit, on revoke with terminate, when the message's lease is lost, and when the worker
   * stops without waiting longer. Its `reason` is the error that says which.
   */
  readonly signal: AbortSignal;
  /** Lines carry the task's name and id. */
  readonly log: Logger;
  /**
   * Ends this attempt and asks for another: throws `Retry`, or, when no retry is left, the cause or
   * `MaxRetriesExceededError`. The worker publishes the new message, with the same id, before it settles this one.
   */
  retry(options?: RetryOptions): never;
  /**
   * Ends this task and runs `signature` in its place, under the same id: a task, chain, group or chord. What was to
   * follow this task follows it. Throws `Ignore`'s kin; never returns.
   */
  replace(signature: SomeSignature): never;
  /**
   * Adds a part to the chord that this task is a part of: its result comes after this task's in what the body is given.
   * `lazy` only prepares it and leaves the sending to you. Rejects with `ConfigError` outside of a chord, with
   * `UnsupportedError` on a store that does not count parts. Source: celery/app/task.py, add_to_chord.
   */
  addToChord(signature: SomeSignature, options: { readonly lazy: true }): Promise<Signature>;
  addToChord(signature: SomeSignature, options?: { readonly lazy?: false }): Promise<AsyncResult>;
  /** Stores a state of your own (upper-case text) with `meta` as its result. Readable from Python. */
  updateState(update: { readonly state: string; readonly meta?: unknown }): Promise<void>;
  /** Stores `PROGRESS` with `{ progress, note }`; `progress` goes from 0 to 1. */
  progress(progress: number, note?: string): Promise<void>;
  /** Notes a result as a child of this task; `delay` and `applyAsync` do it by themselves. */
  addChild(tuple: unknown): void;
}
