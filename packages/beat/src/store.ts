import { existsSync, renameSync } from 'node:fs';
import { resolve } from 'node:path';
import { ConfigError, type Lovage, type Logger } from '@lovage/core';
import type { DocumentStore } from '@lovage/core/backend';

export interface OpenStore {
  readonly documents: DocumentStore;
  readonly location: string;
  close(): Promise<void>;
}

/** Who leads and when entries ran; entries that are kept in the store. */
export function documentNames({ name }: Lovage): { readonly state: string; readonly entries: string } {
  return { state: `lovage-beat:${name}`, entries: `lovage-beat-entries:${name}` };
}

/**
 * Opens where a schedule is kept: the URL of a result store, which several beats may share, or a path, which becomes a file
 * of SQLite. A file that is broken is put aside, so that beat starts from the schedule anew.
 */
export async function openStore(app: Lovage, where: string, logger: Logger): Promise<OpenStore> {
  if (where.includes('://')) return openUrl(app, where, where);
  const file = `${resolve(where)}.sqlite`;
  const url = `db+sqlite:////${file.replace(/^\/+/, '')}`;
  try {
    return await openUrl(app, url, file);
  } catch (error) {
    if (!existsSync(file) || !isBroken(error)) throw error;
    const aside = `${file}.broken-${Date.now()}`;
    renameSync(file, aside);
    for (const suffix of ['-wal', '-shm']) if (existsSync(file + suffix)) renameSync(file + suffix, aside + suffix);
    logger.warn(
      { file, aside, err: error },
      'The file of the schedule is broken. It is put aside; when tasks ran last is forgotten.',
    );
    return openUrl(app, url, file);
  }
}

async function openUrl(app: Lovage, url: string, location: string): Promise<OpenStore> {
  const backend = await app.openBackend(url);
  const { documents } = backend;
  try {
    if (documents === undefined) {
      throw new ConfigError(
        `The result store of ${JSON.stringify(location)} cannot keep a schedule. Expected a path, or the URL of a store that can compare and swap, such as redis:// or db+sqlite://.`,
      );
    }
    // The first look is what finds a broken file, or a broken page of it.
    for (const name of Object.values(documentNames(app))) await documents.read(name);
    return { documents, location, close: () => backend.close() };
  } catch (error) {
    await backend.close();
    throw error;
  }
}

/** SQLite's own words for a file that is none: its result codes NOTADB and CORRUPT. */
function isBroken(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) {
    const { code, errcode } = at as { code?: unknown; errcode?: unknown };
    if (/NOTADB|CORRUPT/.test(String(code)) || errcode === 26 || errcode === 11) return true;
    if (/file is not a database|malformed/.test(at.message)) return true;
  }
  return false;
}
