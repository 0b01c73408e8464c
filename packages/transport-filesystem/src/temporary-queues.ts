import { readdir, readFile, stat, unlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { BindingStore, Queue, StoredBinding } from '@lovage/core/transport';
import { isGone } from './errors.ts';

/** A queue that goes with its process is removed when nobody renewed it for this long, at least. */
const EXPIRY_MS = 300_000;
const RENEWAL_MS = 60_000;
const END = '.queue';

interface Record {
  readonly expiryMs: number;
  readonly bindings: readonly (readonly [exchange: string, binding: StoredBinding])[];
}

export interface TemporaryQueuesOptions {
  /** One file for each queue. */
  readonly folder: string;
  readonly tables: BindingStore;
  readonly purge: (queue: string) => Promise<number>;
}

/**
 * Queues for one process: mailboxes, replies, events. What a process that died leaves behind would get a copy of every
 * broadcast for ever; so each has a file that its process touches, and others remove what has grown old.
 */
export class TemporaryQueues {
  readonly #options: TemporaryQueuesOptions;
  readonly #own = new Map<
    string,
    { readonly expiryMs: number; readonly bindings: Map<string, [string, StoredBinding]> }
  >();
  #renewedAt = 0;

  constructor(options: TemporaryQueuesOptions) {
    this.#options = options;
  }

  async ensure({ name, autoDelete, exclusive, arguments: args }: Queue): Promise<void> {
    if ((autoDelete !== true && exclusive !== true) || this.#own.has(name)) return;
    const declared = args?.['x-expires'];
    const expiryMs = Math.max(EXPIRY_MS, typeof declared === 'number' ? declared : 0);
    this.#own.set(name, { expiryMs, bindings: new Map() });
    await this.#write(name);
  }

  async bound(exchange: string, binding: StoredBinding): Promise<void> {
    const own = this.#own.get(binding.queue);
    if (own === undefined) return;
    own.bindings.set(JSON.stringify([exchange, binding.routingKey]), [exchange, binding]);
    await this.#write(binding.queue);
  }

  async removed(queue: string): Promise<void> {
    if (!this.#own.delete(queue)) return;
    await this.#unlink(queue);
  }

  /** Renews ours, and removes what others left. Called now and then. */
  async keepHouse(): Promise<void> {
    const now = Date.now();
    if (now - this.#renewedAt < RENEWAL_MS) return;
    this.#renewedAt = now;
    for (const queue of this.#own.keys()) {
      await utimes(this.#fileOf(queue), now / 1000, now / 1000).catch((error: unknown) => {
        if (!isGone(error)) throw error;
        // Somebody thought that we had died; what was bound is bound again.
        return this.#bindAgain(queue);
      });
    }
    await this.sweep();
  }

  /** Removes the queues that nobody renews any more. */
  async sweep(): Promise<void> {
    for (const file of await readdir(this.#options.folder)) {
      const queue = file.endsWith(END) ? file.slice(0, -END.length) : undefined;
      if (queue === undefined || this.#own.has(queue)) continue;
      const record = await this.#readOld(queue);
      if (record === undefined) continue;
      for (const [exchange, binding] of record.bindings) await this.#options.tables.remove(exchange, binding);
      await this.#options.purge(queue);
      await this.#unlink(queue);
    }
  }

  async #readOld(queue: string): Promise<Record | undefined> {
    const path = this.#fileOf(queue);
    try {
      const [{ mtimeMs }, text] = await Promise.all([stat(path), readFile(path, 'utf8')]);
      const record = JSON.parse(text) as Record;
      return Date.now() - mtimeMs > record.expiryMs ? record : undefined;
    } catch {
      return undefined; // gone, or being written
    }
  }

  async #bindAgain(queue: string): Promise<void> {
    await this.#write(queue);
    for (const [exchange, binding] of this.#own.get(queue)?.bindings.values() ?? []) {
      await this.#options.tables.add(exchange, binding);
    }
  }

  async #write(queue: string): Promise<void> {
    const { expiryMs, bindings } = this.#own.get(queue) ?? { expiryMs: EXPIRY_MS, bindings: new Map<string, never>() };
    const record: Record = { expiryMs, bindings: [...bindings.values()] };
    await writeFile(this.#fileOf(queue), JSON.stringify(record));
  }

  async #unlink(queue: string): Promise<void> {
    await unlink(this.#fileOf(queue)).catch((error: unknown) => {
      if (!isGone(error)) throw error;
    });
  }

  #fileOf(queue: string): string {
    return join(this.#options.folder, `${queue}${END}`);
  }
}
