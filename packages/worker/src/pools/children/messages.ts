import type { DescribedError, TaskRequest } from '@lovage/core/protocol';
import type { HookCall } from '../../request/hooks.ts';
import type { ErrorVerdict } from '../../request/matchers.ts';

/** Where a child finds the app. */
export interface AppModule {
  /** A `file:` URL, a path, or a package. */
  readonly module: string;
  /** Name of the export: the app, or a function that is called with `args` and gives it. Default: as `-A` finds it. */
  readonly export?: string;
  /** Plain values. */
  readonly args?: readonly unknown[];
}

/**
 * Values cross as JSON text in the form of task messages, which keeps every type that a message could have brought and
 * refuses what no result could hold. The rest is cloned.
 */
export type ValueText = string;

/** A result: as text, or cloned where JSON has no form for it. The store decides whether it has one. */
export type ResultValue = { readonly text: ValueText } | { readonly clone: unknown };

export interface InitMessage {
  readonly kind: 'init';
  readonly app: AppModule;
  readonly nodeName: string;
  /** Levels whose lines go somewhere. */
  readonly logs: { readonly debug: boolean; readonly info: boolean };
  /** Whether each end of a task says how much memory is held. */
  readonly reportsMemory: boolean;
}

export interface RunMessage {
  readonly kind: 'run';
  /** Counts the jobs of a pool. */
  readonly job: number;
  readonly task: string;
  readonly request: TaskRequest;
  /** `[args, kwargs, embed]`, as in a message of protocol 2. */
  readonly body: ValueText;
  readonly delivery: {
    readonly exchange: string;
    readonly routingKey: string;
    readonly redelivered: boolean;
    readonly priority: number | undefined;
  };
  readonly usesResult: boolean;
}

/** An abort reason: enough to make the same error again. */
export interface ReasonText {
  readonly code: string;
  readonly message: string;
}

/** What a handler is told: something that the child has kept, or an error that came from elsewhere. */
export type HookValue =
  | { readonly kept: 'result' | 'thrown' | 'cause' | 'reason' }
  | { readonly described: DescribedError };

export type ToChild =
  | InitMessage
  | RunMessage
  | { readonly kind: 'abort'; readonly job: number; readonly reason: ReasonText }
  | { readonly kind: 'hook'; readonly job: number; readonly call: HookCall; readonly value: HookValue }
  /** Nothing more comes for this job. */
  | { readonly kind: 'forget'; readonly job: number }
  | { readonly kind: 'stored'; readonly call: number; readonly error: DescribedError | undefined }
  /** Flush, close and exit. Only sent when nothing runs. */
  | { readonly kind: 'stop' };

/** What was thrown, with all that only the child can tell of it. */
export interface ThrownText {
  readonly described: DescribedError;
  readonly verdict: ErrorVerdict;
}

/** What the function ended with, where it was not a value. */
export type Thrown =
  | (ThrownText & { readonly as: 'error' })
  /** Only the signal's doing. */
  | { readonly as: 'abort' }
  /** By `context.retry()`: `options` without the cause. */
  | { readonly as: 'planned-retry'; readonly options: ValueText; readonly cause: ThrownText | undefined }
  /** A `Retry` of the task's own. `when`: seconds or a `Date`. */
  | { readonly as: 'retry'; readonly when: ValueText; readonly cause: ThrownText | undefined }
  | { readonly as: 'replace'; readonly signature: ValueText; readonly message: string }
  | { readonly as: 'ignore'; readonly message: string }
  | { readonly as: 'reject'; readonly message: string; readonly requeue: boolean };

/** Children that the task has sent since the last message, and what the child weighs. */
interface Report {
  readonly job: number;
  readonly children: readonly ValueText[];
  readonly memoryKiB: number | undefined;
}

export type ToParent =
  /** The code of the pool runs; the app is not loaded yet. */
  | { readonly kind: 'alive' }
  | { readonly kind: 'ready' }
  /** The app could not be loaded. */
  | { readonly kind: 'broken'; readonly message: string }
  | (Report & { readonly kind: 'returned'; readonly value: ResultValue })
  | (Report & { readonly kind: 'threw'; readonly thrown: Thrown })
  | {
      readonly kind: 'state';
      readonly job: number;
      readonly children: readonly ValueText[];
      readonly call: number;
      readonly state: string;
      readonly meta: ValueText;
    }
  | { readonly kind: 'hooked'; readonly job: number; readonly error: DescribedError | undefined }
  | {
      readonly kind: 'log';
      readonly level: 'debug' | 'info' | 'warn' | 'error';
      readonly fields: Readonly<Record<string, unknown>>;
      readonly message: string;
    }
  /** An error that no task could be blamed for: the child is in an unknown state. */
  | { readonly kind: 'stray' };
