import { randomUUID } from 'node:crypto';
import type { DocumentStore, StoredDocument } from '@lovage/core/backend';
import { KEY, timesOf } from './layout.ts';
import type { Expression, Item, Table } from './table.ts';

const TEXT = 'text';
const VERSION = 'version';
/** Epoch milliseconds; the `ttl` of the item has whole seconds only, and removes it some day. */
const EXPIRES = 'expires_at';

/** An item for each document, written over the version that was read. */
export class DynamoDocuments implements DocumentStore {
  readonly #table: Table;

  constructor(table: Table) {
    this.#table = table;
  }

  async read(name: string): Promise<StoredDocument | undefined> {
    const id = idOf(name);
    const item = (await this.#table.get([id])).get(id);
    const { [TEXT]: text, [VERSION]: version } = item ?? {};
    if (item === undefined || text?.S === undefined || version?.S === undefined || isPast(item)) return undefined;
    return { text: text.S, version: version.S };
  }

  async write(
    name: string,
    text: string,
    over: string | undefined,
    { ttlSeconds }: { readonly ttlSeconds?: number } = {},
  ): Promise<string | undefined> {
    const version = randomUUID();
    const item: Item = {
      [KEY]: { S: idOf(name) },
      [TEXT]: { S: text },
      [VERSION]: { S: version },
      ...timesOf(ttlSeconds),
      ...(ttlSeconds === undefined ? {} : { [EXPIRES]: { N: String(Date.now() + ttlSeconds * 1000) } }),
    };
    const now = { ':now': { N: String(Date.now()) } };
    const condition: Expression =
      over === undefined
        ? { expression: `attribute_not_exists(${KEY}) OR ${EXPIRES} <= :now`, values: now }
        : {
            expression: `#version = :version AND (attribute_not_exists(${EXPIRES}) OR ${EXPIRES} > :now)`,
            names: { '#version': VERSION },
            values: { ...now, ':version': { S: over } },
          };
    const written = await this.#table.put(item, condition);
    // Where the condition does not hold because of this write itself, its first answer was lost.
    return written === 'written' || written.present?.[VERSION]?.S === version ? version : undefined;
  }
}

function idOf(name: string): string {
  return `lovage:document:${name}`;
}

function isPast(item: Item): boolean {
  const expiresAt = item[EXPIRES]?.N;
  return expiresAt !== undefined && Number(expiresAt) <= Date.now();
}
