import { type FSWatcher, watch } from 'node:fs';
import { readdir, rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { isGone } from './errors.ts';
import { parseDelayedName } from './names.ts';

/** Messages that are not due yet lie in a folder of their own, where Kombu does not look. */
export class Delayed {
  readonly #folder: string;
  readonly #dueFolder: string;
  readonly #onChange: () => void;
  #watcher: FSWatcher | undefined;

  /** What is due goes to `dueFolder`, on the same file system. */
  constructor(folder: string, dueFolder: string, onChange: () => void) {
    this.#folder = folder;
    this.#dueFolder = dueFolder;
    this.#onChange = onChange;
  }

  listen(): void {
    if (this.#watcher !== undefined) return;
    try {
      this.#watcher = watch(this.#folder, { persistent: false }, this.#onChange);
      this.#watcher.on('error', () => {});
    } catch {
      // Read now and then instead; the watcher of the messages has warned.
    }
  }

  close(): void {
    this.#watcher?.close();
  }

  /** Moves what is due to the other messages, oldest first; the names, and when the next one will be. */
  async release(): Promise<{ readonly released: readonly string[]; readonly nextAt: number }> {
    const now = Date.now();
    const waiting = (await this.#list()).toSorted((a, b) => a.dueAt - b.dueAt);
    const released: string[] = [];
    for (const { file, dueAt, message } of waiting) {
      if (dueAt > now) return { released, nextAt: dueAt };
      if (await did(rename(join(this.#folder, file), join(this.#dueFolder, message.name)))) released.push(message.name);
    }
    return { released, nextAt: Number.POSITIVE_INFINITY };
  }

  async count(queue: string): Promise<number> {
    return (await this.#list()).filter(({ message }) => message.queue === queue).length;
  }

  async purge(queue: string): Promise<number> {
    const own = (await this.#list()).filter(({ message }) => message.queue === queue);
    const removed = await Promise.all(own.map(({ file }) => did(unlink(join(this.#folder, file)))));
    return removed.filter(Boolean).length;
  }

  async #list() {
    const files = await readdir(this.#folder);
    return files.flatMap((file) => {
      const parsed = parseDelayedName(file);
      return parsed === undefined ? [] : [{ file, ...parsed }];
    });
  }
}

/** False: somebody else was faster. */
export async function did(act: Promise<unknown>): Promise<boolean> {
  try {
    await act;
    return true;
  } catch (error) {
    if (isGone(error)) return false;
    throw error;
  }
}
