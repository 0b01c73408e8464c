import {
  type AnyTask,
  ConfigError,
  type LogFields,
  type Logger,
  type RequestInfo,
  type RetryOptions,
  type Signature,
  type TaskContext,
} from '@lovage/core';
import { Ignore, MaxRetriesExceededError, Retry, type TaskBody, type TaskRequest } from '@lovage/core/protocol';
import type { Delivery } from '@lovage/core/transport';
import type { Work } from './work.ts';

/** What a context knows of the message. */
export interface ContextWork {
  readonly id: string;
  readonly task: AnyTask;
  readonly request: TaskRequest;
  readonly delivery: Pick<Delivery, 'exchange' | 'routingKey' | 'redelivered'> & {
    readonly message: { readonly properties: Pick<Delivery['message']['properties'], 'priority'> };
  };
}

/** What a context asks of the worker. */
export interface ContextHost<W extends ContextWork = Work> {
  readonly nodeName: string;
  readonly logger: Logger;
  /** Stores a state that is not the last one. */
  storeState(context: RunContext<W>, state: string, meta: unknown): Promise<void>;
}

/** What the task wants to happen after it has thrown `thrown`. */
export interface RetryPlan {
  readonly thrown: unknown;
  readonly options: RetryOptions;
}

export interface Replacement {
  readonly thrown: unknown;
  readonly signature: Signature;
}

const NO_CHILDREN: readonly unknown[] = [];

/** The {@link TaskContext} of one attempt. What few tasks ask for is made when it is asked for. */
export class RunContext<W extends ContextWork = Work> implements TaskContext {
  readonly work: W;
  readonly body: TaskBody;
  readonly #host: ContextHost<W>;
  retryPlan: RetryPlan | undefined;
  replacement: Replacement | undefined;
  /** State writes under way: the last state must not overtake them. */
  writes: Promise<unknown> | undefined;
  #request: RequestInfo | undefined;
  #controller: AbortController | undefined;
  #reason: Error | undefined;
  #log: Logger | undefined;
  #children: unknown[] | undefined;

  constructor(host: ContextHost<W>, work: W, body: TaskBody) {
    this.#host = host;
    this.work = work;
    this.body = body;
  }

  get request(): RequestInfo {
    return (this.#request ??= describeRequest(this.work, this.body, this.#host.nodeName));
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#reason !== undefined) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  /** Why the task was told to end; undefined: it was not. */
  get abortReason(): Error | undefined {
    return this.#reason;
  }

  abort(reason: Error): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.#controller?.abort(reason);
  }

  get log(): Logger {
    return (this.#log ??= taskLogger(this.#host.logger, this.work.task.name, this.work.id));
  }

  get children(): readonly unknown[] {
    return this.#children ?? NO_CHILDREN;
  }

  addChild(tuple: unknown): void {
    (this.#children ??= []).push(tuple);
  }

  retry(options: RetryOptions = {}): never {
    const { task, request } = this.work;
    const limit = options.maxRetries === undefined ? task.options.maxRetries : options.maxRetries;
    if (limit !== null && request.retries + 1 > limit) {
      if (options.cause !== undefined) throw options.cause;
      throw new MaxRetriesExceededError(
        `Can't retry ${task.name}[${request.id}]: ${request.retries} retries were made.`,
      );
    }
    const when = options.eta ?? options.countdown ?? task.options.defaultRetryDelay;
    const thrown = new Retry({ cause: options.cause, when });
    this.retryPlan = { thrown, options };
    throw thrown;
  }

  replace(signature: Signature): never {
    if (signature.options.chord !== undefined) {
      throw new ConfigError('A signature that replaces a task must not be a part of a chord.');
    }
    const thrown = new Ignore(`Replaced by ${signature.task}.`);
    this.replacement = { thrown, signature };
    throw thrown;
  }

  updateState({ state, meta }: { readonly state: string; readonly meta?: unknown }): Promise<void> {
    return this.#host.storeState(this, state, meta ?? null);
  }

  progress(progress: number, note?: string): Promise<void> {
    return this.updateState({ state: 'PROGRESS', meta: { progress, note: note ?? null } });
  }
}

function describeRequest(work: ContextWork, body: TaskBody, hostname: string): RequestInfo {
  const { request, delivery } = work;
  return {
    ...request,
    args: body.args,
    kwargs: body.kwargs,
    deliveryInfo: {
      exchange: delivery.exchange,
      routingKey: delivery.routingKey,
      priority: delivery.message.properties.priority,
      redelivered: delivery.redelivered,
    },
    hostname,
    isEager: false,
  };
}

function taskLogger(logger: Logger, task: string, taskId: string): Logger {
  const own = { task, taskId };
  const line =
    (level: 'debug' | 'info' | 'warn' | 'error') =>
    (fields: LogFields, message: string): void =>
      logger[level]({ ...own, ...fields }, message);
  return { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') };
}
