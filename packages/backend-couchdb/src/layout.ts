import type { KeyValueWrite, StoredValue } from '@lovage/core/backend';
import type { CouchDocument } from '@lovage/couchdb';

/**
 * A result as Celery has it: the key as id, the encoded value as text. Ours beside it: `expires_at`, epoch milliseconds,
 * and `encoding` for values that are bytes, which Celery cannot keep here. Source: celery/backends/couchdb.py.
 */
export function resultDocument({ key, value, ttlSeconds }: KeyValueWrite, rev: string | undefined): CouchDocument {
  return {
    _id: key,
    ...(rev === undefined ? {} : { _rev: rev }),
    ...(typeof value === 'string' ? { value } : { value: Buffer.from(value).toString('base64'), encoding: 'base64' }),
    ...(ttlSeconds === undefined ? {} : { expires_at: Date.now() + ttlSeconds * 1000 }),
  };
}

/** undefined: nothing is kept, or it has expired. */
export function valueOf(doc: CouchDocument | undefined): StoredValue | undefined {
  const { value, encoding, expires_at: expiresAt } = (doc ?? {}) as Readonly<Record<string, unknown>>;
  if (typeof value !== 'string' || (typeof expiresAt === 'number' && expiresAt <= Date.now())) return undefined;
  return encoding === 'base64' ? Buffer.from(value, 'base64') : value;
}

/** What has an end, by it. Made when something is cleaned up for the first time. */
export const DESIGN = {
  name: 'lovage-results-1',
  views: {
    expiring: { map: 'function (doc) { if (doc.expires_at) emit(doc.expires_at, doc._rev); }' },
  },
} as const;
