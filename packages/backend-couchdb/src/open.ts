import type { BackendOptions, BackendUrl } from '@lovage/core/backend';
import { openCouchDatabase, readCouchEndpoint } from '@lovage/couchdb';
import { CouchStore } from './store.ts';

/** Source: celery/backends/couchdb.py, CouchBackend.container. */
const DEFAULT_DATABASE = 'default';
/** No call may take longer than ten seconds, so no silence either. */
const SILENCE_MS = 8000;

/** Opens a store. Rejects with `ConnectError`, `AuthError` or `ConfigError`. */
export async function openCouchStore(
  url: BackendUrl,
  { signal }: BackendOptions & { readonly signal: AbortSignal },
): Promise<CouchStore> {
  const endpoint = readCouchEndpoint(url, DEFAULT_DATABASE);
  return new CouchStore(await openCouchDatabase(endpoint, { silenceMs: SILENCE_MS, signal }));
}
