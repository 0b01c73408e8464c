import { openMongo, readMongoEndpoint } from '@lovage/mongodb';
import { type BrokerUrl, type ConnectOptions, silentLogger } from '@lovage/core/transport';
import { MongoDriver } from './driver.ts';
import { ensureLayout, layoutOf } from './layout.ts';
import { readTransportOptions } from './options.ts';

/** Opens a driver. Rejects with `ConnectError`, `AuthError`, `ConfigError` or `UnsupportedError`. */
export async function openMongoDriver(url: BrokerUrl, options: ConnectOptions): Promise<MongoDriver> {
  const logger = options.logger ?? silentLogger;
  const { settings, defaultDatabase, connectTimeoutMs, ssl } = readTransportOptions(options);
  const endpoint = readMongoEndpoint(url, { defaultDatabase, useSsl: ssl ?? options.useSsl, logger });
  const link = await openMongo(endpoint, {
    connectTimeoutMs: connectTimeoutMs ?? options.connectTimeoutMs,
    heartbeatSeconds: options.heartbeatSeconds,
    clientName: options.clientName,
    signal: options.signal,
  });
  try {
    const layout = layoutOf(settings);
    await ensureLayout(link, layout, settings);
    options.signal?.throwIfAborted();
    return new MongoDriver({ link, layout, settings, logger });
  } catch (error) {
    await link.close();
    throw error;
  }
}
