import { randomBytes } from 'node:crypto';
import {
  type BindingStore,
  BrokerBlockedError,
  type Capabilities,
  isLovageError,
  type Logger,
  LovageError,
  MessageTooLargeError,
  PublishError,
  type PublishFailure,
  type Pulled,
  type PullRequest,
  type Queue,
  type QueueDriver,
  type QueueEntry,
  type ReceiptSettlement,
  type StoredBinding,
} from '@lovage/core/transport';
import type { CouchDatabase, CouchDocument, Row } from '@lovage/couchdb';
import {
  bindingDocument,
  bindingOf,
  BINDINGS,
  bindingsOf,
  delayedMessage,
  DESIGN,
  endOf,
  heldMessage,
  keysOf,
  messageOf,
  type News,
  releasedMessage,
  type Waiting,
  waitingMessage,
} from './layout.ts';
import { Lease } from './lease.ts';
import { Reaper } from './reaper.ts';
import { TemporaryQueues } from './temporary-queues.ts';
import { ChangeWakeUps } from './wake-ups.ts';

/** A message as this owner holds it; who holds it later has another revision. */
export interface CouchReceipt {
  readonly id: string;
  readonly rev: string;
  readonly owner: string;
}

export interface CouchDriverOptions {
  readonly leaseMs: number;
  /** Bytes of the largest document. */
  readonly maxDocumentSize: number;
  readonly logger: Logger;
}

/** A message on its way, and its place in the batch. */
interface Outgoing {
  readonly index: number;
  readonly id: string;
  readonly text: string;
}

/** One pull reads about so much: documents come and go whole. */
const BYTES_PER_PULL = 8 * 1024 * 1024;
const FIRST_ROWS = 32;
const MOST_ROWS = 256;
/** Who often comes too late looks so far behind the first message, at most. */
const WIDEST = 512;
/** Bytes of a document beside its payload. */
const DOCUMENT_BYTES = 1024;
/** Bytes that a document grows by when its message is held: one that fits only while it waits could never be taken. */
const HELD_BYTES = 128;
/** Ten years. */
const MAX_DELAY_MS = 315_360_000_000;
const PURGE_ROWS = 1000;
/** Answers to the settling of a message that somebody else has, or nobody any more. */
const DONE: ReadonlySet<string | undefined> = new Set(['conflict', 'not_found']);
const CLOSE_MS = 500;

/** Queues in a CouchDB: one document per message, taken by an update that only one can make. */
export class CouchDriver implements QueueDriver<CouchReceipt> {
  readonly capabilities: Capabilities;
  readonly lost: Promise<never>;
  readonly bindings: BindingStore;
  readonly #database: CouchDatabase;
  readonly #maxDocumentSize: number;
  readonly #logger: Logger;
  readonly #lease: Lease;
  readonly #reaper: Reaper;
  readonly #temporary: TemporaryQueues;
  readonly #wakeUps: ChangeWakeUps;
  /** Queues that may have something: all but those that were found empty with no news since. */
  readonly #quiet = new Set<string>();
  /** When the next delayed message of a queue is due; unknown where there is no entry. */
  readonly #dueAt = new Map<string, number>();
  readonly #unique = randomBytes(6).toString('base64url');
  #number = 0;
  #lastAt = 0;
  #meanBytes = BYTES_PER_PULL / FIRST_ROWS;
  #width = 0;
  #housekeeping: NodeJS.Timeout | undefined;
  #isKeeping = false;
  readonly #leaseMs: number;
  #isClosed = false;

  constructor(database: CouchDatabase, { leaseMs, maxDocumentSize, logger }: CouchDriverOptions) {
    this.#database = database;
    this.#maxDocumentSize = maxDocumentSize;
    this.#leaseMs = leaseMs;
    this.#logger = logger;
    this.lost = database.lost;
    this.lost.catch(() => this.#stop());
    this.#lease = new Lease(database, leaseMs);
    this.#reaper = new Reaper(database, leaseMs, logger);
    this.#temporary = new TemporaryQueues(database);
    this.#wakeUps = new ChangeWakeUps(database, (news) => this.#hear(news));
    this.capabilities = {
      fanout: true,
      priorityLevels: 10,
      servesFirst: 'highest',
      maxDelayMs: MAX_DELAY_MS,
      leaseMs,
      maxMessageBytes: Math.max(1, maxDocumentSize - DOCUMENT_BYTES),
      // By the order of an index; CouchDB itself knows neither.
      emulated: ['priority', 'delay'],
      guarantee: `${database.server}: what a publish confirmed is on the disk of the server, or of a quorum of the cluster`,
    };
    this.bindings = {
      add: (exchange, binding) => this.#bind(exchange, binding),
      remove: (exchange, binding) => this.#unbind(exchange, binding),
      list: (exchange) => this.#listBindings(exchange),
    };
  }

  async ensureQueue(queue: Queue): Promise<void> {
    // A queue exists as soon as a message names it.
    if (queue.autoDelete !== true && queue.exclusive !== true) return;
    await this.#temporary.add(queue);
    this.#keepHouse();
  }

  async removeQueue(name: string): Promise<void> {
    await this.#temporary.remove(name);
    await this.purge(name);
  }

  async push(entries: readonly QueueEntry[]): Promise<void> {
    const now = Date.now();
    const failures: PublishFailure[] = [];
    const documents: Outgoing[] = [];
    for (const [index, { queue, payload, priority, delayMs }] of entries.entries()) {
      const unique = `${this.#unique}${(this.#number++).toString(36)}`;
      const document =
        delayMs > 0
          ? delayedMessage(queue, payload, priority, now + delayMs, unique)
          : waitingMessage(queue, payload, priority, this.#at(now), unique);
      const text = JSON.stringify(document);
      const bytes = Buffer.byteLength(text);
      if (bytes > this.#maxDocumentSize - HELD_BYTES) failures.push({ index, error: this.#tooLarge(bytes, queue) });
      else documents.push({ index, id: document._id, text });
    }
    failures.push(...(await this.#publish(documents)));
    if (failures.length > 0) throw new PublishError(failures, entries.length);
  }

  async pull({ queues, max, waitMs, signal }: PullRequest): Promise<readonly Pulled<CouchReceipt>[]> {
    this.#keepHouse();
    await this.#wakeUps.listen();
    const deadline = Date.now() + waitMs;
    // A hint that got lost costs no more than one wait.
    for (const queue of queues) this.#quiet.delete(queue);
    while (!signal.aborted && !this.#isClosed) {
      const seen = this.#wakeUps.count;
      const pulled: Pulled<CouchReceipt>[] = [];
      let isContended = false;
      for (const queue of queues) {
        if (pulled.length >= max || signal.aborted) break;
        try {
          const taken = await this.#take(queue, max - pulled.length);
          pulled.push(...taken.pulled);
          isContended ||= taken.isContended;
        } catch (error) {
          // What the queues before gave is ours, and would stay so unseen.
          if (pulled.length === 0) throw error;
          break;
        }
      }
      if (pulled.length > 0) return pulled;
      const now = Date.now();
      if (now >= deadline) break;
      const nextDueAt = Math.min(...queues.map((queue) => this.#dueAt.get(queue) ?? Number.POSITIVE_INFINITY));
      // Others were faster with all that was there: a moment apart, not in step.
      const pauseMs = isContended ? Math.random() * 20 : Math.min(deadline - now, Math.max(1, nextDueAt - now));
      await this.#wakeUps.sleep(isContended ? this.#wakeUps.count : seen, pauseMs, signal);
    }
    return [];
  }

  async settle(settlements: readonly ReceiptSettlement<CouchReceipt>[]): Promise<void> {
    const acks: CouchDocument[] = [];
    const requeues: CouchReceipt[] = [];
    for (const { receipt, outcome } of settlements) {
      if (outcome === 'ack') acks.push({ _id: receipt.id, _rev: receipt.rev, _deleted: true });
      else requeues.push(receipt);
    }
    await Promise.all([
      acks.length > 0 ? this.#writeSettled(acks) : undefined,
      requeues.length > 0 ? this.#requeue(requeues) : undefined,
    ]);
  }

  readonly renewsByHolder = true;

  get leaseHolder(): string | undefined {
    return this.#lease.owner;
  }

  async extendLease(receipts: readonly CouchReceipt[]): Promise<readonly CouchReceipt[]> {
    const { owner } = this.#lease;
    const isAlive = await this.#lease.renew();
    return receipts.filter((receipt) => !isAlive || receipt.owner !== owner);
  }

  async size(queue: string): Promise<number> {
    const counts = await Promise.all(
      (['r', 'd'] as const).map((state) => this.#database.view(DESIGN.name, 'messages', keysOf(state, queue))),
    );
    return counts.reduce((sum, rows) => sum + Number(rows[0]?.value ?? 0), 0);
  }

  async purge(queue: string): Promise<number> {
    let dropped = 0;
    for (const state of ['r', 'd'] as const) {
      for (;;) {
        const query = { ...keysOf(state, queue), reduce: false, limit: PURGE_ROWS };
        const rows = await this.#database.view(DESIGN.name, 'messages', query);
        if (rows.length === 0) break;
        const { outcomes } = await this.#database.write(
          rows.map(({ id, value }) => ({ _id: id, _rev: value as string, _deleted: true })),
        );
        const gone = outcomes.filter(({ rev }) => rev !== undefined).length;
        dropped += gone;
        // The rest is being taken at this very moment.
        if (gone === 0 || rows.length < PURGE_ROWS) break;
      }
    }
    return dropped;
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#stop();
    const timer = setTimeout(() => this.#database.close(), CLOSE_MS);
    try {
      await this.#lease.end();
    } catch (error) {
      this.#logger.debug({ err: error }, 'the consumer stays registered until its lease ends');
    }
    clearTimeout(timer);
    this.#database.close();
  }

  // Publishing

  /** Rising within a process, and the time it says. */
  #at(now: number): number {
    this.#lastAt = Math.max(now, this.#lastAt + 0.001);
    return this.#lastAt;
  }

  async #publish(documents: readonly Outgoing[]): Promise<readonly PublishFailure[]> {
    if (documents.length === 0) return [];
    let written;
    try {
      written = await this.#database.writeTexts(
        documents.map(({ id }) => id),
        documents.map(({ text }) => text),
      );
    } catch (error) {
      if (!isLovageError(error) || error.code === 'ERR_CONNECTION_LOST') throw error;
      // CouchDB refuses a batch for the one that is too large for it.
      if (error.code === 'ERR_TOO_LARGE' && documents.length > 1) {
        return (await Promise.all(documents.map((document) => this.#publish([document])))).flat();
      }
      return documents.map(({ index }) => ({ index, error }));
    }
    return written.outcomes.flatMap(({ rev, error, reason }, part) => {
      // Nobody else has this id: an earlier attempt, whose answer was an error, has written it.
      if (rev !== undefined || error === 'conflict') return [];
      const refusal = new LovageError('ERR_PUBLISH', `CouchDB did not take the message: ${error}: ${reason}`);
      return [{ index: (documents[part] as Outgoing).index, error: refusal }];
    });
  }

  #tooLarge(bytes: number, queue: string): LovageError {
    const limitBytes = this.#maxDocumentSize - HELD_BYTES;
    return new MessageTooLargeError(
      `A message of ${bytes} bytes as a document is more than the ${limitBytes} bytes that this CouchDB takes (max_document_size, less the ${HELD_BYTES} bytes that its consumer adds).`,
      { facts: { limitBytes, queue } },
    );
  }

  // Taking

  async #take(
    queue: string,
    max: number,
  ): Promise<{ readonly pulled: readonly Pulled<CouchReceipt>[]; readonly isContended: boolean }> {
    const limit = Math.max(1, Math.min(max, MOST_ROWS, Math.floor(BYTES_PER_PULL / this.#meanBytes)));
    const due = await this.#due(queue, limit);
    const rows = due.length > 0 ? due : await this.#ready(queue, limit);
    const messages = rows.map((row) => messageOf(row, queue)).filter((message) => message !== undefined);
    if (messages.length === 0) return { pulled: [], isContended: rows.length > 0 };
    this.#meanBytes = messages.reduce((sum, { payload }) => sum + payload.length + DOCUMENT_BYTES, 0) / messages.length;
    const pulled = await this.#claim(queue, messages);
    this.#width =
      pulled.length < messages.length / 2
        ? Math.min(WIDEST, Math.max(limit, this.#width * 2))
        : Math.floor(this.#width / 2);
    return { pulled, isContended: pulled.length === 0 };
  }

  async #ready(queue: string, limit: number): Promise<readonly Row[]> {
    if (this.#quiet.has(queue)) return [];
    const seen = this.#wakeUps.count;
    const query = { ...keysOf('r', queue), reduce: false, include_docs: true, limit };
    // Many who come at once would all try the same first messages.
    const skip = Math.floor(Math.random() * (this.#width + 1));
    const rows = skip === 0 ? [] : await this.#database.view(DESIGN.name, 'messages', { ...query, skip });
    if (rows.length > 0) return rows;
    const first = await this.#database.view(DESIGN.name, 'messages', query);
    if (first.length === 0 && seen === this.#wakeUps.count) this.#quiet.add(queue);
    return first;
  }

  /** Delayed messages whose time has come. */
  async #due(queue: string, limit: number): Promise<readonly Row[]> {
    const now = Date.now();
    if ((this.#dueAt.get(queue) ?? 0) > now) return [];
    const query = { reduce: false, include_docs: true };
    const rows = await this.#database.view(DESIGN.name, 'messages', { ...keysOf('d', queue, now), ...query, limit });
    if (rows.length > 0) return rows;
    // Before the question: news that come meanwhile are not to be overwritten by its answer.
    this.#dueAt.set(queue, Number.POSITIVE_INFINITY);
    const next = await this.#database.view(DESIGN.name, 'messages', { ...keysOf('d', queue), reduce: false, limit: 1 });
    const dueAt = (next[0]?.key as readonly [string, string, number] | undefined)?.[2];
    if (dueAt !== undefined && this.#dueAt.get(queue) === Number.POSITIVE_INFINITY) this.#dueAt.set(queue, dueAt);
    return [];
  }

  /** Those that are ours now. A conflict: somebody else was faster. */
  async #claim(queue: string, messages: readonly Waiting[]): Promise<readonly Pulled<CouchReceipt>[]> {
    const owner = await this.#lease.fresh();
    let revs: readonly (string | undefined)[];
    try {
      const held = messages.map((message) => heldMessage(message, owner));
      const { outcomes, isDoubtful } = await this.#database.write(held);
      revs = isDoubtful ? await this.#revisionsOf(messages, owner) : outcomes.map(({ rev }) => rev);
    } catch (error) {
      if (isLovageError(error, 'ERR_AUTH') || isLovageError(error, 'ERR_TOO_LARGE')) throw error;
      // Some may be ours now, and nobody knows which: they come back when our lease ends, and that ends with the link.
      throw this.#database.fail(error);
    }
    return messages.flatMap(({ _id, payload, deliveries = 0 }, index) => {
      const rev = revs[index];
      if (rev === undefined) return [];
      return [{ queue, payload, receipt: { id: _id, rev, owner }, deliveryCount: deliveries + 1 }];
    });
  }

  /** An attempt whose answer was an error may have taken them: what is this owner's is. */
  async #revisionsOf(messages: readonly Waiting[], owner: string): Promise<readonly (string | undefined)[]> {
    const documents = await this.#database.documents(messages.map(({ _id }) => _id));
    return documents.map((doc) => (doc?.['owner'] === owner ? doc._rev : undefined));
  }

  async #requeue(receipts: readonly CouchReceipt[]): Promise<void> {
    const documents = await this.#database.documents(receipts.map(({ id }) => id));
    const released = documents.flatMap((doc, index) => {
      const { rev, owner } = receipts[index] as CouchReceipt;
      const message = doc?._rev === rev ? releasedMessage(doc, owner) : undefined;
      return message === undefined ? [] : [message];
    });
    if (released.length > 0) await this.#writeSettled(released);
  }

  /** A conflict means that the lease was lost, or that an earlier attempt did it: nothing is left to do in both. */
  async #writeSettled(documents: readonly CouchDocument[]): Promise<void> {
    const { outcomes } = await this.#database.write(documents);
    const refused = outcomes.filter(({ rev, error }) => rev === undefined && !DONE.has(error));
    if (refused.length === 0) return;
    const [{ error, reason } = {}] = refused;
    throw new BrokerBlockedError(
      `CouchDB did not settle ${refused.length} of ${documents.length} messages (${error}: ${reason}). They are held until they are settled again.`,
      { facts: { refused: refused.length } },
    );
  }

  #hear(news: News): void {
    if (news.kind === 'delayed') this.#dueAt.delete(news.queue);
    else if (news.queue === undefined) this.#quiet.clear();
    else this.#quiet.delete(news.queue);
  }

  // Bindings

  async #bind(exchange: string, binding: StoredBinding): Promise<void> {
    this.#temporary.bound(exchange, binding);
    // A conflict: it is there already.
    await this.#database.write([bindingDocument(exchange, binding)]);
  }

  async #unbind(exchange: string, binding: StoredBinding): Promise<void> {
    this.#temporary.unbound(exchange, binding);
    const [doc] = await this.#database.documents([bindingDocument(exchange, binding)._id]);
    if (doc?._rev !== undefined) await this.#database.write([{ _id: doc._id, _rev: doc._rev, _deleted: true }]);
  }

  async #listBindings(exchange: string): Promise<readonly StoredBinding[]> {
    const prefix = bindingsOf(exchange);
    const rows = await this.#database.range(prefix, endOf(prefix), { include_docs: true });
    return rows.map(({ doc }) => bindingOf(doc)).filter((binding) => binding !== undefined);
  }

  // Housekeeping

  #keepHouse(): void {
    this.#housekeeping ??= setInterval(() => void this.#lookAround(), this.#leaseMs / 3).unref();
  }

  async #lookAround(): Promise<void> {
    if (this.#isKeeping || this.#isClosed) return;
    this.#isKeeping = true;
    try {
      await this.#reaper.look(this.#lease.owner);
      for (const name of await this.#temporary.keep()) await this.#clear(name);
    } catch (error) {
      if (!this.#isClosed) this.#logger.warn({ err: error }, 'looking after dead consumers failed; trying again');
    } finally {
      this.#isKeeping = false;
    }
  }

  /** What an abandoned queue leaves: bindings, which would fill it on, and messages. */
  async #clear(name: string): Promise<void> {
    const rows = await this.#database.range(BINDINGS, endOf(BINDINGS), { include_docs: true });
    const bindings = rows.flatMap(({ doc }) => (doc?.['queue'] === name && doc._rev !== undefined ? [doc] : []));
    if (bindings.length > 0) {
      await this.#database.write(
        bindings.map(({ _id, _rev }) => ({ _id, _rev: _rev as string, _deleted: true as const })),
      );
    }
    const dropped = await this.purge(name);
    this.#logger.info({ queue: name, messages: dropped }, 'a temporary queue that nobody renewed was removed');
  }

  #stop(): void {
    this.#isClosed = true;
    clearInterval(this.#housekeeping);
    this.#wakeUps.stop();
  }
}
