import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import {
  type BackendOptions,
  BackendUrl,
  type ResultBackend,
  type ResultWrite,
  type Subscription,
  type TaskMeta,
  type TaskState,
  UnsupportedError,
} from '@lovage/core/backend';
import { BrokerUrl, type Connection } from '@lovage/core/transport';
import type { FaultyLink } from '../faulty-link.ts';
import { type Deadline, endAll, type Trial, type TrialTest, SkipTest } from '../suite.ts';
import { openLinkTo, urlThrough } from '../upstream.ts';
import type { BackendConformanceOptions } from './index.ts';
import { storeOptions, taskMeta } from './store-options.ts';

export type BackendTest = TrialTest<BackendTrial>;

export interface OpenOptions extends Partial<Pick<BackendOptions, 'expiresSeconds' | 'settings'>> {
  readonly link?: FaultyLink;
}

/** An open store with the reply address of its process. */
export interface Store {
  readonly backend: ResultBackend;
  readonly oid: string;
}

/** What one test opens and stores; all of it is closed and forgotten at its end. */
export class BackendTrial implements Trial {
  readonly deadline: Deadline;
  readonly options: BackendConformanceOptions;
  readonly #stores: Store[] = [];
  readonly #connections: Promise<Connection>[] = [];
  readonly #links: FaultyLink[] = [];
  readonly #taskIds: string[] = [];
  readonly #groupIds: string[] = [];

  constructor(options: BackendConformanceOptions, deadline: Deadline) {
    this.options = options;
    this.deadline = deadline;
  }

  skip(reason: string): never {
    throw new SkipTest(reason);
  }

  /** Opens a store as a process of its own would. */
  async open({ link, ...own }: OpenOptions = {}): Promise<Store> {
    const oid = randomUUID();
    const backend = await this.options.backend.open(new BackendUrl(urlThrough(this.options.url, link, this.options)), {
      ...storeOptions({ ...this.options.open, ...own }),
      oid,
      brokerConnection: this.#brokerConnection(),
    });
    const store = { backend, oid };
    this.#stores.push(store);
    return store;
  }

  /** One store that writes as a worker does, and another that waits for results as its client does. */
  async pair(options: OpenOptions = {}): Promise<{ writer: Store; reader: Store }> {
    return { writer: await this.open(options), reader: await this.open(options) };
  }

  /** A store that others read too; skips the test where results are messages to one reader. */
  async openShared(options: OpenOptions = {}): Promise<Store> {
    const store = await this.open(options);
    if (!store.backend.capabilities.shared) {
      this.skip('capabilities.shared is false: a result goes to one process, once');
    }
    return store;
  }

  async link(): Promise<FaultyLink> {
    const link = await openLinkTo(this.options.url, this.options);
    this.#links.push(link);
    return link;
  }

  /** New ids that `reader` is going to ask for. */
  async ids(reader: Store, count: number): Promise<string[]> {
    const ids = Array.from({ length: count }, () => randomUUID());
    this.#taskIds.push(...ids);
    await reader.backend.expect(ids);
    return ids;
  }

  async id(reader: Store): Promise<string> {
    return (await this.ids(reader, 1))[0] as string;
  }

  groupId(): string {
    const id = randomUUID();
    this.#groupIds.push(id);
    return id;
  }

  /**
   * The first meta of this task that satisfies `isIt`. At once where results are shared, because a store that resolved
   * is seen by all; where they are messages, when they come.
   */
  async loaded(reader: Store, taskId: string, isIt: (meta: TaskMeta) => boolean = () => true): Promise<TaskMeta> {
    const load = async (): Promise<TaskMeta | undefined> => {
      const [meta] = await reader.backend.load([taskId]);
      return meta !== undefined && isIt(meta) ? meta : undefined;
    };
    if (!reader.backend.capabilities.shared) return this.deadline.until('a result message', load);
    const meta = await load();
    assert.ok(meta, 'load() right after store() resolved does not give what was stored');
    return meta;
  }

  /** Subscribes, and keeps what comes. */
  async watch(reader: Store, taskIds: readonly string[]): Promise<Watcher> {
    const watcher = new Watcher(this.deadline);
    watcher.subscription = await reader.backend.subscribe(taskIds, watcher.listener);
    return watcher;
  }

  /** A state stored by `writer` and told to `reader`: what was told before it has arrived. */
  async barrier(writer: Store, reader: Store): Promise<void> {
    const id = await this.id(reader);
    const watcher = await this.watch(reader, [id]);
    await writer.backend.store([write(reader, { status: 'SUCCESS', task_id: id })]);
    await watcher.until('the state of the barrier', ({ task_id }) => task_id === id);
    watcher.subscription.unsubscribe();
  }

  async end(): Promise<void> {
    for (const link of this.#links) await link.resume();
    const [first] = this.#stores;
    try {
      if (first !== undefined) await this.#forget();
    } finally {
      await endAll(
        this.#stores.map(({ backend }) => ({
          what: 'close() of a store that the test has opened',
          act: () => backend.close(),
        })),
      );
      await endAll([
        ...this.#connections.map((connection) => ({
          what: 'close() of a broker session',
          act: async () => (await connection).close(),
        })),
        ...this.#links.map((link) => ({ what: 'the faulty link to close', act: () => link.close() })),
      ]);
    }
  }

  async #forget(): Promise<void> {
    const { backend } = await this.open();
    const acts = [{ what: "forget() of the test's results", act: () => backend.forget(this.#taskIds) }];
    if (backend.capabilities.shared) {
      for (const id of this.#groupIds) acts.push({ what: 'forgetGroup()', act: () => backend.forgetGroup(id) });
    }
    await endAll(acts);
  }

  /** One session for each process, opened when it is needed first, and again after a loss. */
  #brokerConnection(): () => Promise<Connection> {
    const { broker } = this.options;
    if (broker === undefined) {
      return () => Promise.reject(new UnsupportedError('No "broker" was given to the conformance kit.'));
    }
    let current: Promise<Connection> | undefined;
    return () => {
      if (current === undefined) {
        const opening = broker.transport.connect(new BrokerUrl(broker.url), { ...broker.connect });
        current = opening;
        this.#connections.push(opening);
        const forget = (): void => {
          if (current === opening) current = undefined;
        };
        opening.then((connection) => connection.closed.then(forget, forget), forget);
      }
      return current;
    };
  }
}

/** Keeps what a subscription tells. */
export class Watcher {
  subscription!: Subscription;
  readonly seen: TaskMeta[] = [];
  readonly #deadline: Deadline;
  #wakes: (() => void)[] = [];

  constructor(deadline: Deadline) {
    this.#deadline = deadline;
  }

  readonly listener = (meta: TaskMeta): void => {
    this.seen.push(meta);
    for (const wake of this.#wakes.splice(0)) wake();
  };

  statesOf(taskId: string): TaskState[] {
    return this.seen.filter((meta) => meta.task_id === taskId).map(({ status }) => status);
  }

  async until(what: string, isIt: (meta: TaskMeta) => boolean): Promise<TaskMeta> {
    const search = async (): Promise<TaskMeta> => {
      for (;;) {
        const found = this.seen.find(isIt);
        if (found !== undefined) return found;
        await new Promise<void>((resolve) => {
          this.#wakes.push(resolve);
        });
      }
    };
    return this.#deadline.of(search(), what);
  }
}

/** A write for the process that asks; the rest of the meta as the worker fills it. */
export function write(reader: Store, meta: Partial<TaskMeta> & Pick<TaskMeta, 'task_id' | 'status'>): ResultWrite {
  const isFinal = ['SUCCESS', 'FAILURE', 'REVOKED'].includes(meta.status);
  return {
    meta: {
      ...taskMeta(meta.task_id),
      date_done: isFinal ? new Date().toISOString().replace('Z', '000+00:00') : null,
      ...meta,
    },
    replyTo: reader.oid,
    correlationId: meta.task_id,
  };
}

/** Holds that both are the same, as far as every store of Celery keeps it. */
export function sameMeta(actual: TaskMeta | undefined, expected: TaskMeta): void {
  const what = `${expected.status} ${expected.task_id}`;
  assert.ok(actual, `${what}: nothing is kept`);
  assert.deepEqual(
    { task_id: actual.task_id, status: actual.status, traceback: actual.traceback ?? null },
    { task_id: expected.task_id, status: expected.status, traceback: expected.traceback },
  );
  assert.deepEqual(plain(actual.result), plain(expected.result), `${what}: result`);
  // Celery's tables have no column for children.
  if (actual.children != null && actual.children.length > 0) {
    assert.deepEqual(plain(actual.children), expected.children, `${what}: children`);
  }
  if (expected.date_done === null) return;
  assert.ok(actual.date_done, `${what}: date_done`);
  const apartMs = Math.abs(instant(actual.date_done) - instant(expected.date_done));
  // Some columns keep whole seconds.
  assert.ok(apartMs <= 1000, `${what}: date_done is ${actual.date_done}, stored was ${expected.date_done}`);
}

/** Naive means UTC. */
function instant(text: string): number {
  const hasZone = /(?:Z|[+-]\d\d:?\d\d)$/.test(text);
  return Date.parse(hasZone ? text : `${text}Z`);
}

/** Without prototypes, which own properties from outside need not have. */
export function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
}
