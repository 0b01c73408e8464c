import {
  fromSignatureOptions,
  toSignatureOptions,
  type ApplyOptions,
  type SignatureLike,
} from '../app/option-names.ts';
import type { Lovage } from '../app/lovage.ts';
import type { CallArguments } from '../app/task-types.ts';
import type { AsyncResult } from '../result/async-result.ts';
import { newTaskId } from '../internal/ids.ts';
import type { SignatureDict } from './signature-dict.ts';

type Kwargs = Readonly<Record<string, unknown>>;

export interface SignatureFields {
  readonly task: string;
  readonly args: readonly unknown[];
  readonly kwargs: Kwargs;
  readonly options: ApplyOptions;
  readonly immutable: boolean;
  readonly subtaskType?: SignatureDict['subtask_type'];
}

/** Options that a stored signature keeps against those of the call. Source: celery/canvas.py, Signature._merge. */
const KEPT_OPTIONS = ['groupId', 'stampedHeaders', 'stamps'] as const;

/**
 * A call that is not made yet: a task's name with some arguments and options. It can be sent, stored and given to
 * another task as its callback. Signatures never change: `set`, `link` and the like give a new one.
 *
 * `M` is what it still asks for, `R` what it will return. Source: celery/canvas.py, Signature.
 */
export class Signature<M = unknown, R = unknown> {
  readonly app: Lovage;
  readonly task: string;
  readonly args: readonly unknown[];
  readonly kwargs: Kwargs;
  readonly options: ApplyOptions;
  /** Takes neither arguments nor the result of what came before. */
  readonly immutable: boolean;
  readonly subtaskType: SignatureDict['subtask_type'];

  constructor(app: Lovage, { task, args, kwargs, options, immutable, subtaskType = null }: SignatureFields) {
    this.app = app;
    this.task = task;
    this.args = args;
    this.kwargs = kwargs;
    this.options = options;
    this.immutable = immutable;
    this.subtaskType = subtaskType;
  }

  /** Reads a signature as it travels; unknown options are kept. */
  static fromJSON(app: Lovage, dict: SignatureDict): Signature {
    return new Signature(app, {
      task: dict.task,
      args: dict.args ?? [],
      kwargs: dict.kwargs ?? {},
      options: fromSignatureOptions(dict.options ?? {}),
      immutable: dict.immutable ?? false,
      subtaskType: dict.subtask_type ?? null,
    });
  }

  /** Sends it with what it still asked for. */
  delay(...missing: CallArguments<M>): Promise<AsyncResult<R>> {
    const [first] = missing as unknown as [unknown];
    // A keyword signature is asked for one object; an array there is a positional argument that happens to be one.
    const keyword = this.app.tasks.get(this.task)?.declared.input !== undefined;
    return keyword
      ? this.#send(this.merge([], (first ?? {}) as Kwargs))
      : this.#send(this.merge(missing as unknown as readonly unknown[]));
  }

  /** Sends it. `args` come before the stored ones; `options` override the stored ones. */
  applyAsync(args: readonly unknown[] = [], options: ApplyOptions = {}): Promise<AsyncResult<R>> {
    return this.#send(this.merge(args, {}, options));
  }

  /** A signature with these arguments put before, keyword arguments and options put over its own. */
  merge(args: readonly unknown[] = [], kwargs: Kwargs = {}, options: ApplyOptions = {}): Signature<unknown, R> {
    const given = Object.fromEntries(
      Object.entries(options).filter(([, value]) => value !== undefined && value !== null),
    );
    const merged: Record<string, unknown> = { ...this.options, ...given };
    // They say the same thing: the later one takes the place of the earlier one.
    if (given.countdown !== undefined && given.eta === undefined) delete merged.eta;
    if (given.eta !== undefined && given.countdown === undefined) delete merged.countdown;
    for (const key of KEPT_OPTIONS) if (this.options[key] !== undefined) merged[key] = this.options[key];
    return new Signature(this.app, {
      task: this.task,
      args: this.immutable || args.length === 0 ? this.args : [...args, ...this.args],
      kwargs: this.immutable ? this.kwargs : { ...this.kwargs, ...kwargs },
      options: merged as ApplyOptions,
      immutable: this.immutable,
      subtaskType: this.subtaskType,
    });
  }

  /** With these options over its own: `sig.set({ countdown: 10, queue: 'slow' })`. */
  set(options: ApplyOptions): Signature<M, R> {
    return this.merge([], {}, options) as Signature<M, R>;
  }

  /** With one more callback, run with the result when the task has succeeded. */
  link(callback: SignatureLike): Signature<M, R> {
    return this.set({ link: [...asList(this.options.link), callback] });
  }

  /** With one more errback, run when the task has failed. */
  linkError(errback: SignatureLike): Signature<M, R> {
    return this.set({ linkError: [...asList(this.options.linkError), errback] });
  }

  /** With a task id, so that its result can be named before it is sent; an id that is there is kept. */
  freeze(taskId?: string): Signature<M, R> {
    return this.set({
      taskId: this.options.taskId ?? taskId ?? newTaskId(),
      replyTo: this.options.replyTo ?? this.app.oid,
    });
  }

  /** As it travels. Source: celery message protocol, signatures. */
  toJSON(): SignatureDict {
    return {
      task: this.task,
      args: this.args,
      kwargs: this.kwargs,
      options: toSignatureOptions(this.options),
      subtask_type: this.subtaskType,
      immutable: this.immutable,
    };
  }

  #send(signature: Signature<unknown, R>): Promise<AsyncResult<R>> {
    const { task, args, kwargs, options } = signature;
    return this.app.producer.send<R>(task, args, kwargs, options, this.app.tasks.get(task));
  }
}

function asList<T>(value: T | readonly T[] | undefined): readonly T[] {
  return value === undefined ? [] : Array.isArray(value) ? (value as readonly T[]) : [value as T];
}
