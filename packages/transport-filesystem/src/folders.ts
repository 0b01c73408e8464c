import { copyFile, open, readdir, rename, rm, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf, isGone } from './errors.ts';
import { type MessageName, parseMessageName } from './names.ts';

/** Files of publishers that died while they wrote. */
export async function removeStale(folder: string, olderThanMs: number): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    try {
      if (Date.now() - (await stat(path)).mtimeMs > olderThanMs) await rm(path, { force: true });
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }
}

/** Makes what was renamed into a folder, or out of it, last. Some systems cannot, and need not. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r').catch(() => undefined);
  try {
    await folder?.sync();
  } catch (error) {
    if (!['EPERM', 'EINVAL', 'EISDIR'].includes(codeOf(error) ?? '')) throw error;
  } finally {
    await folder?.close();
  }
}

/** The messages of one queue. */
export async function listMessages(folder: string, queue: string): Promise<readonly MessageName[]> {
  const names = await readdir(folder);
  return names.flatMap((name) => {
    const message = parseMessageName(name);
    return message?.queue === queue ? [message] : [];
  });
}

/** A rename, or a copy where that is another file system. */
export async function moveAway(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if (codeOf(error) !== 'EXDEV') throw error;
    await copyFile(from, to);
    await unlink(from);
  }
}
