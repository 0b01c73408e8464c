import { createHash, randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { locked } from './lock.ts';

/** Before the names of half-written files and locks. Celery's cleanup leaves them alone. */
export const DRAFT = '.lovage-';

/** New content of files, on the disk before it gets its name: nobody sees half of it, not even after a power loss. */
export class Drafts {
  readonly #folder: string;
  readonly #unique = randomBytes(6).toString('hex');
  #number = 0;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** The path of the draft, to be renamed or removed. */
  async write(value: string | Uint8Array): Promise<string> {
    const path = join(this.#folder, `${DRAFT}${this.#unique}-${this.#number++}`);
    const file = await open(path, 'wx', 0o600);
    try {
      await file.writeFile(value);
      await file.datasync();
    } finally {
      await file.close();
    }
    return path;
  }

  /** Runs `work` while no other process, on whichever machine, does so for the same name. */
  locked<T>(name: string, work: () => Promise<T>): Promise<T> {
    const lock = `${DRAFT}lock-${createHash('sha256').update(name).digest('hex').slice(0, 32)}`;
    return locked(join(this.#folder, lock), `${this.#unique}-${this.#number++}`, work);
  }
}
