import type { ApplyOptions, SignatureLike } from '../app/option-names.ts';
import type { Lovage } from '../app/lovage.ts';
import type { CallArguments } from '../app/task-types.ts';
import type { AsyncResult } from '../result/async-result.ts';
import type { Accepts, ChainOf, SomeSignature } from './canvas-types.ts';
import {
  bodyOf,
  copyOf,
  mergeFields,
  partsOf,
  readFields,
  withErrback,
  withLink,
  writeFields,
  type Kwargs,
  type SignatureFields,
} from './fields.ts';
import { freeze } from './freeze.ts';
import { pipe } from './pipe.ts';
import type { SignatureDict } from './signature-dict.ts';
import { stampFields, type StampingVisitor, type StampOptions } from './stamping.ts';

export type { SignatureFields } from './fields.ts';

/**
 * A call that is not made yet: a task's name with some arguments and options, or several of them as a chain, a group
 * or a chord. It can be sent, stored and given to another task as its callback. Signatures never change: `set`, `link`
 * and the like give a new one.
 *
 * `M` is what it still asks for, `R` what it will return, `Out` the result that sending it gives.
 * Source: celery/canvas.py, Signature.
 */
export class Signature<M = unknown, R = unknown, Out = AsyncResult<R>> implements SignatureFields {
  readonly app: Lovage;
  readonly task: string;
  readonly args: readonly unknown[];
  readonly kwargs: Kwargs;
  readonly options: ApplyOptions;
  /** Takes neither arguments nor the result of what came before. */
  readonly immutable: boolean;
  readonly subtaskType: SignatureDict['subtask_type'];
  /** For the compiler alone: signatures with other parameters or results are other types. */
  declare readonly '~types': { readonly missing: M; readonly result: R; readonly out: Out };

  constructor(app: Lovage, { task, args, kwargs, options, immutable, subtaskType = null }: SignatureFields) {
    this.app = app;
    this.task = task;
    this.args = args;
    this.kwargs = kwargs;
    this.options = options;
    this.immutable = immutable;
    this.subtaskType = subtaskType;
  }

  /** Reads a signature as it travels, with all that is in it; unknown options are kept. */
  static fromJSON(app: Lovage, dict: SignatureDict): Signature {
    return new Signature(app, readFields(dict));
  }

  /** The steps of a chain, the members of a group, the header of a chord; none of a plain task. */
  get tasks(): readonly Signature[] {
    return partsOf(this).map((part) => new Signature(this.app, part));
  }

  /** The body of a chord. */
  get body(): Signature | undefined {
    return this.subtaskType === 'chord' ? new Signature(this.app, bodyOf(this)) : undefined;
  }

  /** Sends it with what it still asked for. A chain passes it to its first step, a group to all, a chord to its header. */
  delay(...missing: CallArguments<M>): Promise<Out> {
    const [first] = missing as unknown as [unknown];
    // A keyword signature is asked for one object; an array there is a positional argument that happens to be one.
    const keyword = this.app.tasks.get(this.task)?.declared.input !== undefined;
    return keyword
      ? this.#send([], (first ?? {}) as Kwargs, {})
      : this.#send(missing as unknown as readonly unknown[], {}, {});
  }

  /** Sends it. `args` come before the stored ones; `options` override the stored ones. */
  applyAsync(args: readonly unknown[] = [], options: ApplyOptions = {}): Promise<Out> {
    return this.#send(args, {}, options);
  }

  /**
   * Runs it here and now, without a broker, and gives its end. Errors are in the result, unless `taskEagerPropagates`.
   * Source: celery/canvas.py, apply of each class.
   */
  apply(args: readonly unknown[] = [], options: ApplyOptions = {}): Promise<Out> {
    return this.app.eager.apply(this, args, {}, options) as Promise<Out>;
  }

  /** A signature with these arguments put before, keyword arguments and options put over its own. */
  merge(args: readonly unknown[] = [], kwargs: Kwargs = {}, options: ApplyOptions = {}): Signature<unknown, R, Out> {
    return this.#with(mergeFields(this, args, kwargs, options)) as unknown as Signature<unknown, R, Out>;
  }

  /** The same as {@link merge}; Celery's name. */
  clone(args: readonly unknown[] = [], kwargs: Kwargs = {}, options: ApplyOptions = {}): Signature<unknown, R, Out> {
    return this.merge(args, kwargs, options);
  }

  /** With these options over its own: `sig.set({ countdown: 10, queue: 'slow' })`. */
  set(options: ApplyOptions): this {
    return this.#with(mergeFields(this, [], {}, options));
  }

  /** With one more callback, run with the result when it has succeeded. A group's goes to its first task. */
  link(callback: SignatureLike): this {
    return this.#with(withLink(this, callback));
  }

  /** With one more errback, run when it has failed. A group's goes to each of its tasks, a chord's to its body. */
  linkError(errback: SignatureLike): this {
    return this.#with(withErrback(this, errback, this.app.settings.taskAllowErrorCbOnChordHeader));
  }

  /** The same as {@link linkError}; Celery's name where it is chained. */
  onError(errback: SignatureLike): this {
    return this.linkError(errback);
  }

  /**
   * This one, and then `next` with its result: Celery's `|`. Not called `then`, which would make a promise of every
   * signature that is awaited.
   */
  pipe<N extends SomeSignature>(next: N & Accepts<N, R>): ChainOf<M, N> {
    return new Signature(this.app, pipe(this, next)) as unknown as ChainOf<M, N>;
  }

  /** With stamps on all of it: values that travel in the messages' headers. See {@link StampingVisitor}. */
  stamp(stamps: Readonly<Record<string, unknown>> | StampingVisitor, options?: StampOptions): this {
    return this.#with(stampFields(this, stamps, options));
  }

  /** With task ids, so that its result can be named before it is sent; ids that are there are kept. */
  freeze(taskId?: string): this {
    return this.#with(this.#frozen(taskId).fields);
  }

  /** The result that a frozen signature will have. An id that is missing is made anew by each call. */
  asyncResult(): Out {
    return this.app.resultOf(this.#frozen().result) as Out;
  }

  /** As it travels. Source: celery message protocol, signatures. */
  toJSON(): SignatureDict {
    return writeFields(this);
  }

  #frozen(taskId?: string): ReturnType<typeof freeze> {
    const { app } = this;
    const errbackOnHeader = app.settings.taskAllowErrorCbOnChordHeader;
    return freeze(this, { taskId, replyTo: app.oid, errbackOnHeader });
  }

  #with(fields: SignatureFields): this {
    // `this` says more than `Signature` about its types only: nothing extends it.
    return new Signature(this.app, copyOf(fields)) as unknown as this;
  }

  #send(args: readonly unknown[], kwargs: Kwargs, options: ApplyOptions): Promise<Out> {
    return this.app.producer.apply(this, args, kwargs, options) as Promise<Out>;
  }
}
