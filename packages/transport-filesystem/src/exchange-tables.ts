import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, readFile, rmdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type BindingStore,
  BrokerBlockedError,
  DecodeError,
  isLovageError,
  type Logger,
  type StoredBinding,
} from '@lovage/core/transport';
import { codeOf, isGone, toLovageError } from './errors.ts';
import { checkName } from './names.ts';

/** How long a table may be half written before it counts as broken. */
const WRITING_MS = 1000;
const LOCK_MS = 10_000;
/** Without flock(1): a lock that is older was left by a process that died. */
const STALE_LOCK_MS = 10_000;

/**
 * Kombu's files `<control folder>/<exchange>.exchange`: a JSON list of `[routing key, pattern, queue]`, the newest first,
 * rewritten in place under flock(2). Node has no flock: the program flock(1) holds the lock for us where there is one;
 * elsewhere only processes of Lovage keep out of each other's way. Source: kombu/transport/filesystem.py, _queue_bind.
 */
export class ExchangeTables implements BindingStore {
  readonly #folder: string;
  readonly #logger: Logger;
  #hasFlock = true;

  constructor(folder: string, logger: Logger) {
    this.#folder = folder;
    this.#logger = logger;
  }

  async add(exchange: string, binding: StoredBinding): Promise<void> {
    const isThere = (stored: readonly StoredBinding[]): boolean => stored.some((one) => isSame(one, binding));
    // Most often it is, and needs no lock.
    if (isThere(await this.#read(exchange))) return;
    await this.#change(exchange, (stored) => (isThere(stored) ? undefined : [binding, ...stored]));
  }

  async remove(exchange: string, binding: StoredBinding): Promise<void> {
    if (!(await this.#read(exchange)).some((one) => isSame(one, binding))) return;
    await this.#change(exchange, (stored) => {
      const left = stored.filter((one) => !isSame(one, binding));
      return left.length === stored.length ? undefined : left;
    });
  }

  async list(exchange: string): Promise<readonly StoredBinding[]> {
    const file = this.#fileOf(exchange);
    const deadline = Date.now() + WRITING_MS;
    for (;;) {
      const text = await readIfThere(file);
      if (text === undefined) return [];
      const stored = parse(text);
      if (stored !== undefined) return stored;
      if (Date.now() > deadline) {
        throw new DecodeError(
          `The table of the exchange ${JSON.stringify(exchange)} in "${file}" is no JSON list. Remove it, and start the workers again: they bind anew.`,
        );
      }
      await sleep(10);
    }
  }

  /** A broken table is seen to by who writes it next. */
  #read(exchange: string): Promise<readonly StoredBinding[]> {
    return this.list(exchange).catch((error: unknown) => {
      if (isLovageError(error, 'ERR_DECODE')) return [];
      throw error;
    });
  }

  #fileOf(exchange: string): string {
    checkName(exchange, 'exchange');
    return join(this.#folder, `${exchange}.exchange`);
  }

  /** `change` gives undefined where nothing is to be written. */
  async #change(
    exchange: string,
    change: (stored: readonly StoredBinding[]) => readonly StoredBinding[] | undefined,
  ): Promise<void> {
    const file = this.#fileOf(exchange);
    const unlock = await this.#lock(file);
    try {
      const text = (await readIfThere(file)) ?? '';
      let stored = text === '' ? [] : parse(text);
      if (stored === undefined) {
        // Nobody writes now, so that it was left half written.
        await copyFile(file, `${file}.broken`);
        this.#logger.warn({ file: `${file}.broken` }, 'a broken table of bindings was set aside; workers bind anew');
        stored = [];
      }
      // The lock has made the file where there was none, and an empty one is no list.
      const changed = change(stored) ?? (text === '' ? stored : undefined);
      if (changed === undefined) return;
      // In place: whoever waits for the lock has the file open already.
      await writeFile(
        file,
        JSON.stringify(changed.map(({ routingKey, pattern, queue }) => [routingKey, pattern, queue])),
      );
    } catch (error) {
      throw toLovageError(error, `Writing the table of bindings "${file}"`);
    } finally {
      await unlock();
    }
  }

  async #lock(file: string): Promise<() => Promise<void>> {
    if (this.#hasFlock) {
      const unlock = await flock(file);
      if (unlock !== undefined) return unlock;
      this.#hasFlock = false;
      this.#logger.debug(
        {},
        'there is no flock(1): bindings of Python workers are not locked out while ours are written',
      );
    }
    return lockFolder(`${file}.lock`);
  }
}

/** undefined: there is no such program. */
async function flock(file: string): Promise<(() => Promise<void>) | undefined> {
  // Held until the pipe closes, also by our death; the shell says when.
  const args = ['--exclusive', '--timeout', String(LOCK_MS / 1000), file, 'sh', '-c', 'echo; read _'];
  let child;
  try {
    child = await started(spawn('flock', args, { stdio: ['pipe', 'pipe', 'ignore'] }));
  } catch (error) {
    const code = codeOf(error);
    // EACCES: a folder of the PATH, or the program itself, is not for this user.
    if (code === 'ENOENT' || code === 'EACCES') return undefined;
    throw new BrokerBlockedError(`The file "${file}" could not be locked: flock(1) could not be started (${code}).`, {
      cause: error,
    });
  }
  const { stdin, stdout } = child;
  stdin.on('error', () => {});
  const ended = once(child, 'close').then(() => 'ended' as const);
  const outcome = await Promise.race([once(stdout, 'data').then(() => 'locked' as const), ended]);
  if (outcome === 'ended') {
    throw new BrokerBlockedError(`The file "${file}" could not be locked within ${LOCK_MS / 1000} s.`);
  }
  return async () => {
    stdin.end();
    await ended;
  };
}

/** Rejects where it cannot be: a child without resources has no pipes either. */
async function started<T extends ChildProcess>(child: T): Promise<T> {
  await once(child, 'spawn');
  return child;
}

async function lockFolder(path: string): Promise<() => Promise<void>> {
  const deadline = Date.now() + LOCK_MS;
  for (;;) {
    try {
      await mkdir(path);
      return () => rmdir(path).catch(() => {});
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw toLovageError(error, `Locking "${path}"`);
    }
    if (await isStale(path)) await rmdir(path).catch(() => {});
    else if (Date.now() > deadline) throw new BrokerBlockedError(`"${path}" was held for ${LOCK_MS / 1000} s.`);
    else await sleep(10);
  }
}

async function isStale(path: string): Promise<boolean> {
  try {
    return Date.now() - (await stat(path)).mtimeMs > STALE_LOCK_MS;
  } catch {
    return false; // gone
  }
}

async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (isGone(error)) return undefined;
    throw toLovageError(error, `Reading the table of bindings "${file}"`);
  }
}

/** undefined: no list. What is no binding in it is passed over. */
function parse(text: string): readonly StoredBinding[] | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!Array.isArray(value)) return undefined;
  return value.flatMap((entry: unknown) => {
    if (!Array.isArray(entry)) return [];
    const [routingKey, pattern, queue] = entry as readonly unknown[];
    return typeof queue === 'string' ? [{ routingKey: textOr(routingKey), pattern: textOr(pattern), queue }] : [];
  });
}

function textOr(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function isSame(a: StoredBinding, b: StoredBinding): boolean {
  return a.queue === b.queue && a.routingKey === b.routingKey && a.pattern === b.pattern;
}
