import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { AwsLink, clientSettings, regionOf } from '@lovage/aws';
import { type BackendOptions, type BackendUrl, silentLogger } from '@lovage/core/backend';
import { readDynamoOptions } from './options.ts';
import { prepareTable } from './prepare.ts';
import { DYNAMODB } from './service.ts';
import { DynamoStore } from './store.ts';
import { Table } from './table.ts';

/** No call may take longer than ten seconds, so no silence either. */
const SILENCE_MS = 8000;
/** Of a server that asks for patience the last request still has to be answered within those ten seconds. */
const BUSY_MS = 5000;

/** Opens a store, and makes its table where there is none. Rejects with `ConnectError`, `AuthError` or `ConfigError`. */
export async function openDynamoStore(
  url: BackendUrl,
  options: BackendOptions & { readonly signal: AbortSignal },
): Promise<DynamoStore> {
  const settings = readDynamoOptions(url, options);
  const { signal, logger = silentLogger, expiresSeconds, codec } = options;
  signal.throwIfAborted();
  const { endpoint, credentials, connectTimeoutMs, clientConfig } = settings;
  const region = await regionOf(settings.region, () => new DynamoDBClient(clientConfig));
  const client = new DynamoDBClient(clientSettings({ region, endpoint, credentials, connectTimeoutMs }, clientConfig));
  const where = endpoint ?? `Amazon DynamoDB in ${region}`;
  const patience = { lossMs: SILENCE_MS, requestMs: SILENCE_MS, busyMs: BUSY_MS };
  const link = new AwsLink({ service: DYNAMODB, ...patience, where, logger });
  const table = new Table(client, link, settings.table);
  const expires = settings.ttlSeconds !== 'never' && (settings.ttlSeconds ?? expiresSeconds) !== undefined;
  const { ready, removesExpired } = prepareTable(table, settings, { where, signal, logger, expires });
  try {
    await orAborted(ready, signal);
    return new DynamoStore(table, { ttlSeconds: settings.ttlSeconds, removesExpired, codec });
  } catch (error) {
    const close = (): void => table.close();
    removesExpired.then(close, close);
    throw error;
  }
}

/** Rejects with the signal's reason when that comes first. */
async function orAborted(work: Promise<void>, signal: AbortSignal): Promise<void> {
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort as () => void);
  }
}
