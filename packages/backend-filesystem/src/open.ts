import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { type BackendOptions, type BackendUrl, ConfigError } from '@lovage/core/backend';
import { FileStore } from './store.ts';

/** Opens a store. Rejects with `ConfigError` where the folder is not there or may not be written. */
export async function openFileStore(
  url: BackendUrl,
  { expiresSeconds, signal }: BackendOptions & { readonly signal: AbortSignal },
): Promise<FileStore> {
  signal.throwIfAborted();
  const folder = folderOf(url);
  try {
    if (!(await stat(folder)).isDirectory()) throw new Error('it is no folder');
    await access(folder, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (cause) {
    throw new ConfigError(
      `The folder ${JSON.stringify(folder)} of "${String(url)}" cannot hold results: ${(cause as Error).message}. Create it, and let this user read and write in it.`,
      { cause },
    );
  }
  return new FileStore(folder, expiresSeconds);
}

/**
 * As Celery takes it: what stands behind `file://` or `file://localhost` is the path, nothing in it is decoded, and
 * without a leading slash it is relative. Source: celery/backends/filesystem.py, _find_path.
 */
export function folderOf(url: BackendUrl): string {
  const path = url.raw.slice('file://'.length).replace(/^localhost\//, '/');
  if (path === '') {
    throw new ConfigError('The result store "file://" names no folder. Expected for example "file:///var/results".');
  }
  return resolve(path);
}
