/** A node's answer that says whether a command was carried out. */
export type OkOrError<T = string> = { readonly ok: T } | { readonly error: string };

/** Answers by node name. A node whose handler failed, or that does not know the command, answers `{ error }`. */
export type Replies<T> = Readonly<Record<string, T>>;

/** A task as a worker holds it. Source: celery/worker/request.py, Request.info. */
export interface RequestReply {
  readonly id: string;
  readonly name: string;
  /** With `safe` display text. */
  readonly args: readonly unknown[] | string;
  readonly kwargs: Readonly<Record<string, unknown>> | string;
  readonly type: string;
  readonly hostname: string;
  /** Epoch seconds; null: it has not started. */
  readonly time_start: number | null;
  readonly acknowledged: boolean;
  readonly delivery_info: {
    readonly exchange: string;
    readonly routing_key: string;
    readonly priority: number | null;
    readonly redelivered: boolean | null;
  };
  readonly worker_pid: number | null;
}

/** A task that waits for its time. */
export interface ScheduledReply {
  /** ISO 8601. */
  readonly eta: string | null;
  readonly priority: number;
  readonly request: RequestReply;
}

/** A queue that a worker consumes from. Source: kombu/entity.py, Queue.attrs. */
export interface QueueReply {
  readonly name: string;
  readonly exchange: {
    readonly name: string;
    readonly type: string;
    readonly arguments: Readonly<Record<string, unknown>> | null;
    readonly durable: boolean;
    readonly passive: boolean;
    readonly auto_delete: boolean;
    readonly delivery_mode: number | null;
    readonly no_declare: boolean;
  };
  readonly routing_key: string;
  readonly queue_arguments: Readonly<Record<string, unknown>> | null;
  readonly binding_arguments: Readonly<Record<string, unknown>> | null;
  readonly consumer_arguments: Readonly<Record<string, unknown>> | null;
  readonly durable: boolean;
  readonly exclusive: boolean;
  readonly auto_delete: boolean;
  readonly no_ack: boolean;
  readonly alias: string | null;
  readonly bindings: readonly unknown[];
  readonly no_declare: boolean | null;
  readonly expires: number | null;
  readonly message_ttl: number | null;
  readonly max_length: number | null;
  readonly max_length_bytes: number | null;
  readonly max_priority: number | null;
}

/** Source: celery/worker/worker.py, WorkController.stats. */
export interface StatsReply {
  /** Tasks accepted since the start, by name. */
  readonly total: Readonly<Record<string, number>>;
  readonly pid: number;
  /** The logical clock, as text. */
  readonly clock: string;
  /** Seconds. */
  readonly uptime: number;
  readonly pool: Readonly<Record<string, unknown>>;
  readonly broker: Readonly<Record<string, unknown>>;
  readonly prefetch_count: number;
  readonly rusage: Readonly<Record<string, number>> | string;
  readonly autoscaler?: Readonly<Record<string, number>>;
}

/** What a worker tells one that starts. Source: celery/worker/control.py, hello. */
export interface HelloReply {
  readonly clock: number;
  /** By id: monotonic seconds of the revoke, and the id. */
  readonly revoked: Readonly<Record<string, readonly [number, string]>>;
}
