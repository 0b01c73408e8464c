import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import { ConfigError, type Logger } from '@lovage/core';
import type { Clock } from '../clock.ts';
import type { RevokedState, Revokes } from './revokes.ts';

/** Changes are written so long after the first of them: a hundred revokes are one write. */
const SAVE_MS = 1000;

interface Contents extends RevokedState {
  readonly format: 'lovage-worker-state';
  readonly version: 1;
}

/**
 * What must survive a restart of a worker: what is revoked. One JSON document, replaced as a whole, so that a crash
 * leaves the old or the new one. Celery's own file is a Python shelf, which nothing else reads.
 */
export class StateFile {
  readonly #path: string;
  readonly #revokes: Revokes;
  readonly #clock: Clock;
  readonly #logger: Logger;
  #cancel: (() => void) | undefined;
  #writing: Promise<void> = Promise.resolve();
  #saves = 0;
  /** Saves that are under way. */
  #saving = 0;
  #isClosed = false;
  #unwatch: (() => void) | undefined;

  constructor(path: string, revokes: Revokes, clock: Clock, logger: Logger) {
    if (path === '') throw new ConfigError('The state file has an empty name. Expected a path: --statedb worker.state');
    this.#path = path;
    this.#revokes = revokes;
    this.#clock = clock;
    this.#logger = logger;
  }

  /** Reads it and follows changes from now on. A file that cannot be read is moved aside: it never stops a start. */
  open(): void {
    const contents = this.#read();
    if (contents !== undefined) this.#revokes.load(contents);
    this.#unwatch = this.#revokes.watch(() => this.#saveSoon());
  }

  /** Writes what is left to write, at once: there may be no later. */
  close(): void {
    this.#unwatch?.();
    this.#isClosed = true;
    // Whoever closes may not wait for a save that is under way.
    if (this.#cancel === undefined && this.#saving === 0) return;
    this.#cancel?.();
    this.#cancel = undefined;
    const temporary = this.#temporary();
    try {
      const file = openSync(temporary, 'w', 0o600);
      try {
        writeSync(file, this.#text());
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
      renameSync(temporary, this.#path);
    } catch (error) {
      this.#logger.error({ err: error, file: this.#path }, 'What is revoked could not be written down.');
    }
  }

  /** Another one each time: a write that is under way must not be written over. */
  #temporary(): string {
    return `${this.#path}.${process.pid}-${this.#saves++}.new`;
  }

  #saveSoon(): void {
    this.#cancel ??= this.#clock.after(SAVE_MS, () => {
      this.#cancel = undefined;
      this.#saving++;
      this.#writing = this.#writing
        .then(() => this.#save())
        .finally(() => {
          this.#saving--;
        });
    });
  }

  async #save(): Promise<void> {
    const temporary = this.#temporary();
    try {
      const file = await open(temporary, 'w', 0o600);
      try {
        await file.writeFile(this.#text());
        await file.sync();
      } finally {
        await file.close();
      }
      // What `close` has written is newer; it must not come between the question and the renaming.
      if (this.#isClosed) await rm(temporary, { force: true });
      else renameSync(temporary, this.#path);
    } catch (error) {
      this.#logger.error(
        { err: error, file: this.#path },
        'What is revoked could not be written down. It is tried again.',
      );
      if (!this.#isClosed) this.#saveSoon();
    }
  }

  #text(): string {
    const contents: Contents = { format: 'lovage-worker-state', version: 1, ...this.#revokes.save() };
    return `${JSON.stringify(contents)}\n`;
  }

  #read(): RevokedState | undefined {
    let text: string;
    try {
      text = readFileSync(this.#path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
        this.#logger.error(
          { err: error, file: this.#path },
          'The state file cannot be read. The worker starts without it.',
        );
      }
      return undefined;
    }
    try {
      return readState(JSON.parse(text));
    } catch (error) {
      const aside = `${this.#path}.unreadable`;
      this.#logger.error(
        { err: error, file: this.#path, movedTo: aside },
        'The state file is not one of ours, or is damaged. It is moved aside and the worker starts without it.',
      );
      try {
        renameSync(this.#path, aside);
      } catch {
        // The next save replaces it.
      }
      return undefined;
    }
  }
}

/** Takes what has the right form and nothing else. Throws `TypeError` for what is no state at all. */
function readState(value: unknown): RevokedState {
  const { format, version, ids, stamps } = (value ?? {}) as { [name in keyof Contents]?: unknown };
  if (format !== 'lovage-worker-state' || version !== 1 || !Array.isArray(ids)) {
    throw new TypeError('Expected {"format": "lovage-worker-state", "version": 1, "ids": [...]}.');
  }
  return {
    ids: (ids as unknown[]).filter(
      (entry): entry is [string, number] =>
        Array.isArray(entry) && typeof entry[0] === 'string' && typeof entry[1] === 'number',
    ),
    stamps: Object.fromEntries(
      Object.entries((stamps ?? {}) as Record<string, unknown>).map(([header, values]) => [
        header,
        (Array.isArray(values) ? (values as unknown[]) : []).filter((one): one is string => typeof one === 'string'),
      ]),
    ),
  };
}
