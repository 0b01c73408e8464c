import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type BrokerUrl, type ConnectOptions, silentLogger } from '@lovage/core/transport';
import { FilesystemDriver } from './driver.ts';
import { toLovageError } from './errors.ts';
import { removeStale } from './folders.ts';
import { readFilesystemOptions } from './options.ts';

/** Where we keep what Kombu has no place for; no message's name begins so. */
const OWN = '.lovage';
/** A file that is being written for longer was left by a process that died. */
const STALE_MS = 3_600_000;

/** Opens a driver, and makes the folders that are missing. Rejects with `ConfigError` or `BrokerBlockedError`. */
export async function openFilesystemDriver(url: BrokerUrl, options: ConnectOptions): Promise<FilesystemDriver> {
  const settings = readFilesystemOptions(url, options);
  const { folderIn, folderOut, controlFolder, processedFolder } = settings;
  const folders = {
    held: join(folderIn, OWN, 'held'),
    delayed: join(folderIn, OWN, 'delayed'),
    writing: join(folderOut, OWN, 'writing'),
    delayedOut: join(folderOut, OWN, 'delayed'),
    temporary: join(controlFolder, OWN),
  };
  for (const path of [...Object.values(folders), ...(processedFolder === undefined ? [] : [processedFolder])]) {
    options.signal?.throwIfAborted();
    try {
      await mkdir(path, { recursive: true });
    } catch (error) {
      throw toLovageError(error, `Making the folder "${path}"`);
    }
  }
  await removeStale(folders.writing, STALE_MS);
  options.signal?.throwIfAborted();
  return new FilesystemDriver(settings, folders, options.logger ?? silentLogger);
}
