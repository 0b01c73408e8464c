import { jetstreamManager } from '@nats-io/jetstream';
import { type BackendOptions, type BackendUrl, silentLogger, UnsupportedError } from '@lovage/core/backend';
import { isAtLeast, openLink, toLovageError } from '@lovage/nats';
import { openBucket } from './bucket.ts';
import { readSettings } from './options.ts';
import { NatsStore } from './store.ts';

/** A time to live per message. */
const OLDEST_VERSION = [2, 11, 0] as const;

/** Opens a store. Rejects with `ConnectError`, `AuthError`, `ConfigError` or `UnsupportedError`. */
export async function openNatsStore(
  url: BackendUrl,
  options: BackendOptions & { readonly signal: AbortSignal },
): Promise<NatsStore> {
  const { logger = silentLogger, signal } = options;
  const { endpoint, bucket: settings } = readSettings(url, options);
  const link = await openLink(endpoint, { clientName: 'lovage-results', logger, signal });
  try {
    const { version = '0.0.0' } = link.connection.info ?? {};
    if (!isAtLeast(version, OLDEST_VERSION)) {
      throw new UnsupportedError(
        `NATS at ${endpoint.url} is ${version}. The result store needs ${OLDEST_VERSION.join('.')} or newer: older ones keep no time to live per message.`,
      );
    }
    const manager = await jetstreamManager(link.connection, {
      timeout: endpoint.connectTimeoutMs,
      ...(endpoint.domain === undefined ? {} : { domain: endpoint.domain }),
    });
    const bucket = await openBucket(link, manager, settings, logger);
    signal.throwIfAborted();
    return new NatsStore(link, bucket);
  } catch (error) {
    await link.close();
    if (signal.aborted) throw signal.reason;
    throw toLovageError(error, 'opening', endpoint.url, `The bucket "${settings.name}"`);
  }
}
