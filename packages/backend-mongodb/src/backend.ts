import { SURE } from '@lovage/mongodb';
import {
  type BackendCapabilities,
  type BackendOptions,
  ClosedError,
  EncodeError,
  inTime,
  isLovageError,
  type Logger,
  type ResultBackend,
  type ResultCodec,
  ResultPoll,
  type ResultWrite,
  silentLogger,
  type Subscription,
  type TaskMeta,
  TimeoutError,
} from '@lovage/core/backend';
import type { Document } from 'mongodb';
import { MongoDocuments } from './document-store.ts';
import { fromDocument, groupFromDocument, groupToDocument, toDocument } from './documents.ts';
import { ChangedIds } from './feed.ts';
import type { OpenStore } from './open.ts';
import { StateWriter } from './writer.ts';

/** Every call has an answer, or an error, within this time. */
const CALL_MS = 10_000;
const CLOSE_MS = 2000;
const READ_AT_ONCE = 1000;
/** Between two attempts to open the store again while somebody waits. */
const REOPEN_MS = [100, 5000] as const;

type Listener = (meta: TaskMeta) => void;

interface Followed {
  readonly listeners: Set<Listener>;
  /** What was told last, to tell changes when everything is read again. */
  seen: string | undefined;
  isFinal: boolean;
}

interface Session extends OpenStore {
  readonly writer: StateWriter;
  readonly changes: ChangedIds;
}

/**
 * Results in Celery's collections. Waiting is one change stream for all waiters of the process where the server has
 * them, else one adaptive poll.
 */
export class MongoResultBackend implements ResultBackend {
  readonly documents: MongoDocuments = new MongoDocuments((act) => this.#call(({ link }) => act(link)));
  readonly #reopen: () => Promise<OpenStore>;
  readonly #codec: ResultCodec;
  readonly #logger: Logger;
  readonly #expiresSeconds: number | undefined;
  readonly #followed = new Map<string, Followed>();
  readonly #poll: ResultPoll;
  #canNotify: boolean;
  #session: Promise<Session> | undefined;
  /** Ids that changed, read one batch after the other. */
  #changed = new Set<string>();
  #isReading = false;
  #closing: Promise<void> | undefined;

  constructor(store: OpenStore, reopen: () => Promise<OpenStore>, options: BackendOptions) {
    this.#reopen = reopen;
    this.#codec = options.codec;
    this.#logger = options.logger ?? silentLogger;
    this.#expiresSeconds = options.expiresSeconds;
    this.#canNotify = store.link.replication !== undefined;
    this.#poll = new ResultPoll({ load: (ids) => this.load(ids), logger: this.#logger });
    this.#session = Promise.resolve(this.#adopt(store));
  }

  get capabilities(): BackendCapabilities {
    return { notifies: this.#canNotify, shared: true, autoExpires: false };
  }

  /** Results are documents: nothing has to be prepared. */
  async expect(): Promise<void> {}

  async store(writes: readonly ResultWrite[]): Promise<void> {
    const now = Date.now();
    await this.#call(async ({ writer, link }) => {
      const outcomes = await Promise.allSettled(
        writes.map(async ({ meta, at = now }) => {
          checkId(meta.task_id);
          await writer.write(toDocument(meta, this.#codec, link.maxDocumentBytes), at);
        }),
      );
      for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
    });
    if (!this.#canNotify) this.#poll.wake();
  }

  load(taskIds: readonly string[]): Promise<readonly (TaskMeta | undefined)[]> {
    return this.#call(async (session) => {
      const found = new Map<string, TaskMeta>();
      for (let start = 0; start < taskIds.length; start += READ_AT_ONCE) {
        for (const meta of await this.#read(session, taskIds.slice(start, start + READ_AT_ONCE)))
          found.set(meta.task_id, meta);
      }
      return taskIds.map((id) => found.get(id));
    });
  }

  async subscribe(taskIds: readonly string[], listener: Listener): Promise<Subscription> {
    if (this.#canNotify) {
      // Followed before the stream is there: a loss from now on reads them again.
      const subscription = this.#follow(taskIds, listener);
      try {
        if (await this.#call(({ changes }) => this.#isTold(changes))) return subscription;
      } catch (error) {
        subscription.unsubscribe();
        throw error;
      }
      subscription.unsubscribe();
      this.#canNotify = false;
      this.#logger.info(
        {},
        'This MongoDB gives no change streams (they need a replica set and the right to read them): results are polled.',
      );
    } else await this.#open();
    return this.#poll.subscribe(taskIds, listener);
  }

  #follow(taskIds: readonly string[], listener: Listener): Subscription {
    // Each subscription has its own listener, even when the same function is given twice.
    const own: Listener = (meta) => listener(meta);
    for (const id of taskIds) {
      const followed = this.#followed.get(id);
      if (followed === undefined)
        this.#followed.set(id, { listeners: new Set([own]), seen: undefined, isFinal: false });
      else followed.listeners.add(own);
    }
    return {
      unsubscribe: () => {
        for (const id of taskIds) {
          const followed = this.#followed.get(id);
          if (followed?.listeners.delete(own) === true && followed.listeners.size === 0) this.#followed.delete(id);
        }
        if (this.#followed.size === 0) void this.#session?.then(({ changes }) => changes.rest()).catch(() => undefined);
      },
    };
  }

  /** False where the server refuses change streams. */
  async #isTold(changes: ChangedIds): Promise<boolean> {
    try {
      await changes.want();
      return true;
    } catch (error) {
      if (!isLovageError(error) || isLovageError(error, 'ERR_CONNECTION_LOST') || isLovageError(error, 'ERR_CLOSED'))
        throw error;
      this.#logger.debug({ err: error }, 'No change stream could be opened.');
      return false;
    }
  }

  async forget(taskIds: readonly string[]): Promise<void> {
    await this.#call(({ link, tasks }) =>
      link.run({ delete: tasks, deletes: [{ q: { _id: { $in: taskIds } }, limit: 0 }], writeConcern: SURE }),
    );
  }

  async saveGroup(groupId: string, tuple: unknown): Promise<void> {
    checkId(groupId);
    const document = groupToDocument(groupId, tuple, this.#codec);
    await this.#call(({ link, groups }) =>
      link.run({
        update: groups,
        updates: [{ q: { _id: groupId }, u: document, upsert: true }],
        writeConcern: SURE,
      }),
    );
  }

  async loadGroup(groupId: string): Promise<unknown> {
    const document = await this.#call(async ({ link, groups }) => {
      const { cursor } = await link.run({ find: groups, filter: { _id: groupId }, limit: 1, singleBatch: true });
      return (cursor as { firstBatch: Document[] }).firstBatch[0];
    });
    return document === undefined ? undefined : groupFromDocument(document, this.#codec);
  }

  async forgetGroup(groupId: string): Promise<void> {
    await this.#call(({ link, groups }) =>
      link.run({ delete: groups, deletes: [{ q: { _id: groupId }, limit: 1 }], writeConcern: SURE }),
    );
  }

  /** Source: celery/backends/mongodb.py, cleanup. By the index on `date_done`. */
  async cleanup(): Promise<void> {
    const seconds = this.#expiresSeconds;
    await this.#call(async ({ link, tasks, groups }) => {
      await this.documents.removeExpired(link);
      if (seconds === undefined) return;
      const expired = { date_done: { $lt: new Date(link.serverMs - seconds * 1000) } };
      for (const name of [tasks, groups])
        await link.run({ delete: name, deletes: [{ q: expired, limit: 0 }], writeConcern: SURE });
    });
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#followed.clear();
    this.#poll.close();
    const session = await this.#session?.catch(() => undefined);
    if (session === undefined) return;
    session.changes.stop();
    await Promise.race([session.writer.flushed(), afterMs(CLOSE_MS)]);
    await session.link.close();
  }

  #call<T>(act: (session: Session) => Promise<T>): Promise<T> {
    return inTime(this.#open().then(act), {
      timeoutMs: CALL_MS,
      late: () => new TimeoutError(`The result store did not answer within ${CALL_MS} ms.`),
    });
  }

  #open(): Promise<Session> {
    if (this.#closing !== undefined) return Promise.reject(new ClosedError('The result backend is closed.'));
    return (this.#session ??= this.#reopen().then(
      async (store) => {
        if (this.#closing !== undefined) {
          await store.link.close();
          throw new ClosedError('The result backend is closed.');
        }
        return this.#adopt(store);
      },
      (error: unknown) => {
        this.#session = undefined;
        throw error;
      },
    ));
  }

  #adopt(store: OpenStore): Session {
    const { link, tasks } = store;
    link.lost.catch((error: unknown) => {
      if (this.#closing !== undefined) return;
      this.#logger.warn({ err: error }, 'The result store was lost and is opened again.');
      this.#session = undefined;
      if (this.#followed.size > 0) void this.#resume();
    });
    return {
      ...store,
      writer: new StateWriter(link, tasks),
      changes: new ChangedIds(link, tasks, (ids) => this.#note(ids), this.#logger),
    };
  }

  /** Listens again, then reads what was missed. */
  async #resume(): Promise<void> {
    for (let pauseMs: number = REOPEN_MS[0]; this.#followed.size > 0 && this.#closing === undefined; ) {
      try {
        await this.#call(({ changes }) => changes.want());
        this.#note([...this.#followed].flatMap(([id, { isFinal }]) => (isFinal ? [] : [id])));
        return;
      } catch (error) {
        this.#logger.debug({ err: error, pauseMs }, 'The result store could not be opened again; trying once more.');
      }
      await afterMs(pauseMs);
      pauseMs = Math.min(REOPEN_MS[1], pauseMs * 2);
    }
  }

  #note(ids: readonly string[]): void {
    for (const id of ids) if (this.#followed.has(id)) this.#changed.add(id);
    if (this.#changed.size > 0 && !this.#isReading) void this.#readChanged();
  }

  async #readChanged(): Promise<void> {
    this.#isReading = true;
    while (this.#changed.size > 0) {
      const ids = [...this.#changed].slice(0, READ_AT_ONCE);
      for (const id of ids) this.#changed.delete(id);
      try {
        const session = await this.#open();
        for (const meta of await this.#read(session, ids)) this.#tell(meta);
      } catch (error) {
        // After a loss everything that is followed is read again.
        if (!isLovageError(error, 'ERR_CONNECTION_LOST') && this.#closing === undefined)
          this.#logger.warn({ err: error }, 'Results could not be read; the next change tries again.');
        break;
      }
    }
    this.#isReading = false;
  }

  async #read({ link, tasks }: Session, ids: readonly string[]): Promise<readonly TaskMeta[]> {
    const collection = link.db.collection(tasks);
    const filter = { _id: { $in: ids } } as object;
    const documents = await link.call(() => collection.find(filter, { batchSize: READ_AT_ONCE }).toArray());
    return documents.map((document) => fromDocument(document, this.#codec, this.#logger));
  }

  #tell(meta: TaskMeta): void {
    const followed = this.#followed.get(meta.task_id);
    if (followed === undefined || followed.isFinal) return;
    const seen = JSON.stringify([meta.status, meta.date_done, meta.status === 'SUCCESS' ? null : meta.result]);
    if (followed.seen === seen) return;
    followed.seen = seen;
    followed.isFinal = meta.status === 'SUCCESS';
    for (const listener of followed.listeners) {
      try {
        listener(meta);
      } catch (error) {
        this.#logger.error({ err: error, taskId: meta.task_id }, 'A listener of results threw.');
      }
    }
  }
}

function checkId(id: string): void {
  if (id !== '' && !id.includes('\0')) return;
  throw new EncodeError(`The id ${JSON.stringify(id)} cannot be kept. Expected text without a NUL character.`);
}

function afterMs(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}
