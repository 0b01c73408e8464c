import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rmdir, stat, unlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isSurelyDead, type Logger, processIdentity } from '@lovage/core/transport';
import { isGone } from './errors.ts';
import { parseMessageName, returnedName } from './names.ts';

/** In each holder's folder; its time is when the lease began. */
const OWNER = 'owner';
/** A folder without an owner is what a crash left in the making or in the clearing. */
const ORPHAN_MS = 60_000;

interface Owner {
  readonly process: string;
  readonly leaseMs: number;
}

/** Restarts the lease of whoever holds what is in this folder. */
export function touchHolder(folder: string, now: number): Promise<void> {
  return utimes(join(folder, OWNER), now / 1000, now / 1000);
}

export interface LeasesOptions {
  /** Where messages wait. */
  readonly folder: string;
  /** Where the folders of holders are, on the same file system. */
  readonly heldFolder: string;
  readonly leaseMs: number;
  readonly logger: Logger;
}

/**
 * What is held lies in a folder of its holder, whose file `owner` is touched while the holder lives. Another process
 * takes the whole folder by one rename once that is too old, or the holder has surely ended; then what its holder does
 * meets nothing.
 */
export class Leases {
  readonly #options: LeasesOptions;
  #holder: { readonly id: string; renewedAt: number } | undefined;

  constructor(options: LeasesOptions) {
    this.#options = options;
  }

  /** The holder's name while its lease is fresh; a new one when it was lost. */
  async holder(): Promise<string> {
    const { leaseMs } = this.#options;
    if (this.#holder !== undefined && Date.now() - this.#holder.renewedAt > leaseMs / 3) await this.renew();
    if (this.#holder !== undefined) return this.#holder.id;
    const id = randomBytes(9).toString('base64url');
    const renewedAt = Date.now();
    const made = this.pathOf(`.${id}`);
    const owner: Owner = { process: processIdentity(), leaseMs };
    await mkdir(made);
    await writeFile(join(made, OWNER), JSON.stringify(owner));
    await rename(made, this.pathOf(id));
    this.#holder = { id, renewedAt };
    return id;
  }

  /** False: the lease was lost, and all that was held with it. */
  async renew(): Promise<boolean> {
    const holder = this.#holder;
    if (holder === undefined) return false;
    const now = Date.now();
    try {
      await touchHolder(this.pathOf(holder.id), now);
      holder.renewedAt = now;
      return true;
    } catch (error) {
      if (!isGone(error)) throw error;
      if (this.#holder === holder) this.#holder = undefined;
      return false;
    }
  }

  /** undefined: nothing is held. */
  get folder(): string | undefined {
    return this.#holder === undefined ? undefined : this.pathOf(this.#holder.id);
  }

  isCurrent(id: string): boolean {
    return this.#holder?.id === id;
  }

  pathOf(id: string): string {
    return join(this.#options.heldFolder, id);
  }

  /** Gives back what holders left that are silent too long or have ended; how many messages. */
  async reclaim(): Promise<number> {
    let count = 0;
    for (const id of await readdir(this.#options.heldFolder)) {
      if (id === this.#holder?.id || !(await this.#isOver(id))) continue;
      // One of those that see it gets it.
      const taken = `.${id.replace(/^\.+/, '').slice(0, 40)}.${randomBytes(6).toString('hex')}`;
      try {
        await rename(this.pathOf(id), this.pathOf(taken));
      } catch (error) {
        if (isGone(error)) continue;
        throw error;
      }
      count += await this.#clear(taken);
    }
    if (count > 0) this.#options.logger.info({ messages: count }, 'messages of a worker that has gone wait again');
    return count;
  }

  /** Ends the lease; what is still held waits again. */
  async close(): Promise<void> {
    const holder = this.#holder;
    this.#holder = undefined;
    if (holder !== undefined) await this.#clear(holder.id);
  }

  async #isOver(id: string): Promise<boolean> {
    const file = join(this.pathOf(id), OWNER);
    try {
      const [{ mtimeMs }, text] = await Promise.all([stat(file), readFile(file, 'utf8')]);
      const owner = JSON.parse(text) as Owner;
      // A folder that somebody clears has its owner's time, and is over again when that one dies as well.
      return Date.now() - mtimeMs > owner.leaseMs || isSurelyDead(String(owner.process));
    } catch {
      return this.#isOrphan(id);
    }
  }

  async #isOrphan(id: string): Promise<boolean> {
    try {
      return Date.now() - (await stat(this.pathOf(id))).mtimeMs > ORPHAN_MS;
    } catch (error) {
      if (isGone(error)) return false;
      throw error;
    }
  }

  async #clear(id: string): Promise<number> {
    const path = this.pathOf(id);
    let count = 0;
    try {
      for (const name of await readdir(path)) {
        const message = parseMessageName(name);
        if (message === undefined) continue;
        await rename(join(path, name), join(this.#options.folder, returnedName(message)));
        count++;
      }
      await unlink(join(path, OWNER)).catch(() => {});
      await rmdir(path);
    } catch (error) {
      // Somebody else is clearing it, or something was put in meanwhile: the next one sees to it.
      if (!isGone(error)) this.#options.logger.debug({ err: error, folder: path }, 'a folder was not cleared');
    }
    return count;
  }
}
