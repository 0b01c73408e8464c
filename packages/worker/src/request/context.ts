import { createHash } from 'node:crypto';
import {
  type AnyTask,
  ConfigError,
  UnsupportedError,
  type AsyncResult,
  type LogFields,
  type Logger,
  type Lovage,
  type RequestInfo,
  type RetryOptions,
  type Signature,
  type SomeSignature,
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
  readonly signature: SomeSignature;
}

const NO_CHILDREN: readonly unknown[] = [];

/** The {@link TaskContext} of one attempt. What few tasks ask for is made when it is asked for. */
export class RunContext<W extends ContextWork = Work> implements TaskContext {
  readonly work: W;
  readonly body: TaskBody;
  /** Whose task this is a run of. */
  readonly host: ContextHost<W>;
  retryPlan: RetryPlan | undefined;
  replacement: Replacement | undefined;
  /** State writes under way: the last state must not overtake them. */
  writes: Promise<unknown> | undefined;
  #request: RequestInfo | undefined;
  #controller: AbortController | undefined;
  #reason: Error | undefined;
  #onAbort: ((reason: Error) => void) | undefined;
  #log: Logger | undefined;
  #children: unknown[] | undefined;
  #added = 0;

  constructor(host: ContextHost<W>, work: W, body: TaskBody) {
    this.host = host;
    this.work = work;
    this.body = body;
  }

  get app(): Lovage {
    return this.work.task.app;
  }

  get request(): RequestInfo {
    return (this.#request ??= describeRequest(this.work, this.body, this.host.nodeName));
  }

  get lineage(): TaskRequest {
    return this.work.request;
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
    this.#onAbort?.(reason);
  }

  /** Called once with the reason, at once where there is one. For the one who runs it, without the price of a signal. */
  set onAbort(listener: ((reason: Error) => void) | undefined) {
    this.#onAbort = listener;
    if (this.#reason !== undefined) listener?.(this.#reason);
  }

  get log(): Logger {
    return (this.#log ??= taskLogger(this.host.logger, this.work.task.name, this.work.id));
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

  replace(signature: SomeSignature): never {
    if (signature.options.chord !== undefined) {
      throw new ConfigError('A signature that replaces a task must not be a part of a chord.');
    }
    const thrown = new Ignore(`Replaced by ${signature.task}.`);
    this.replacement = { thrown, signature };
    throw thrown;
  }

  addToChord(signature: SomeSignature, options: { readonly lazy: true }): Promise<Signature>;
  addToChord(signature: SomeSignature, options?: { readonly lazy?: false }): Promise<AsyncResult>;
  async addToChord(
    signature: SomeSignature,
    { lazy = false }: { readonly lazy?: boolean } = {},
  ): Promise<Signature | AsyncResult> {
    const { id, group, groupIndex, rootId } = this.work.request;
    const { chord } = this.body;
    if (chord === undefined || group === undefined) {
      throw new ConfigError('addToChord() needs a task that is a part of a chord, and this one is of none.');
    }
    const { chords } = await this.work.task.app.requireBackend('add to a chord');
    if (chords === undefined) {
      throw new UnsupportedError('This result store does not count the parts of chords, so none can be added.');
    }
    // The same ids when this task is run again: what was added by then is not added twice.
    const taskId = derivedId(id, `chord-part-${this.#added++}`);
    const own = { taskId, groupId: group, chord, rootId, ...(groupIndex === undefined ? {} : { groupIndex }) };
    const part = signature.set(own) as Signature;
    await chords.extend(group, taskId);
    return lazy ? part : part.applyAsync();
  }

  updateState({ state, meta }: { readonly state: string; readonly meta?: unknown }): Promise<void> {
    return this.host.storeState(this, state, meta ?? null);
  }

  progress(progress: number, note?: string): Promise<void> {
    return this.updateState({ state: 'PROGRESS', meta: { progress, note: note ?? null } });
  }
}

/** A task id that depends on nothing but these. In the form of a uuid5. */
function derivedId(id: string, name: string): string {
  const hex = createHash('sha1').update(`${id}\0${name}`).digest('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-5${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
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
