import { type FSWatcher, watch } from 'node:fs';

/** Milliseconds after the last sign of life of the file at which it is looked at again. */
const RECHECKS_MS = [1, 2, 4, 8, 16, 32, 64, 128, 256] as const;
/** Network folders and some container file systems report nothing. */
const SAFETY_POLL_MS = 1000;

export interface FileWatchOptions {
  /** What other processes write when they commit: the `-wal` file. */
  readonly path: string;
  /** Asks SQLite whether another connection has committed, and tells the listeners. Must not throw. */
  readonly check: () => void;
  /** The file was renamed or removed, perhaps: asked at each poll as well. */
  readonly checkIdentity: () => void;
}

/**
 * Calls `check` soon after another process wrote to the file: within a millisecond or two by the system's file events,
 * and once a second in any case. At rest it costs one timer a second.
 */
export class FileWatch {
  readonly #options: FileWatchOptions;
  readonly #poll: NodeJS.Timeout;
  #watcher: FSWatcher | undefined;
  #recheck: NodeJS.Timeout | undefined;
  #step = 0;
  #checking: NodeJS.Immediate | undefined;

  constructor(options: FileWatchOptions) {
    this.#options = options;
    this.#poll = setInterval(() => {
      options.checkIdentity();
      if (this.#watcher === undefined) this.#watch();
      options.check();
    }, SAFETY_POLL_MS);
    this.#poll.unref();
    this.#watch();
  }

  /** Whether the poll alone keeps the process running. */
  setKeepAlive(keepAlive: boolean): void {
    if (keepAlive) this.#poll.ref();
    else this.#poll.unref();
  }

  close(): void {
    clearInterval(this.#poll);
    clearTimeout(this.#recheck);
    clearImmediate(this.#checking);
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  #watch(): void {
    try {
      const watcher = watch(this.#options.path, { persistent: false }, (event) => {
        this.#onEvent();
        if (event !== 'rename') return;
        watcher.close();
        this.#watcher = undefined;
        this.#options.checkIdentity();
      });
      watcher.on('error', () => {
        watcher.close();
        this.#watcher = undefined;
      });
      this.#watcher = watcher;
    } catch {
      // No file yet, or no watches left (inotify's limit): the poll tries again.
      this.#watcher = undefined;
    }
  }

  /**
   * The event comes when the frames are written, before the commit is synced and visible: looking once could be too
   * early, and nothing would be heard again.
   */
  #onEvent(): void {
    this.#step = 0;
    if (this.#recheck !== undefined) return;
    this.#checking ??= setImmediate(() => {
      this.#checking = undefined;
      this.#options.check();
    });
    this.#later();
  }

  #later(): void {
    const delayMs = RECHECKS_MS[this.#step++];
    this.#recheck = undefined;
    if (delayMs === undefined) return;
    this.#recheck = setTimeout(() => {
      this.#options.check();
      this.#later();
    }, delayMs);
    this.#recheck.unref();
  }
}
