import { createRequire } from 'node:module';
import { isAbsolute, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { getHeapStatistics } from 'node:v8';
import { isMainThread } from 'node:worker_threads';
import {
  ConfigError,
  currentTask,
  isLovageApp,
  NotRegistered,
  pickApp,
  silentLogger,
  WorkerLostError,
  type LogFields,
  type Logger,
  type Lovage,
} from '@lovage/core';
import { decodeJson, describeError, encodeJson, RemoteError, type TaskBody } from '@lovage/core/protocol';
import { RunContext, type ContextHost, type ContextWork } from '../../request/context.ts';
import { callHook, hasEndHooks, runTask, type HookSubject } from '../../request/hooks.ts';
import { toStorable } from '../../request/storable.ts';
import { receiveReason, sendFields, sendResult, sendThrown } from './crossing.ts';
import { markChild } from './in-child.ts';
import type { AppModule, HookValue, InitMessage, RunMessage, Thrown, ToChild, ToParent } from './messages.ts';

/** A job of this child. */
interface Job extends HookSubject {
  readonly id: number;
  readonly context: RunContext<ContextWork>;
  readonly usesResult: boolean;
  /** How many of the context's children the parent knows. */
  told: number;
  isOver: boolean;
  result: unknown;
  thrown: unknown;
}

const CLOSE_MS = 2000;

/** Runs tasks for a parent: the other end of `Child`. */
export class Runner implements ContextHost<ContextWork> {
  readonly #post: (message: ToParent) => void;
  readonly #begins: (job: number) => void;
  readonly #exit: () => void;
  readonly #jobs = new Map<number, Job>();
  readonly #byContext = new WeakMap<object, Job>();
  readonly #storing = new Map<number, { resolve: () => void; reject: (error: unknown) => void }>();
  #calls = 0;
  #init!: InitMessage;
  #app!: Lovage;
  logger: Logger = silentLogger;

  /** `begins` notes that a job begins, before anything of it can go wrong. */
  constructor(post: (message: ToParent) => void, begins: (job: number) => void, exit: () => void) {
    this.#post = post;
    this.#begins = begins;
    this.#exit = exit;
  }

  get nodeName(): string {
    return this.#init.nodeName;
  }

  receive(message: ToChild): void {
    switch (message.kind) {
      case 'init':
        void this.#load(message);
        return;
      case 'run':
        this.#run(message);
        return;
      case 'abort':
        this.#jobs.get(message.job)?.context.abort(receiveReason(message.reason));
        return;
      case 'hook':
        void this.#hook(message);
        return;
      case 'forget':
        this.#jobs.delete(message.job);
        return;
      case 'stored': {
        const storing = this.#storing.get(message.call);
        this.#storing.delete(message.call);
        if (message.error === undefined) storing?.resolve();
        else storing?.reject(new RemoteError(message.error));
        return;
      }
      case 'stop':
        void this.#stop();
    }
  }

  storeState(context: RunContext<ContextWork>, state: string, meta: unknown): Promise<void> {
    const job = this.#byContext.get(context);
    if (job === undefined || job.isOver) return Promise.resolve();
    const call = this.#calls++;
    return new Promise((resolve, reject) => {
      const text = encodeJson(meta);
      this.#storing.set(call, { resolve, reject });
      this.#post({ kind: 'state', job: job.id, children: this.#newChildren(job), call, state, meta: text });
    });
  }

  /** What nobody caught. Blamed on the task in whose asynchronous context it happened. */
  uncaught(kind: string, error: unknown): void {
    const context = currentTask.getStore();
    const job = context === undefined ? undefined : this.#byContext.get(context);
    if (job === undefined) {
      this.logger.error({ err: error }, `${kind} outside of any task. This child is replaced.`);
      this.#post({ kind: 'stray' });
      return;
    }
    const fields = { err: error, task: job.task.name, taskId: job.context.work.id };
    const name = `${job.task.name}[${job.context.work.id}]`;
    if (job.isOver) {
      this.logger.error(fields, `${kind} of task ${name} after its end.`);
    } else {
      this.logger.error(fields, `${kind} in task ${name} fails it.`);
      this.#threw(job, error);
    }
  }

  async #load(init: InitMessage): Promise<void> {
    this.#init = init;
    try {
      this.#app = await loadApp(init.app);
      if (this.#app.logger === silentLogger) this.#app.logger = this.#forward();
      this.logger = this.#app.logger;
      await this.#app.importTasks();
      await this.#app.serializers.loadAccepted();
    } catch (error) {
      this.#post({ kind: 'broken', message: error instanceof Error ? (error.stack ?? error.message) : String(error) });
      // The message leaves first.
      setTimeout(() => this.#exit(), 50);
      return;
    }
    this.#app.signals.emit('workerProcessInit', () => ({ pid: process.pid }));
    this.#post({ kind: 'ready' });
  }

  #run(message: RunMessage): void {
    let job: Job;
    try {
      this.#begins(message.job);
      job = this.#prepare(message);
    } catch (error) {
      const verdict = { isExpected: false, isRetried: false };
      const thrown: Thrown = { as: 'error', described: describeError(error), verdict };
      this.#post({ kind: 'threw', job: message.job, thrown, children: [], memoryKiB: undefined });
      return;
    }
    runTask(
      job,
      (value) => this.#returned(job, value),
      (error) => this.#threw(job, error),
    );
  }

  /** Throws for what cannot be run here. */
  #prepare({ job: id, task: name, request, body: text, delivery, usesResult }: RunMessage): Job {
    const task = this.#app.tasks.get(name);
    if (task === undefined) throw new NotRegistered(name);
    const body = decodeBody(text);
    const { exchange, routingKey, redelivered, priority } = delivery;
    const work: ContextWork = {
      id: request.id,
      task,
      request,
      delivery: {
        exchange,
        routingKey,
        redelivered,
        message: { properties: priority === undefined ? {} : { priority } },
      },
    };
    const context = new RunContext<ContextWork>(this, work, body);
    const job: Job = {
      id,
      task,
      context,
      args: body.args,
      kwargs: body.kwargs,
      usesResult,
      told: 0,
      isOver: false,
      result: undefined,
      thrown: undefined,
    };
    this.#jobs.set(id, job);
    this.#byContext.set(context, job);
    return job;
  }

  #returned(job: Job, value: unknown): void {
    if (job.isOver) return;
    const { told } = job;
    try {
      job.result = toStorable(value);
      this.#post({ kind: 'returned', ...this.#report(job), value: sendResult(job.result) });
    } catch (error) {
      // A process takes less than can be cloned, so this may come from either.
      job.told = told;
      if (job.usesResult) {
        this.#threw(job, error);
        return;
      }
      // Where nobody looks at the result it does no harm.
      this.#post({ kind: 'returned', ...this.#report(job), value: { text: 'null' } });
    }
    this.#end(job);
  }

  #threw(job: Job, thrown: unknown): void {
    if (job.isOver) return;
    job.thrown = thrown;
    const sent = sendThrown(job.task, job.context, thrown);
    this.#end(job);
    this.#post({ kind: 'threw', ...this.#report(job), thrown: sent });
  }

  #end(job: Job): void {
    job.isOver = true;
    if (!hasEndHooks(job.task)) this.#jobs.delete(job.id);
  }

  #report(job: Job): { job: number; children: readonly string[]; memoryKiB: number | undefined } {
    const memoryKiB = this.#init.reportsMemory ? heldKiB() : undefined;
    return { job: job.id, children: this.#newChildren(job), memoryKiB };
  }

  #newChildren(job: Job): readonly string[] {
    const { children } = job.context;
    if (children.length === job.told) return [];
    const fresh = children.slice(job.told).map((child) => encodeJson(child));
    job.told = children.length;
    return fresh;
  }

  async #hook({ job: id, call, value }: Extract<ToChild, { kind: 'hook' }>): Promise<void> {
    const job = this.#jobs.get(id);
    let error;
    try {
      if (job === undefined) throw new WorkerLostError('The child does not know the task whose handler it is to call.');
      await callHook(job, call, keptValue(job, value));
    } catch (thrown) {
      error = describeError(thrown);
    }
    this.#post({ kind: 'hooked', job: id, error });
  }

  async #stop(): Promise<void> {
    this.#app?.signals.emit('workerProcessShutdown', () => ({ pid: process.pid }));
    const late = new Promise<void>((resolve) => setTimeout(resolve, CLOSE_MS).unref());
    await Promise.race([this.#app?.close().catch(() => undefined), late]);
    this.#exit();
  }

  /** Lines go where the worker's go. */
  #forward(): Logger {
    const { debug, info } = this.#init.logs;
    const enabled: Readonly<Record<string, boolean>> = { debug, info };
    const line =
      (level: 'debug' | 'info' | 'warn' | 'error') =>
      (fields: LogFields, message: string): void => {
        if (enabled[level] !== false) this.#post({ kind: 'log', level, fields: sendFields(fields), message });
      };
    const isLevelEnabled = (level: string): boolean => enabled[level] ?? true;
    const logger = { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') };
    return Object.assign(logger, { isLevelEnabled });
  }
}

async function loadApp({ module, export: name, args = [] }: AppModule): Promise<Lovage> {
  markChild();
  const url = locate(module);
  const exported = (await import(url)) as Record<string, unknown>;
  const chosen = name === undefined ? undefined : exported[name];
  if (typeof chosen === 'function' && !isLovageApp(chosen)) {
    const app = await (chosen as (...given: readonly unknown[]) => unknown)(...args);
    if (isLovageApp(app)) return app;
    throw new ConfigError(`The function "${name}" of ${module} gives no Lovage app.`);
  }
  const app = pickApp(exported, name, module);
  // Its transports are installed beside it.
  app.resolveFrom ??= url;
  return app;
}

function locate(module: string): string {
  if (module.startsWith('file:')) return module;
  if (isAbsolute(module) || module.startsWith('.')) return pathToFileURL(resolve(module)).href;
  return pathToFileURL(createRequire(join(process.cwd(), 'package.json')).resolve(module)).href;
}

function decodeBody(text: string): TaskBody {
  const [args, kwargs, embed] = decodeJson(text) as [
    args: readonly unknown[] | null,
    kwargs: Readonly<Record<string, unknown>> | null,
    embed: { readonly [K in keyof TaskBody]?: TaskBody[K] | null } | null,
  ];
  return {
    args: args ?? [],
    kwargs: kwargs ?? {},
    callbacks: embed?.callbacks ?? [],
    errbacks: embed?.errbacks ?? [],
    chain: embed?.chain ?? [],
    chord: embed?.chord ?? undefined,
  };
}

function keptValue(job: Job, value: HookValue): unknown {
  if (!('kept' in value)) return new RemoteError(value.described);
  switch (value.kept) {
    case 'result':
      return job.result;
    case 'thrown':
      return job.thrown;
    case 'reason':
      return job.context.abortReason;
    case 'cause':
      return job.context.retryPlan?.options.cause ?? (job.thrown as { cause?: unknown }).cause;
  }
}

/** A process: resident memory. A thread: its heap and what hangs on it. */
function heldKiB(): number {
  if (isMainThread) return Math.round(process.memoryUsage.rss() / 1024);
  const { total_physical_size: heap, external_memory: external } = getHeapStatistics();
  return Math.round((heap + external) / 1024);
}
