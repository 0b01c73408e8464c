import { open, rename, stat, unlink } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

/** A lock is held for one read and one rename. One of this age was left by a process that died. */
const STALE_MS = 10_000;
const PAUSE_MS = 5;

/** Runs `work` while no other process of this or another machine does so under the same path. */
export async function locked<T>(path: string, unique: string, work: () => Promise<T>): Promise<T> {
  while (!(await acquire(path))) {
    if (await isStale(path)) await breakLock(path, `${path}-${unique}`);
    else await sleep(PAUSE_MS * (0.5 + Math.random()));
  }
  try {
    return await work();
  } finally {
    await unlink(path).catch(() => undefined);
  }
}

async function acquire(path: string): Promise<boolean> {
  try {
    await (await open(path, 'wx')).close();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

async function isStale(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  return found !== undefined && Date.now() - found.mtimeMs > STALE_MS;
}

/** By a rename, which one process only can do; a lock that is fresh after all is put back. */
async function breakLock(path: string, aside: string): Promise<void> {
  try {
    await rename(path, aside);
    if (await isStale(aside)) await unlink(aside);
    else await rename(aside, path);
  } catch {
    // Another one was faster.
  }
}
