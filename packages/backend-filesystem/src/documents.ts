import { createHash } from 'node:crypto';
import { readFile, rename, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { DocumentStore, StoredDocument } from '@lovage/core/backend';
import type { Drafts } from './drafts.ts';

/** Begins the names of their files. */
export const DOCUMENT = 'lovage-document-';

interface Kept extends StoredDocument {
  readonly name: string;
  /** Epoch milliseconds; null: for ever. */
  readonly expiresAt: number | null;
}

/** A file of JSON for each document, named by a hash: a name may hold anything. */
export class FileDocuments implements DocumentStore {
  readonly #folder: string;
  readonly #drafts: Drafts;

  constructor(folder: string, drafts: Drafts) {
    this.#folder = folder;
    this.#drafts = drafts;
  }

  async read(name: string): Promise<StoredDocument | undefined> {
    const kept = await this.#kept(name);
    return kept === undefined ? undefined : { text: kept.text, version: kept.version };
  }

  write(
    name: string,
    text: string,
    over: string | undefined,
    { ttlSeconds }: { readonly ttlSeconds?: number } = {},
  ): Promise<string | undefined> {
    return this.#drafts.locked(`document ${name}`, async () => {
      const present = await this.#kept(name);
      if (present?.version !== over) return undefined;
      const version = String(Number(over ?? '0') + 1);
      const expiresAt = ttlSeconds === undefined ? null : Date.now() + ttlSeconds * 1000;
      const kept: Kept = { name, version, text, expiresAt };
      await rename(await this.#drafts.write(JSON.stringify(kept)), this.#path(name));
      return version;
    });
  }

  /** Removes the file of a document that has expired. */
  async removeExpired(file: string): Promise<void> {
    const kept = await readKept(join(this.#folder, file));
    if (kept === undefined || !hasExpired(kept)) return;
    await this.#drafts.locked(`document ${kept.name}`, async () => {
      const now = await readKept(this.#path(kept.name));
      if (now !== undefined && hasExpired(now)) await unlink(this.#path(kept.name));
    });
  }

  async #kept(name: string): Promise<Kept | undefined> {
    const kept = await readKept(this.#path(name));
    return kept === undefined || hasExpired(kept) ? undefined : kept;
  }

  #path(name: string): string {
    return join(this.#folder, `${DOCUMENT}${createHash('sha256').update(name).digest('hex').slice(0, 32)}`);
  }
}

function hasExpired({ expiresAt }: Kept): boolean {
  return expiresAt !== null && expiresAt <= Date.now();
}

async function readKept(path: string): Promise<Kept | undefined> {
  let content: string;
  try {
    content = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  return JSON.parse(content) as Kept;
}
