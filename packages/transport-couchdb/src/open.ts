import { type BrokerUrl, type ConnectOptions, silentLogger } from '@lovage/core/transport';
import { openCouchDatabase, readCouchEndpoint } from '@lovage/couchdb';
import { CouchDriver } from './driver.ts';
import { DESIGN } from './layout.ts';
import { readTransportOptions } from './options.ts';

/** Kombu's. Source: kombu/transport/couchdb.py (3.0), DEFAULT_DATABASE. */
export const DEFAULT_DATABASE = 'kombu_default';
/** CouchDB 3's default for `max_document_size`. */
const DEFAULT_MAX_DOCUMENT_SIZE = 8_000_000;

/** Opens a driver. Rejects with `ConnectError`, `AuthError` or `ConfigError`. */
export async function openCouchDriver(url: BrokerUrl, options: ConnectOptions): Promise<CouchDriver> {
  const settings = readTransportOptions(options);
  const { connectTimeoutMs, heartbeatSeconds = 20, signal, logger = silentLogger } = options;
  const database = await openCouchDatabase(readCouchEndpoint(url, DEFAULT_DATABASE, options.useSsl), {
    connectTimeoutMs,
    silenceMs: heartbeatSeconds * 2000,
    signal,
    design: DESIGN,
  });
  try {
    const said = settings.maxDocumentSize ?? (await database.setting('couchdb', 'max_document_size', signal));
    const maxDocumentSize = Number(said ?? DEFAULT_MAX_DOCUMENT_SIZE);
    return new CouchDriver(database, { leaseMs: settings.leaseMs, maxDocumentSize, logger });
  } catch (error) {
    database.close();
    throw error;
  }
}
