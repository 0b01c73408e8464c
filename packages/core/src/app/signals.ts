import type { Logger } from '../internal/log.ts';
import type { ExceptionInfo } from '../protocol/task-meta.ts';
import type { TaskRequest } from '../protocol/task-message.ts';
import type { MessageProperties } from '../transport/message.ts';
import type { Lovage } from './lovage.ts';
import type { AnyTask } from './task.ts';

/** A task message on its way out. `headers` may be changed before it is sent: what is put there travels. */
export interface PublishSignal {
  readonly task: string;
  readonly id: string;
  readonly args: readonly unknown[];
  readonly kwargs: Readonly<Record<string, unknown>>;
  readonly headers: Record<string, unknown>;
  readonly properties: MessageProperties;
  readonly exchange: string;
  readonly routingKey: string;
}

/** One run of a task. */
export interface RunSignal {
  readonly task: AnyTask;
  readonly taskId: string;
  readonly request: TaskRequest;
  readonly args: readonly unknown[];
  readonly kwargs: Readonly<Record<string, unknown>>;
}

/** The worker that a signal comes from. */
export interface WorkerSignal {
  readonly worker: { readonly app: Lovage; readonly nodeName: string };
}

/** Every signal with what its handlers are told. Source: celery/signals.py. */
export interface SignalMap {
  /** Before a task message is published, in the process that publishes. */
  readonly beforeTaskPublish: PublishSignal;
  /** The broker has it. */
  readonly afterTaskPublish: PublishSignal;
  /** A worker took the message in. */
  readonly taskReceived: { readonly task: AnyTask; readonly taskId: string; readonly request: TaskRequest };
  /** The task is about to run. */
  readonly taskPrerun: RunSignal;
  /** The run is over, whatever came of it: `state` is SUCCESS, FAILURE, RETRY, REVOKED, REJECTED or IGNORED. */
  readonly taskPostrun: RunSignal & { readonly state: string; readonly value: unknown };
  readonly taskSuccess: RunSignal & { readonly result: unknown; readonly seconds: number };
  readonly taskFailure: RunSignal & {
    readonly error: unknown;
    readonly exception: ExceptionInfo;
    readonly traceback: string | null;
    readonly seconds: number;
  };
  /** The next attempt is in the broker. */
  readonly taskRetry: RunSignal & { readonly cause: unknown };
  /** It did not run, or was ended. */
  readonly taskRevoked: {
    readonly task: AnyTask;
    readonly taskId: string;
    readonly request: TaskRequest;
    readonly terminated: boolean;
    readonly expired: boolean;
    /** With `terminated`: the signal that its child gets. */
    readonly signum: number | null;
  };
  /** The task rejected its message. */
  readonly taskRejected: RunSignal & { readonly requeue: boolean };
  /** A message of a task that the worker does not know. */
  readonly taskUnknown: { readonly name: string; readonly taskId: string; readonly error: Error };
  /** What follows a task failed by a defect of the worker, not of the task. */
  readonly taskInternalError: RunSignal & { readonly error: unknown };
  /** A worker was made and has not connected yet: Celery's `worker_init` and `celeryd_after_setup`. */
  readonly workerInit: WorkerSignal;
  /** It takes messages. Once more after each reconnection. */
  readonly workerReady: WorkerSignal;
  /** It was told to stop. */
  readonly workerShuttingDown: WorkerSignal & { readonly how: 'warm' | 'soft' | 'cold' };
  readonly workerShutdown: WorkerSignal;
  readonly heartbeatSent: WorkerSignal;
  /** In a child of the pools `processes` and `threads`: it has loaded the app and will run tasks; it was told to exit. */
  readonly workerProcessInit: { readonly pid: number };
  readonly workerProcessShutdown: { readonly pid: number };
  /** Beat starts, in a process of its own or inside of a worker. */
  readonly beatInit: { readonly beat: unknown };
  readonly beatEmbeddedInit: { readonly beat: unknown };
  /** The command line sets up its log. With a handler here it does not: the handler puts its logger into `app.logger`. */
  readonly setupLogging: { readonly app: Lovage; readonly level: string; readonly logfile: string | undefined };
}

export type SignalName = keyof SignalMap;

/** What it returns or throws changes nothing; a promise is not waited for. */
export type SignalHandler<N extends SignalName> = (signal: SignalMap[N]) => unknown;

/** One call of {@link Signals.on}: a handler may be there twice. */
interface Registration {
  readonly handler: (signal: never) => unknown;
}

/**
 * What happens in an app, for whoever wants to know: `app.on('taskFailure', ({ task, error }) => ...)`. A handler that
 * fails is logged and hurts nobody. While nobody listens nothing is made for it.
 */
export class Signals {
  readonly #logger: () => Logger;
  readonly #watchers = new Set<() => void>();
  readonly #handlers = new Map<SignalName, readonly Registration[]>();

  constructor(logger: () => Logger) {
    this.#logger = logger;
  }

  /** Calls `handler` from now on, until the returned function is called. Handlers are called in this order. */
  on<N extends SignalName>(name: N, handler: SignalHandler<N>): () => void {
    const registration: Registration = { handler: handler as Registration['handler'] };
    this.#handlers.set(name, [...(this.#handlers.get(name) ?? []), registration]);
    for (const changed of this.#watchers) changed();
    return () => {
      const rest = (this.#handlers.get(name) ?? []).filter((other) => other !== registration);
      if (rest.length > 0) this.#handlers.set(name, rest);
      else this.#handlers.delete(name);
      for (const changed of this.#watchers) changed();
    };
  }

  /** Calls `listener` whenever a signal has got its first handler or lost its last one, until the returned function is called. */
  watch(listener: () => void): () => void {
    this.#watchers.add(listener);
    return () => this.#watchers.delete(listener);
  }

  has(name: SignalName): boolean {
    return this.#handlers.has(name);
  }

  /** `make` is called only when somebody listens. */
  emit<N extends SignalName>(name: N, make: () => SignalMap[N]): void {
    const handlers = this.#handlers.get(name);
    if (handlers === undefined) return;
    const signal = make();
    for (const { handler } of handlers) {
      try {
        const outcome = (handler as (signal: SignalMap[N]) => unknown)(signal);
        if (outcome instanceof Promise) outcome.catch((error: unknown) => this.#failed(name, error));
      } catch (error) {
        this.#failed(name, error);
      }
    }
  }

  #failed(signal: SignalName, error: unknown): void {
    this.#logger().error({ err: error, signal }, `A handler of the signal ${signal} failed.`);
  }
}
