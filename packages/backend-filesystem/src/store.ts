import { readdir, readFile, rename, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import {
  inParallel,
  isKept,
  type KeyValueStore,
  type KeyValueWrite,
  LovageError,
  type StoredValue,
  UnsupportedError,
  WriteOrder,
} from '@lovage/core/backend';
import { DOCUMENT, FileDocuments } from './documents.ts';
import { DRAFT, Drafts } from './drafts.ts';
import { FolderFeed } from './watch.ts';

/** What every usual file system takes. */
const MAX_NAME_BYTES = 255;
const ABANDONED_MS = 3_600_000;
/** What the cleanup may remove. Source: celery/backends/base.py, task_keyprefix and its neighbours. */
const RESULT = /(^|[:_\-.])(celery-task-meta-|celery-taskset-meta-|chord-unlock-)/;

/** Results as Celery keeps them: a file named like the key, the encoded value in it. */
export class FileStore implements KeyValueStore {
  readonly autoExpires = false;
  readonly feed: FolderFeed;
  readonly documents: FileDocuments;
  readonly #folder: string;
  readonly #expiresSeconds: number | undefined;
  readonly #drafts: Drafts;
  readonly #order = new WriteOrder();

  constructor(folder: string, expiresSeconds: number | undefined) {
    this.#folder = folder;
    this.#expiresSeconds = expiresSeconds;
    this.feed = new FolderFeed(folder);
    this.#drafts = new Drafts(folder);
    this.documents = new FileDocuments(folder, this.#drafts);
  }

  get(keys: readonly string[]): Promise<readonly (StoredValue | undefined)[]> {
    return inParallel(keys, (key) => this.#read(key));
  }

  set(writes: readonly KeyValueWrite[]): Promise<readonly (Error | undefined)[]> {
    return this.#order.run(writes, (round) => inParallel(round, (write) => this.#write(write).catch(toLovageError)));
  }

  async delete(keys: readonly string[]): Promise<void> {
    await inParallel(keys, async (key) => {
      if (refusal(key) !== undefined) return;
      await unlink(join(this.#folder, key)).catch(unlessMissing);
    });
  }

  /** By the time of writing. Source: celery/backends/filesystem.py, cleanup. */
  async cleanup(): Promise<void> {
    const now = Date.now();
    const names = await readdir(this.#folder);
    await inParallel(names, async (name) => {
      if (name.startsWith(DOCUMENT)) {
        await this.documents.removeExpired(name);
        return;
      }
      const isOwn = name.startsWith(DRAFT);
      const ageMs = isOwn ? ABANDONED_MS : (this.#expiresSeconds ?? 0) * 1000;
      if (ageMs === 0 || (!isOwn && !RESULT.test(name))) return;
      const path = join(this.#folder, name);
      const found = await stat(path).catch(() => undefined);
      if (found !== undefined && now - found.mtimeMs > ageMs) await unlink(path).catch(unlessMissing);
    });
  }

  async close(): Promise<void> {
    this.feed.stop();
    await this.#order.idle();
  }

  async #read(key: string): Promise<Uint8Array | undefined> {
    if (refusal(key) !== undefined) return undefined;
    try {
      const value = await readFile(join(this.#folder, key));
      // Python empties a file before it writes it.
      return value.length === 0 ? undefined : value;
    } catch (error) {
      unlessMissing(error);
      return undefined;
    }
  }

  async #write(write: KeyValueWrite): Promise<Error | undefined> {
    const { key, value, guard } = write;
    const refused = refusal(key);
    if (refused !== undefined) return refused;
    const path = join(this.#folder, key);
    const draft = await this.#drafts.write(value);
    if (guard === undefined) await rename(draft, path);
    else {
      await this.#drafts.locked(key, async () => {
        const present = await this.#read(key);
        await (present !== undefined && isKept(present, write) ? unlink(draft) : rename(draft, path));
      });
    }
    return undefined;
  }
}

/** A key comes from outside, with the task's id in it: it may name no other place. */
function refusal(key: string): Error | undefined {
  if (!/[/\\\0]/.test(key) && key !== '.' && key !== '..' && Buffer.byteLength(key) <= MAX_NAME_BYTES) return undefined;
  return new UnsupportedError(
    `The result of ${JSON.stringify(key.slice(0, 100))} cannot be kept as a file. Expected an id without "/", "\\" and NUL, of ${MAX_NAME_BYTES} bytes at most with its prefix.`,
  );
}

function unlessMissing(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
}

function toLovageError(error: unknown): Error {
  return new LovageError('ERR_CONNECT', `A result could not be written: ${(error as Error).message}`, { cause: error });
}
