import { hostname } from 'node:os';
import {
  asList,
  bodyOf,
  copyOf,
  isChain,
  isChord,
  isGroup,
  mergeFields,
  partsOf,
  readFields,
  withOptions,
  type Kwargs,
  type SignatureFields,
} from '../canvas/fields.ts';
import { isCalledInPlace } from '../canvas/errbacks.ts';
import { freeze, freezeSteps, withoutChord } from '../canvas/freeze.ts';
import { accumulated } from '../canvas/replacement.ts';
import type { Signature } from '../canvas/signature.ts';
import { ConfigError, isLovageError } from '../errors.ts';
import { newTaskId } from '../internal/ids.ts';
import type { Logger } from '../internal/log.ts';
import { decodeTaskBody, decodeTaskHeaders } from '../protocol/decode.ts';
import { describeError } from '../protocol/exception-info.ts';
import { ChordError, Ignore, MaxRetriesExceededError, Retry } from '../protocol/task-errors.ts';
import type { TaskMeta } from '../protocol/task-meta.ts';
import { encodeTask } from '../protocol/v2.ts';
import { AsyncResult } from '../result/async-result.ts';
import { EagerResult } from '../result/eager-result.ts';
import { GroupResult } from '../result/group-result.ts';
import { matchesAny } from '../retry/matchers.ts';
import { currentTask } from './current-task.ts';
import type { Lovage } from './lovage.ts';
import { toSignatureDict, validateApplyOptions, type ApplyOptions } from './option-names.ts';
import type { RequestInfo, RetryOptions, TaskContext } from './task-context.ts';
import type { AnyTask } from './task.ts';

/**
 * Runs signatures in this process, one task after the other, with what a worker would do around them: retries,
 * callbacks, errbacks, handlers, replacements. No time limits, no acknowledgement: there is no message.
 * Source: celery/app/task.py, apply; celery/canvas.py, apply of each class.
 */
export class EagerRunner {
  readonly #app: Lovage;

  constructor(app: Lovage) {
    this.#app = app;
  }

  async apply(
    fields: SignatureFields,
    args: readonly unknown[] = [],
    kwargs: Kwargs = {},
    options: ApplyOptions = {},
  ): Promise<AsyncResult> {
    if (isChain(fields)) return this.#chain(fields, args, kwargs, options);
    if (isGroup(fields)) return this.#group(fields, args, kwargs, options);
    if (isChord(fields)) return this.#chord(fields, args, kwargs, options);
    const call = mergeFields(fields, args, kwargs, options);
    const task = this.#app.tasks.get(call.task);
    if (task !== undefined) return this.#task(task, call);
    // As in Celery: what is not known here can only be sent.
    return this.#app.sendTask(call.task, { args: call.args, kwargs: call.kwargs, ...call.options });
  }

  /** A call while `taskAlwaysEager`: its arguments go through the serializer, as those of a message would. */
  async asIfSent(task: AnyTask, args: readonly unknown[], kwargs: Kwargs, options: ApplyOptions): Promise<AsyncResult> {
    const { producer, serializers } = this.#app;
    validateApplyOptions(options);
    const draft = producer.draft(task.name, args, kwargs, { ...task.callOptions, ...options }, task);
    await serializers.prepare([draft]);
    const sent = decodeTaskBody(encodeTask(draft, serializers), serializers);
    const { args: read, kwargs: readKwargs } = sent;
    return this.apply({ task: task.name, args: read, kwargs: readKwargs, options, immutable: false });
  }

  async #chain(
    fields: SignatureFields,
    args: readonly unknown[],
    kwargs: Kwargs,
    given: ApplyOptions,
  ): Promise<AsyncResult> {
    const { link, linkError, taskId, chain = [], ...options } = { ...fields.options, ...given };
    const rest = chain.map((step) => readFields(toSignatureDict(step))).toReversed();
    const { steps } = freezeSteps([...partsOf(fields), ...rest], [...args, ...fields.args], kwargs, {
      links: asList(link),
      errbacks: asList(linkError),
      taskId,
      ...this.#freezing(),
    });
    if (steps.length === 0) throw new ConfigError('A chain without steps cannot be run. Give it at least one.');
    let last: AsyncResult | undefined;
    for (const step of steps.toReversed()) {
      if (last !== undefined && !(await last.successful())) return last;
      const result: AsyncResult =
        last === undefined
          ? await this.apply(step, [], {}, options)
          : await this.apply(step, [await last.get({ allowInsideTask: true })], {}, {});
      last = last === undefined ? result : result.withParent(last);
    }
    return last as AsyncResult;
  }

  async #group(
    fields: SignatureFields,
    args: readonly unknown[],
    kwargs: Kwargs,
    { taskId, ...options }: ApplyOptions,
  ): Promise<GroupResult> {
    const frozen = freeze(withOptions(fields, taskId === undefined ? {} : { taskId }), this.#freezing());
    const results: AsyncResult[] = [];
    for (const part of partsOf(frozen.fields)) results.push(await this.apply(part, args, kwargs, options));
    return new GroupResult(this.#app, frozen.result.id, results);
  }

  async #chord(
    fields: SignatureFields,
    args: readonly unknown[],
    kwargs: Kwargs,
    given: ApplyOptions,
  ): Promise<AsyncResult> {
    const { taskId, chain } = { ...fields.options, ...given };
    const frozen = freeze(fields, { taskId, ...this.#freezing() });
    const header = frozen.fields.kwargs['header'] as SignatureFields;
    // Each part is alone here: nobody counts.
    const parts = partsOf(header).map(withoutChord);
    const results: AsyncResult[] = [];
    for (const part of parts) results.push(await this.apply(part, args, kwargs, {}));
    const group = new GroupResult(this.#app, header.options.taskId as string, results);
    const body = bodyOf(frozen.fields);
    for (const result of results) {
      if (await result.successful()) continue;
      const error = await result.get({ propagate: false, allowInsideTask: true });
      const failure = new ChordError(`Dependency ${result.id} raised ${describeError(error).repr}`, { cause: error });
      return (await this.#failed(body, failure, frozen.result.id)).withParent(group);
    }
    const values = await group.join({ allowInsideTask: true });
    return (await this.apply(body, [values], {}, chain === undefined ? {} : { chain })).withParent(group);
  }

  /** The end of a signature that will not run. */
  async #failed(fields: SignatureFields, error: Error, taskId: string): Promise<EagerResult> {
    await this.#errbacks(fields.options, undefined, taskId, error);
    const described = describeError(error);
    return this.#end(taskId, 'FAILURE', described.info, error, described.traceback, true);
  }

  async #task(task: AnyTask, call: SignatureFields): Promise<AsyncResult> {
    const app = this.#app;
    const taskId = call.options.taskId ?? newTaskId();
    const options = { ...task.callOptions, ...call.options, taskId };
    let { args, kwargs } = call;
    for (let retries = options.retries ?? 0; ; retries++) {
      const context = new EagerContext(app, task, await this.#request(task, args, kwargs, { ...options, retries }));
      const { hooks } = task;
      const guarded = async (hook: () => unknown): Promise<void> => {
        try {
          await currentTask.run(context, async () => hook());
        } catch (error) {
          app.logger.error(
            { err: error, task: task.name, taskId },
            `A handler of task ${task.name}[${taskId}] failed.`,
          );
        }
      };
      let value: unknown;
      let result: EagerResult;
      try {
        if (hooks.beforeStart) await guarded(() => hooks.beforeStart?.(taskId, args, kwargs));
        const returned = await currentTask.run(context, async () => task.run(context, args, kwargs));
        value = returned instanceof AsyncResult ? returned.toTuple() : returned;
        result = await this.#end(taskId, 'SUCCESS', value, value, null, options.ignoreResult !== true);
      } catch (thrown) {
        if (context.replacement !== undefined && context.replacement.thrown === thrown) {
          const { link, linkError, chain } = options;
          const replacing = accumulated(copyOf(context.replacement.signature), { link, linkError, chain });
          return this.apply(replacing, [], {}, { taskId, replacedTaskNesting: (options.replacedTaskNesting ?? 0) + 1 });
        }
        const plan = this.#retry(task, context, retries, thrown);
        if (plan !== undefined && 'again' in plan) {
          const described = describeError(plan.again.cause ?? thrown);
          const info = { exception: described.info, traceback: described.traceback ?? '' };
          if (hooks.onRetry) await guarded(() => hooks.onRetry?.(plan.again.cause, taskId, args, kwargs, info));
          args = plan.again.args ?? args;
          kwargs = plan.again.kwargs ?? kwargs;
          continue;
        }
        if (isLovageError(thrown, 'ERR_IGNORE')) return this.#end(taskId, 'IGNORED', null, thrown, null, false);
        if (isLovageError(thrown, 'ERR_REJECT')) return this.#end(taskId, 'REJECTED', null, thrown, null, false);
        const error = plan?.error ?? thrown;
        const described = describeError(error);
        const info = { exception: described.info, traceback: described.traceback ?? '' };
        const isStored = options.ignoreResult !== true || task.options.storeErrorsEvenIfIgnored;
        result = await this.#end(taskId, 'FAILURE', described.info, error, described.traceback, isStored);
        await this.#errbacks(options, context, taskId, error);
        if (hooks.onFailure) await guarded(() => hooks.onFailure?.(error, taskId, args, kwargs, info));
        if (hooks.afterReturn) await guarded(() => hooks.afterReturn?.('FAILURE', error, taskId, args, kwargs, info));
        if (app.settings.taskEagerPropagates) throw error;
        return result;
      }
      // What follows fails for itself.
      await currentTask.run(context, async () => {
        for (const callback of asList(options.link)) await this.apply(readFields(toSignatureDict(callback)), [value]);
        const chain = asList(options.chain).map(toSignatureDict);
        const next = chain.at(-1);
        if (next !== undefined) await this.apply(readFields(next), [value], {}, { chain: chain.slice(0, -1) });
      });
      if (hooks.onSuccess) await guarded(() => hooks.onSuccess?.(value, taskId, args, kwargs));
      if (hooks.afterReturn)
        await guarded(() => hooks.afterReturn?.('SUCCESS', value, taskId, args, kwargs, undefined));
      return result;
    }
  }

  /** Whether a task that threw is run again, or with which error it has failed. */
  #retry(
    task: AnyTask,
    context: EagerContext,
    retries: number,
    thrown: unknown,
  ): { readonly again: RetryOptions } | { readonly error: unknown } | undefined {
    if (context.retryPlan !== undefined && context.retryPlan.thrown === thrown)
      return { again: context.retryPlan.options };
    const may = (limit: number | null): boolean => limit === null || retries + 1 <= limit;
    const exhausted = (): Error =>
      new MaxRetriesExceededError(`Can't retry ${task.name}: ${retries} retries were made.`);
    if (isLovageError(thrown, 'ERR_RETRY')) {
      const { cause } = thrown as Retry;
      return may(task.options.maxRetries) ? { again: { cause } } : { error: cause ?? exhausted() };
    }
    if (isLovageError(thrown, 'ERR_IGNORE') || isLovageError(thrown, 'ERR_REJECT')) return undefined;
    const auto = task.options.retry;
    if (auto === undefined || matchesAny(auto.notFor, thrown)) return undefined;
    if (auto.for !== undefined && !matchesAny(auto.for, thrown)) return undefined;
    const limit = auto.maxRetries === undefined ? task.options.maxRetries : auto.maxRetries;
    return may(limit) ? { again: { cause: thrown } } : undefined;
  }

  async #errbacks(
    { linkError }: ApplyOptions,
    context: EagerContext | undefined,
    taskId: string,
    error: unknown,
  ): Promise<void> {
    for (const errback of asList(linkError)) {
      const fields = readFields(toSignatureDict(errback));
      const task = isPlain(fields) ? this.#app.tasks.get(fields.task) : undefined;
      try {
        if (task !== undefined && context !== undefined && isCalledInPlace(task)) {
          const args = fields.immutable
            ? fields.args
            : [context.request, error, describeError(error).traceback, ...fields.args];
          await currentTask.run(context, async () => task.run(context, args, fields.kwargs));
        } else {
          await this.apply(fields, [taskId]);
        }
      } catch (failure) {
        this.#app.logger.error({ err: failure, taskId, errback: fields.task }, `Errback ${fields.task} failed.`);
      }
    }
  }

  /** The request as a message would have brought it. */
  async #request(task: AnyTask, args: readonly unknown[], kwargs: Kwargs, options: ApplyOptions): Promise<RequestInfo> {
    const { serializers, producer } = this.#app;
    const { link: _, linkError: __, chain: ___, chord: ____, ...plain } = options;
    const draft = producer.draft(task.name, [], {}, plain, task);
    await serializers.prepare([draft]);
    return {
      ...decodeTaskHeaders(encodeTask(draft, serializers), serializers),
      args,
      kwargs,
      deliveryInfo: {
        exchange: options.exchange ?? '',
        routingKey: options.routingKey ?? options.queue ?? '',
        priority: options.priority,
        redelivered: false,
      },
      hostname: hostname(),
      isEager: true,
    };
  }

  async #end(
    taskId: string,
    status: string,
    result: unknown,
    value: unknown,
    traceback: string | null,
    isStored: boolean,
  ): Promise<EagerResult> {
    const date_done = new Date().toISOString().replace('Z', '+00:00');
    const meta: TaskMeta = { status, result, traceback, children: [], date_done, task_id: taskId };
    if (isStored && this.#app.settings.taskStoreEagerResult) {
      const backend = await this.#app.resultBackend();
      if (backend?.capabilities.shared === true) await backend.store([{ meta }]);
    }
    return new EagerResult(this.#app, meta, value);
  }

  #freezing(): { readonly replyTo: string; readonly errbackOnHeader: boolean } {
    const { oid, settings } = this.#app;
    return { replyTo: oid, errbackOnHeader: settings.taskAllowErrorCbOnChordHeader };
  }
}

function isPlain({ subtaskType }: SignatureFields): boolean {
  return subtaskType === null || subtaskType === undefined;
}

class EagerContext implements TaskContext {
  readonly app: Lovage;
  readonly request: RequestInfo;
  readonly log: Logger;
  readonly #task: AnyTask;
  readonly #controller = new AbortController();
  retryPlan: { readonly thrown: unknown; readonly options: RetryOptions } | undefined;
  replacement: { readonly thrown: unknown; readonly signature: Signature } | undefined;

  constructor(app: Lovage, task: AnyTask, request: RequestInfo) {
    this.app = app;
    this.#task = task;
    this.request = request;
    this.log = app.logger;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  retry(options: RetryOptions = {}): never {
    const limit = options.maxRetries === undefined ? this.#task.options.maxRetries : options.maxRetries;
    if (limit !== null && this.request.retries + 1 > limit) {
      if (options.cause !== undefined) throw options.cause;
      throw new MaxRetriesExceededError(
        `Can't retry ${this.#task.name}[${this.request.id}]: ${this.request.retries} retries were made.`,
      );
    }
    const thrown = new Retry({ cause: options.cause });
    this.retryPlan = { thrown, options };
    throw thrown;
  }

  replace(signature: Signature): never {
    const thrown = new Ignore(`Replaced by ${signature.task}.`);
    this.replacement = { thrown, signature };
    throw thrown;
  }

  async addToChord(): Promise<never> {
    throw new ConfigError('addToChord() needs a task that a worker runs as a part of a chord.');
  }

  async updateState({ state, meta }: { readonly state: string; readonly meta?: unknown }): Promise<void> {
    if (!this.app.settings.taskStoreEagerResult) return;
    const backend = await this.app.resultBackend();
    if (backend?.capabilities.shared !== true) return;
    const written: TaskMeta = {
      status: state,
      result: meta ?? null,
      traceback: null,
      children: [],
      date_done: null,
      task_id: this.request.id,
    };
    await backend.store([{ meta: written }]);
  }

  progress(progress: number, note?: string): Promise<void> {
    return this.updateState({ state: 'PROGRESS', meta: { progress, note: note ?? null } });
  }

  addChild(): void {}
}
