import { type FSWatcher, watch } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { KeyFeed, StoredValue } from '@lovage/core/backend';

/** File systems of networks give no events, and those of a busy folder may be lost. */
const CHECK_MS = 1000;

interface Watched {
  readonly listener: (key: string, value: StoredValue) => void;
  /** What was last seen of the file. */
  version: string;
}

/** Tells of results as they appear: by the folder's events, and by a look once a second while somebody waits. */
export class FolderFeed implements KeyFeed {
  readonly #folder: string;
  readonly #watched = new Map<string, Watched>();
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async watch(keys: readonly string[], listener: (key: string, value: StoredValue) => void): Promise<void> {
    this.#start();
    // Entered before the look: what is written meanwhile is seen as another version.
    for (const key of keys) this.#watched.set(key, { listener, version: '' });
    await Promise.all(
      keys.map(async (key) => {
        const watched = this.#watched.get(key);
        const version = await this.#versionOf(key);
        if (watched?.version === '') watched.version = version;
      }),
    );
  }

  unwatch(keys: readonly string[]): void {
    for (const key of keys) this.#watched.delete(key);
    if (this.#watched.size === 0) this.stop();
  }

  stop(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #start(): void {
    this.#timer ??= setInterval(() => {
      for (const key of this.#watched.keys()) void this.#look(key);
    }, CHECK_MS).unref();
    if (this.#watcher !== undefined) return;
    try {
      this.#watcher = watch(this.#folder, { persistent: false }, (_, name) => {
        if (name !== null) void this.#look(name);
      });
      // Without events the look once a second remains.
      this.#watcher.on('error', () => this.#watcher?.close());
    } catch {
      // No watches are left on this machine, or none are possible here.
    }
  }

  async #look(key: string): Promise<void> {
    const before = this.#watched.get(key);
    if (before === undefined) return;
    const version = await this.#versionOf(key);
    const watched = this.#watched.get(key);
    if (watched === undefined || version === NOTHING || version === watched.version) return;
    watched.version = version;
    const value = await readFile(join(this.#folder, key)).catch(() => undefined);
    // Python empties a file before it writes it.
    if (value !== undefined && value.length > 0) watched.listener(key, value);
  }

  async #versionOf(key: string): Promise<string> {
    const found = await stat(join(this.#folder, key), { bigint: true }).catch(() => undefined);
    return found === undefined ? NOTHING : `${found.ino} ${found.size} ${found.mtimeNs}`;
  }
}

const NOTHING = 'nothing';
