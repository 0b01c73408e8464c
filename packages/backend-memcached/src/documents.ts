import { createHash, randomUUID } from 'node:crypto';
import type { DocumentStore, StoredDocument } from '@lovage/core/backend';
import { exptimeOf, isKey } from './items.ts';
import type { Item } from './replies.ts';
import type { Servers } from './servers.ts';

/** An item each: the version, a line end, the text. Written over the item that was read. */
export class MemcachedDocuments implements DocumentStore {
  readonly #servers: Servers;

  constructor(servers: Servers) {
    this.#servers = servers;
  }

  async read(name: string): Promise<StoredDocument | undefined> {
    const key = keyOf(name);
    return documentOf((await this.#servers.items([key])).get(key));
  }

  async write(
    name: string,
    text: string,
    over: string | undefined,
    { ttlSeconds }: { readonly ttlSeconds?: number } = {},
  ): Promise<string | undefined> {
    const key = keyOf(name);
    const link = await this.#servers.of(key);
    const version = randomUUID();
    const command = { key, data: Buffer.from(`${version}\n${text}`), flags: 0, exptime: exptimeOf(ttlSeconds) };
    if (over === undefined) return (await link.store('add', command)) === 'STORED' ? version : undefined;
    const present = (await link.items([key])).get(key);
    if (present === undefined || documentOf(present)?.version !== over) return undefined;
    return (await link.store('cas', command, present.cas)) === 'STORED' ? version : undefined;
  }
}

function documentOf(item: Item | undefined): StoredDocument | undefined {
  const whole = item?.value.toString() ?? '';
  const end = whole.indexOf('\n');
  return end < 0 ? undefined : { version: whole.slice(0, end), text: whole.slice(end + 1) };
}

function keyOf(name: string): string {
  return isKey(name) ? name : `lovage-document-${createHash('sha256').update(name).digest('hex')}`;
}
