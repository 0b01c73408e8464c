import { setTimeout as sleep } from 'node:timers/promises';
import type { ChordStore, ResultBackend } from '../backend/contract.ts';
import { bodyOf, isChain, isChord, isGroup, partsOf, readFields, type SignatureFields } from '../canvas/fields.ts';
import { chunksAsGroup, Plan, type PlannedCall, type PlannedChord } from '../canvas/plan.ts';
import type { SignatureDict } from '../canvas/signature-dict.ts';
import {
  ConfigError,
  isLovageError,
  TaskArgumentsError,
  TimeoutError,
  type LovageError,
  type PublishError,
  UnsupportedError,
} from '../errors.ts';
import { newTaskId } from '../internal/ids.ts';
import { SharedDeadlines } from '../internal/shared-deadlines.ts';
import { reprArgs, reprKwargs } from '../protocol/repr.ts';
import { formatTime, parseTime } from '../protocol/time.ts';
import { encodeTask, type TaskDraft } from '../protocol/v2.ts';
import { AsyncResult } from '../result/async-result.ts';
import { publishRetryDelays } from '../retry/policy.ts';
import type { Connection, Publication } from '../transport/contract.ts';
import type { Topology } from '../transport/topology.ts';
import { currentTask } from './current-task.ts';
import type { Lovage } from './lovage.ts';
import {
  toSignatureDict,
  validateApplyOptions,
  type ApplyOptions,
  type RetryPolicy,
  type SignatureLike,
} from './option-names.ts';
import type { Route } from './router.ts';
import type { PublishSignal } from './signals.ts';
import type { AnyTask } from './task.ts';

/** Where a message goes, and what must exist before it does. */
export interface Destination {
  readonly exchange: string;
  readonly routingKey: string;
  /** Declared once per connection under `key`. */
  readonly topology?: { readonly key: string; readonly entities: Topology };
}

export interface PublishOptions {
  /** false: one try. Default: `taskPublishRetry`. */
  readonly retry?: boolean | undefined;
  /** Over `taskPublishRetryPolicy`. */
  readonly retryPolicy?: RetryPolicy | undefined;
  readonly mandatory?: boolean | undefined;
  readonly delayMs?: number | undefined;
}

/** Builds task messages, finds their queue and publishes them, declaring what they need. */
export class Producer {
  readonly #app: Lovage;
  readonly #deadlines = new SharedDeadlines(notConfirmed);
  readonly #declared = new WeakMap<Connection, Map<string, Promise<void>>>();
  #lent: Connection | undefined;

  constructor(app: Lovage) {
    this.#app = app;
  }

  /**
   * Publishes over this connection, which somebody else keeps, until it ends or the returned function is called; before and
   * after over the app's own.
   */
  publishOver(connection: Connection): () => void {
    this.#lent = connection;
    const end = (): void => {
      if (this.#lent === connection) this.#lent = undefined;
    };
    connection.closed.then(end, end);
    return end;
  }

  /** Publishes one call; the result's id is the message's. */
  send<R>(
    name: string,
    args: readonly unknown[],
    kwargs: Readonly<Record<string, unknown>>,
    given: ApplyOptions = {},
    task?: AnyTask,
  ): Promise<AsyncResult<R>> {
    // No async function here: while a call is in flight its frame would hold all of this, and thousands may be.
    try {
      const { item, options, tellSent } = this.#item(name, args, kwargs, given, task);
      const { draft } = item;
      const expecting = draft.ignoreResult === true ? undefined : this.#expect([draft.id]);
      const publishing =
        expecting === undefined ? this.publish([item], options) : expecting.then(() => this.publish([item], options));
      const result = new AsyncResult<R>(this.#app, draft.id);
      const parent = given.addToParent === false ? undefined : currentTask.getStore();
      return publishing.then(() => {
        tellSent?.();
        parent?.addChild(result.toTuple());
        return result;
      });
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  /** Source: celery/app/amqp.py, send_task_message. */
  #sentEvent(draft: TaskDraft, { exchange, routingKey, queue }: Route): () => void {
    const fields = {
      uuid: draft.id,
      root_id: draft.rootId ?? null,
      parent_id: draft.parentId ?? null,
      name: draft.task,
      args: draft.argsrepr ?? reprArgs(draft.args),
      kwargs: draft.kwargsrepr ?? reprKwargs(draft.kwargs),
      retries: draft.retries,
      eta: draft.eta === undefined ? null : formatTime(draft.eta),
      expires: draft.expires === undefined ? null : formatTime(draft.expires),
      queue: queue ?? null,
      exchange,
      routing_key: routingKey,
    };
    return () => this.#app.events.send('task-sent', fields);
  }

  /**
   * Sends a signature, whatever it is made of: all its messages in one batch, its chords made known to the result store
   * before. With `taskAlwaysEager` it runs here instead, if its tasks are known here.
   */
  async apply(
    fields: SignatureFields,
    args: readonly unknown[],
    kwargs: Readonly<Record<string, unknown>>,
    given: ApplyOptions,
  ): Promise<AsyncResult> {
    const app = this.#app;
    const { taskAlwaysEager, taskAllowErrorCbOnChordHeader } = app.settings;
    const isPlain = fields.subtaskType === null || fields.subtaskType === undefined;
    const task = isPlain ? app.tasks.get(fields.task) : undefined;
    if (taskAlwaysEager && (!isPlain || task !== undefined)) return app.eager.apply(fields, args, kwargs, given);
    const plan = new Plan(app.oid, taskAllowErrorCbOnChordHeader);
    const result = plan.add(
      isPlain && fields.task === 'celery.chunks' ? chunksAsGroup(fields) : fields,
      args,
      kwargs,
      given,
    );
    const store = plan.chords.length === 0 ? undefined : await this.#chordStore();
    if (store !== undefined && store.chords === undefined) {
      plan.calls.push(...plan.chords.map((chord) => this.#unlocking(chord)));
    }
    // All of them, before anything is done: a mistake in one sends none.
    const items = plan.calls.map((call) =>
      this.#item(call.task, call.args, call.kwargs, call.options, app.tasks.get(call.task)),
    );
    if (store?.chords !== undefined) await this.#beginChords(plan, store.chords);
    const asked = items.filter(({ item }) => item.draft.ignoreResult !== true).map(({ item }) => item.draft.id);
    if (asked.length > 0) await this.#expect(asked);
    const options = items[0]?.options ?? {};
    if (items.length > 0)
      await this.publish(
        items.map(({ item }) => item),
        options,
      );
    for (const { tellSent } of items) tellSent?.();
    const parent = currentTask.getStore();
    for (const node of plan.trail) parent?.addChild(app.resultOf(node).toTuple());
    return app.resultOf(result);
  }

  async #chordStore(): Promise<ResultBackend> {
    const store = await this.#app.requireBackend('run a chord');
    if (store.capabilities.shared) return store;
    throw new UnsupportedError(
      'A chord needs a result store that every worker can read, and this one answers only who asked. Use redis://, db+sqlite:/// or another store as "backend".',
    );
  }

  /** Source: celery/backends/redis.py, apply_chord and set_chord_size. */
  async #beginChords({ chords }: Plan, store: ChordStore): Promise<void> {
    await Promise.all(
      chords.map(async ({ groupId, size, header }) => {
        // Parts that are groups give lists: whoever joins the chord learns which from the saved group.
        if (store.joinsResults === true || header.some(({ children }) => children !== undefined)) {
          await this.#app.groupResult(groupId, header).save();
        }
        await store.begin(groupId, size);
      }),
    );
  }

  /** Source: celery/backends/base.py, fallback_chord_unlock. */
  #unlocking({ groupId, body, header }: PlannedChord): PlannedCall {
    const app = this.#app;
    const { task: name, args, kwargs, options } = firstTask(readFields(body));
    const task = app.tasks.get(name);
    const queue =
      options.queue ?? app.router.route(name, args, kwargs, { ...task?.callOptions, ...options }, task).queue;
    return {
      task: 'celery.chord_unlock',
      args: [groupId, body],
      kwargs: {
        interval: null,
        max_retries: null,
        result: header.map((node) => app.resultOf(node).toTuple()),
      },
      options: {
        countdown: 1,
        ...(queue === undefined ? {} : { queue }),
        priority: options.priority ?? task?.configured.priority ?? 0,
        addToParent: false,
      },
    };
  }

  #item(
    name: string,
    args: readonly unknown[],
    kwargs: Readonly<Record<string, unknown>>,
    given: ApplyOptions,
    task: AnyTask | undefined,
  ): {
    readonly item: { readonly draft: TaskDraft; readonly destination: Destination };
    readonly options: PublishOptions;
    /** To be called when the broker has it; undefined: nobody is told. */
    readonly tellSent: (() => void) | undefined;
  } {
    validateApplyOptions(given);
    checkArguments(name, args, kwargs);
    const options: ApplyOptions =
      task === undefined ? withoutNull(given) : { ...task.callOptions, ...withoutNull(given) };
    const route = this.#app.router.route(options.routeName ?? name, args, kwargs, options, task);
    const draft = this.draft(name, args, kwargs, route.options, task);
    const { retry, retryPolicy, mandatory } = route.options;
    const tells = this.#app.settings.taskSendSentEvent && (task?.options.sendEvents ?? true);
    return {
      item: { draft, destination: destinationOf(route) },
      options: { retry, retryPolicy, mandatory },
      tellSent: tells ? this.#sentEvent(draft, route) : undefined,
    };
  }

  /** Makes a store that only its asker can read ready for an answer; undefined when nothing is to be waited for. */
  #expect(taskIds: readonly string[]): Promise<void> | undefined {
    const backend = this.#app.openedBackend();
    if (backend?.capabilities.shared === true) return undefined;
    if (backend !== undefined) return backend.expect(taskIds);
    return this.#app
      .resultBackend()
      .then((opened) => (opened === undefined || opened.capabilities.shared ? undefined : opened.expect(taskIds)));
  }

  /** What the message of a call will hold. Throws `ConfigError` and `EncodeError`. */
  draft(
    name: string,
    args: readonly unknown[],
    kwargs: Readonly<Record<string, unknown>>,
    options: ApplyOptions,
    task?: AnyTask,
  ): TaskDraft {
    const app = this.#app;
    const { settings } = app;
    const running = currentTask.getStore();
    const parent = running?.lineage ?? running?.request;
    const id = options.taskId ?? newTaskId();
    const now = Date.now();
    return {
      id,
      task: name,
      args,
      kwargs,
      shadow: options.shadow,
      eta: options.countdown ? now + options.countdown * 1000 : instant(options.eta),
      expires: typeof options.expires === 'number' ? now + options.expires * 1000 : instant(options.expires),
      group: options.groupId,
      groupIndex: options.groupIndex,
      retries: options.retries ?? 0,
      // The settings' limits are the worker's own: a message would carry the sender's into it.
      timeLimit: [
        options.timeLimit ?? task?.configured.timeLimit ?? undefined,
        options.softTimeLimit ?? task?.configured.softTimeLimit ?? undefined,
      ],
      rootId: options.rootId ?? parent?.rootId ?? id,
      parentId: options.parentId ?? parent?.id,
      origin: options.origin ?? app.nodeName,
      ignoreResult: options.ignoreResult ?? task?.options.ignoreResult ?? settings.taskIgnoreResult,
      replacedTaskNesting: options.replacedTaskNesting ?? 0,
      stampedHeaders:
        options.stampedHeaders ?? (options.stamps === undefined ? undefined : Object.keys(options.stamps)),
      stamps: options.stamps ?? {},
      replyTo: options.replyTo ?? app.oid,
      correlationId: id,
      priority:
        options.priority ??
        (settings.taskInheritParentPriority ? parent?.priority : undefined) ??
        settings.taskDefaultPriority ??
        undefined,
      deliveryMode: options.deliveryMode ?? settings.taskDefaultDeliveryMode,
      serializer: options.serializer ?? settings.taskSerializer,
      compression: options.compression ?? settings.taskCompression ?? undefined,
      headers: options.headers,
      argsrepr: options.argsrepr,
      kwargsrepr: options.kwargsrepr,
      callbacks: signatures(options.link),
      errbacks: signatures(options.linkError),
      chain: signatures(options.chain),
      chord: options.chord === undefined ? undefined : toSignatureDict(options.chord),
    };
  }

  /**
   * Resolves when the broker owns every message. A lost or missing broker is tried again on Celery's schedule
   * (`taskPublishRetryPolicy`) within `publishTimeoutSeconds` seconds; then it rejects with the last error, which says whether
   * the message may have arrived. Publishing the same id again is safe for tasks that bear running twice.
   */
  publish(
    items: readonly { readonly draft: TaskDraft; readonly destination: Destination }[],
    options: PublishOptions = {},
  ): Promise<void> {
    try {
      const ready = this.#app.serializers.prepare(items.map(({ draft }) => draft));
      return ready === undefined
        ? this.#encodeAndPublish(items, options)
        : ready.then(() => this.#encodeAndPublish(items, options));
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  #encodeAndPublish(
    items: readonly { readonly draft: TaskDraft; readonly destination: Destination }[],
    { mandatory, delayMs, ...options }: PublishOptions,
  ): Promise<void> {
    const publications = items.map(
      ({ draft, destination }): Publication => ({
        exchange: destination.exchange,
        routingKey: destination.routingKey,
        message: encodeTask(draft, this.#app.serializers),
        ...(mandatory === undefined ? {} : { mandatory }),
        ...(delayMs === undefined ? {} : { delayMs }),
      }),
    );
    const topologies = items.flatMap(({ destination }) => destination.topology ?? []);
    const { signals } = this.#app;
    if (!signals.has('beforeTaskPublish') && !signals.has('afterTaskPublish')) {
      return this.publishMessages(publications, topologies, options);
    }
    return this.#publishWithSignals(items, publications, topologies, options);
  }

  /** Handlers may put headers into the messages. */
  async #publishWithSignals(
    items: readonly { readonly draft: TaskDraft; readonly destination: Destination }[],
    publications: readonly Publication[],
    topologies: readonly NonNullable<Destination['topology']>[],
    options: PublishOptions,
  ): Promise<void> {
    const { signals } = this.#app;
    const told = publications.map((publication, index): PublishSignal => {
      const { draft } = items[index] as (typeof items)[number];
      const { exchange, routingKey, message } = publication;
      return {
        task: draft.task,
        id: draft.id,
        args: draft.args,
        kwargs: draft.kwargs,
        headers: { ...message.headers },
        properties: message.properties,
        exchange,
        routingKey,
      };
    });
    for (const signal of told) signals.emit('beforeTaskPublish', () => signal);
    const changed = publications.map((publication, index) => ({
      ...publication,
      message: { ...publication.message, headers: (told[index] as PublishSignal).headers },
    }));
    await this.publishMessages(changed, topologies, options);
    for (const signal of told) signals.emit('afterTaskPublish', () => signal);
  }

  /** {@link publish} for messages that are built already. */
  publishMessages(
    publications: readonly Publication[],
    topologies: readonly NonNullable<Destination['topology']>[] = [],
    options: PublishOptions = {},
  ): Promise<void> {
    const deadline = Date.now() + this.#app.settings.publishTimeoutSeconds * 1000;
    return this.#attempt(publications, topologies, deadline).catch((error: unknown) =>
      this.#tryAgain(publications, topologies, options, deadline, error),
    );
  }

  async #tryAgain(
    publications: readonly Publication[],
    topologies: readonly NonNullable<Destination['topology']>[],
    { retry, retryPolicy }: PublishOptions,
    deadline: number,
    firstError: unknown,
  ): Promise<void> {
    const { settings } = this.#app;
    const delays = publishRetryDelays({ ...settings.taskPublishRetryPolicy, ...retryPolicy })[Symbol.iterator]();
    let left = publications;
    for (let error = firstError; ; ) {
      if (!isLovageError(error) || !error.retryable || retry === false || !settings.taskPublishRetry) throw error;
      const next = delays.next();
      if (next.done === true || Date.now() + next.value * 1000 >= deadline) throw error;
      left = notTaken(left, error);
      await sleep(next.value * 1000);
      try {
        return await this.#attempt(left, topologies, deadline);
      } catch (again) {
        error = again;
      }
    }
  }

  #attempt(
    publications: readonly Publication[],
    topologies: readonly NonNullable<Destination['topology']>[],
    deadline: number,
  ): Promise<void> {
    const connection = this.#lent ?? this.#app.producerConnection().live;
    const isReady =
      connection !== undefined && topologies.every(({ key }) => this.#declared.get(connection)?.get(key) === DECLARED);
    return isReady
      ? this.#deadlines.race(connection.publish(publications), deadline)
      : this.#prepareAndPublish(publications, topologies, deadline);
  }

  async #prepareAndPublish(
    publications: readonly Publication[],
    topologies: readonly NonNullable<Destination['topology']>[],
    deadline: number,
  ): Promise<void> {
    const connection =
      this.#lent ??
      (await this.#app.producerConnection().connection({ timeoutMs: Math.max(1, deadline - Date.now()) }));
    for (const topology of topologies) {
      const declaring = this.#declare(connection, topology);
      if (declaring !== undefined) await this.#deadlines.race(declaring, deadline);
    }
    await this.#deadlines.race(connection.publish(publications), deadline);
  }

  #declare(connection: Connection, { key, entities }: NonNullable<Destination['topology']>): Promise<void> | undefined {
    let declared = this.#declared.get(connection);
    if (declared === undefined) this.#declared.set(connection, (declared = new Map()));
    const state = declared.get(key);
    if (state !== undefined) return state === DECLARED ? undefined : state;
    const declaring = connection.declare(entities);
    declared.set(key, declaring);
    const table = declared;
    return declaring.then(
      () => void table.set(key, DECLARED),
      (error: unknown) => {
        table.delete(key);
        throw error;
      },
    );
  }
}

const DECLARED = Promise.resolve();

/** The first task of a signature: where it goes, what looks after it goes too. */
function firstTask(fields: SignatureFields): SignatureFields {
  if (isChain(fields) || isGroup(fields) || isChord(fields)) {
    const [first = isChord(fields) ? bodyOf(fields) : undefined] = partsOf(fields);
    return first === undefined ? fields : firstTask(first);
  }
  return fields;
}

/** The destination that a route leads to. */
function destinationOf({ exchange, routingKey, topologyKey, topology }: Route): Destination {
  return {
    exchange,
    routingKey,
    ...(topology === undefined || topologyKey === undefined
      ? {}
      : { topology: { key: topologyKey, entities: topology } }),
  };
}

/** What a failed batch still owes the broker: after a partial failure only the messages that it names. */
function notTaken(publications: readonly Publication[], error: LovageError): readonly Publication[] {
  if (error.code !== 'ERR_PUBLISH') return publications;
  return (error as PublishError).failures.flatMap(({ index }) => publications[index] ?? []);
}

function notConfirmed(): Error {
  return new TimeoutError(
    'The broker has not confirmed the message within publishTimeoutSeconds. It may have arrived.',
  );
}

function signatures(given: SignatureLike | readonly SignatureLike[] | undefined): readonly SignatureDict[] {
  if (given === undefined) return [];
  return (Array.isArray(given) ? given : [given]).map(toSignatureDict);
}

/** A text without an offset is UTC, as in Celery; `Date` would take it for local time. */
function instant(value: Date | string | undefined): number | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== 'string') return value.getTime();
  const time = parseTime(value);
  if (time === undefined) throw new ConfigError(`"${value}" is no time. Expected ISO 8601 text.`);
  return time;
}

/** Source: celery/app/amqp.py, as_task_v2: a TypeError for a text, which would travel as a list of letters. */
function checkArguments(task: string, args: unknown, kwargs: unknown): void {
  if (!Array.isArray(args)) {
    throw new TaskArgumentsError(`The args of a call of "${task}" are no list. Expected { args: [...] }.`, {
      facts: { task },
    });
  }
  if (typeof kwargs !== 'object' || kwargs === null || Array.isArray(kwargs)) {
    throw new TaskArgumentsError(
      `The kwargs of a call of "${task}" are no object. Expected { kwargs: { name: value } }.`,
      { facts: { task } },
    );
  }
}

/** null and undefined count as not given. */
function withoutNull<T extends object>(value: T): T {
  for (const name in value) {
    if (value[name] === undefined || value[name] === null) {
      return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined && item !== null)) as T;
    }
  }
  return value;
}
