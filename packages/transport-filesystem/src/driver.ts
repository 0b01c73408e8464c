import { readFile, rename, stat, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type BindingStore,
  type Capabilities,
  ClosedError,
  type Logger,
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
import { Delayed, did } from './delayed.ts';
import { isGone, toLovageError } from './errors.ts';
import { ExchangeTables } from './exchange-tables.ts';
import { listMessages, moveAway, syncFolder } from './folders.ts';
import { Inbox } from './inbox.ts';
import { Leases } from './leases.ts';
import { checkName, delayedName, type MessageName, newMessageName, returnedName } from './names.ts';
import type { FilesystemSettings } from './options.ts';
import { TemporaryQueues } from './temporary-queues.ts';

/** Ten years. */
const MAX_DELAY_MS = 315_360_000_000;
/** Most messages of one pull: each is three calls to the file system. */
const MOST_PER_PULL = 100;
/** Kombu writes into the final file: one that is no envelope may be half written, for so long. */
const WRITING_MS = { empty: 1000, partial: 200 } as const;
const LOOK_AGAIN_MS = 20;
/** How often, at least, others are looked for that died. */
const MOST_RECLAIM_MS = 5000;

/** A message, and in whose folder it lies. */
export interface FileReceipt {
  readonly message: MessageName;
  readonly holder: string;
}

/** `gone`: somebody else was faster. `unripe`: ours, and to be read again. */
type Claimed = Pulled<FileReceipt> | 'gone' | 'unripe';

/** The folders of one connection; all exist. */
export interface Folders {
  /** Under `data_folder_in`. */
  readonly held: string;
  readonly delayed: string;
  /** Under `data_folder_out`. */
  readonly writing: string;
  readonly delayedOut: string;
  /** Under the control folder. */
  readonly temporary: string;
}

/** Kombu's folders as a queue with leases. */
export class FilesystemDriver implements QueueDriver<FileReceipt> {
  readonly capabilities: Capabilities;
  readonly bindings: BindingStore;
  readonly #settings: FilesystemSettings;
  readonly #logger: Logger;
  readonly #folders: Folders;
  readonly #inbox: Inbox;
  readonly #delayed: Delayed;
  readonly #leases: Leases;
  readonly #temporary: TemporaryQueues;
  /** Taken, and still being written or not readable at the moment. */
  readonly #unripe = new Map<string, FileReceipt>();
  #wake: (() => void) | undefined;
  #changes = 0;
  #readAt = 0;
  #reclaimedAt = 0;
  #nextDueAt = 0;
  #isClosed = false;

  constructor(settings: FilesystemSettings, folders: Folders, logger: Logger) {
    this.#settings = settings;
    this.#logger = logger;
    this.#folders = folders;
    const { folderIn, leaseMs, isSynchronous } = settings;
    const onChange = (): void => {
      this.#changes++;
      this.#wake?.();
    };
    this.#inbox = new Inbox({ folder: folderIn, logger, onChange });
    this.#delayed = new Delayed(folders.delayed, folderIn, () => {
      this.#nextDueAt = 0;
      onChange();
    });
    this.#leases = new Leases({ folder: folderIn, heldFolder: folders.held, leaseMs, logger });
    const tables = new ExchangeTables(settings.controlFolder, logger);
    this.#temporary = new TemporaryQueues({
      folder: folders.temporary,
      tables,
      purge: (queue) => this.purge(queue),
    });
    this.bindings = {
      add: (exchange, binding) => this.#bind(tables, exchange, binding),
      remove: (exchange, binding) => tables.remove(exchange, binding),
      list: (exchange) => tables.list(exchange),
    };
    this.capabilities = {
      fanout: true,
      priorityLevels: 0,
      servesFirst: 'highest',
      maxDelayMs: MAX_DELAY_MS,
      leaseMs,
      maxMessageBytes: 0,
      guarantee: isSynchronous
        ? 'filesystem, synchronous=full: a publish that resolved survives the death of every process and a power loss'
        : 'filesystem, synchronous=normal: a publish that resolved survives the death of every process; a power loss may take the last moments',
    };
  }

  /** A queue is a part of file names. */
  async ensureQueue(queue: Queue): Promise<void> {
    checkName(queue.name, 'queue');
    await this.#temporary.ensure(queue);
  }

  async removeQueue(name: string): Promise<void> {
    await this.#temporary.removed(name);
    await this.purge(name);
  }

  async push(entries: readonly QueueEntry[]): Promise<void> {
    const { folderOut, isSynchronous } = this.#settings;
    const failures: PublishFailure[] = [];
    const folders = new Set<string>();
    const written = await Promise.allSettled(entries.map((entry) => this.#write(entry)));
    // Asked for in the order of their names, so that the later ones of a call do not come to light long before the first.
    const results = await Promise.allSettled(
      written.map(async (file) => {
        if (file.status === 'rejected') throw file.reason;
        const { from, to, folder } = file.value;
        await rename(from, to);
        folders.add(folder);
      }),
    );
    for (const [index, result] of results.entries()) {
      if (result.status === 'rejected')
        failures.push({ index, error: toLovageError(result.reason, `Writing a message to "${folderOut}"`) });
    }
    if (isSynchronous) await Promise.all([...folders].map(syncFolder));
    if (failures.length > 0) throw new PublishError(failures, entries.length);
  }

  async pull({ queues, max, waitMs, signal }: PullRequest): Promise<readonly Pulled<FileReceipt>[]> {
    const deadline = Date.now() + waitMs;
    this.#inbox.listen();
    this.#delayed.listen();
    try {
      while (!signal.aborted) {
        if (this.#isClosed) throw new ClosedError('The connection is closed.');
        const seen = this.#changes;
        await this.#look();
        const { pulled, tried } = await this.#take(queues, Math.min(max, MOST_PER_PULL));
        const now = Date.now();
        if (pulled.length > 0 || now >= deadline) return pulled;
        // Others were faster, and there may be more; or something came meanwhile.
        if (tried > 0 || seen !== this.#changes) continue;
        const wakeAt = Math.min(
          deadline,
          this.#readAt + this.#settings.pollMs,
          this.#nextDueAt,
          this.#unripe.size > 0 ? now + LOOK_AGAIN_MS : Number.POSITIVE_INFINITY,
        );
        if (!signal.aborted) await this.#change(wakeAt - now, signal);
      }
      return [];
    } catch (error) {
      throw toLovageError(error, `Reading messages in "${this.#settings.folderIn}"`);
    }
  }

  async settle(settlements: readonly ReceiptSettlement<FileReceipt>[]): Promise<void> {
    try {
      await Promise.all(
        settlements.map(({ receipt, outcome }) =>
          outcome === 'ack' ? this.#finish(receipt) : this.#giveBack(receipt),
        ),
      );
    } catch (error) {
      throw toLovageError(error, `Settling messages in "${this.#settings.folderIn}"`);
    }
  }

  readonly renewsByHolder = true;

  get leaseHolder(): string | undefined {
    return this.#leases.folder;
  }

  async extendLease(receipts: readonly FileReceipt[]): Promise<readonly FileReceipt[]> {
    await this.#leases.renew();
    // A worker whose window is full pulls nothing for as long as its tasks run, and its queues are to stay.
    void this.#keepQueues();
    return receipts.filter(({ holder }) => !this.#leases.isCurrent(holder));
  }

  async size(queue: string): Promise<number> {
    const [waiting, delayed] = await Promise.all([this.#listed(queue), this.#delayed.count(queue)]);
    return waiting.length + delayed;
  }

  async purge(queue: string): Promise<number> {
    const [waiting, delayed] = await Promise.all([this.#listed(queue), this.#delayed.purge(queue)]);
    const removed = await Promise.all(waiting.map(({ name }) => did(unlink(join(this.#settings.folderIn, name)))));
    return removed.filter(Boolean).length + delayed;
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#inbox.close();
    this.#delayed.close();
    this.#wake?.();
    await this.#leases.close();
  }

  async #bind(tables: BindingStore, exchange: string, binding: StoredBinding): Promise<void> {
    await tables.add(exchange, binding);
    await this.#temporary.bound(exchange, binding);
  }

  // Sending

  /** Whole, before anybody sees it: Kombu reads whatever a file of the right name has. */
  async #write({ queue, payload, delayMs }: QueueEntry): Promise<{ from: string; to: string; folder: string }> {
    checkName(queue, 'queue');
    const name = newMessageName(queue, delayMs);
    const from = join(this.#folders.writing, name);
    const folder = delayMs > 0 ? this.#folders.delayedOut : this.#settings.folderOut;
    const to = join(folder, delayMs > 0 ? delayedName(name, Date.now() + delayMs) : name);
    await writeFile(from, payload, { flush: this.#settings.isSynchronous });
    return { from, to, folder };
  }

  /** Nothing to wait for: it may have to wait for a lock. */
  async #keepQueues(): Promise<void> {
    try {
      await this.#temporary.keepHouse();
    } catch (error) {
      this.#logger.warn({ err: error }, 'queues of this process could not be renewed; trying again in a while');
    }
  }

  // Taking

  /** What the system does not tell, told by looking. */
  async #look(): Promise<void> {
    const now = Date.now();
    const { pollMs, leaseMs } = this.#settings;
    if (now - this.#reclaimedAt >= Math.min(MOST_RECLAIM_MS, leaseMs / 3)) {
      this.#reclaimedAt = now;
      await this.#temporary.keepHouse();
      if ((await this.#leases.reclaim()) > 0) this.#readAt = 0;
    }
    if (now >= this.#nextDueAt || now - this.#readAt >= pollMs) {
      const { released, nextAt } = await this.#delayed.release();
      for (const name of released) this.#inbox.add(name);
      this.#nextDueAt = nextAt;
    }
    if (now - this.#readAt >= pollMs) {
      this.#readAt = now;
      await this.#inbox.read();
    }
  }

  async #take(
    queues: readonly string[],
    max: number,
  ): Promise<{ readonly pulled: readonly Pulled<FileReceipt>[]; readonly tried: number }> {
    const waiting = [...this.#unripe.values()].filter(({ message }) => queues.includes(message.queue)).slice(0, max);
    const ripened = await Promise.allSettled(waiting.map((receipt) => this.#read(receipt)));
    const ripe = pulledOf(ripened);
    if (ripe.length > 0) return { pulled: ripe, tried: 0 };
    const messages = this.#inbox.take(queues, max);
    const claimed = await this.#claimAll(messages);
    const pulled = pulledOf(claimed);
    if (pulled.length > 0) return { pulled, tried: messages.length };
    // What could be taken is ours and must be handed on: only where there is nothing of that, a failure is told.
    for (const outcome of [...ripened, ...claimed]) if (outcome.status === 'rejected') throw outcome.reason;
    if (claimed.some((one) => one.status === 'fulfilled' && one.value === 'gone') && !(await this.#leases.renew())) {
      // Not the messages had gone, but the folder they were to be put in.
      this.#readAt = 0;
    }
    return { pulled, tried: messages.length };
  }

  async #claimAll(messages: readonly MessageName[]): Promise<readonly PromiseSettledResult<Claimed>[]> {
    if (messages.length === 0) return [];
    try {
      const holder = await this.#leases.holder();
      return await Promise.allSettled(messages.map((message) => this.#claim({ message, holder })));
    } catch (error) {
      for (const { name } of messages) this.#inbox.add(name);
      throw error;
    }
  }

  async #claim(receipt: FileReceipt): Promise<Claimed> {
    const { name } = receipt.message;
    try {
      if (!(await did(rename(join(this.#settings.folderIn, name), this.#pathOf(receipt))))) return 'gone';
    } catch (error) {
      this.#inbox.add(name);
      throw error;
    }
    return this.#read(receipt);
  }

  /** What is ours and cannot be read, for whatever reason, is read again later. */
  async #read(receipt: FileReceipt): Promise<Claimed> {
    const path = this.#pathOf(receipt);
    const { name, queue, returns } = receipt.message;
    try {
      const payload = await readFile(path);
      if (!isWhole(payload)) {
        const ageMs = Date.now() - (await stat(path)).mtimeMs;
        if (ageMs < (payload.length === 0 ? WRITING_MS.empty : WRITING_MS.partial)) {
          this.#unripe.set(name, receipt);
          return 'unripe';
        }
      }
      this.#unripe.delete(name);
      return { queue, payload, receipt, deliveryCount: returns + 1 };
    } catch (error) {
      if (!isGone(error)) {
        this.#unripe.set(name, receipt);
        throw error;
      }
      this.#unripe.delete(name);
      return 'gone';
    }
  }

  // Settling

  async #finish(receipt: FileReceipt): Promise<void> {
    const { processedFolder } = this.#settings;
    const path = this.#pathOf(receipt);
    if (processedFolder === undefined) await did(unlink(path));
    else await did(moveAway(path, join(processedFolder, receipt.message.name)));
  }

  async #giveBack(receipt: FileReceipt): Promise<void> {
    const name = returnedName(receipt.message);
    if (!(await did(rename(this.#pathOf(receipt), join(this.#settings.folderIn, name))))) return;
    this.#inbox.add(name);
    this.#changes++;
    this.#wake?.();
  }

  #pathOf({ message, holder }: FileReceipt): string {
    return join(this.#leases.pathOf(holder), message.name);
  }

  #listed(queue: string): Promise<readonly MessageName[]> {
    return listMessages(this.#settings.folderIn, queue);
  }

  #change(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        this.#wake = undefined;
        clearTimeout(timer);
        signal.removeEventListener('abort', end);
        resolve();
      };
      const timer = setTimeout(end, Math.max(1, ms));
      signal.addEventListener('abort', end, { once: true });
      this.#wake = end;
    });
  }
}

function pulledOf(outcomes: readonly PromiseSettledResult<Claimed>[]): readonly Pulled<FileReceipt>[] {
  return outcomes.flatMap((one) => (one.status === 'fulfilled' && typeof one.value === 'object' ? [one.value] : []));
}

/** Whether it is JSON to its end, as every envelope is. */
function isWhole(payload: Buffer): boolean {
  try {
    JSON.parse(payload.toString());
    return true;
  } catch {
    return false;
  }
}
