import { openMongo, readMongoEndpoint, SURE } from '@lovage/mongodb';
import { type OpenLeaseKeeper, silentLogger } from '@lovage/core/transport';
import { layoutOf } from './layout.ts';
import { readTransportOptions } from './options.ts';

/** Renews for a driver whose event loop stands still; the holder is the name under which it holds. */
export const openLeaseKeeper: OpenLeaseKeeper<string | undefined, unknown> = async (url, options) => {
  const { settings, defaultDatabase, connectTimeoutMs, ssl } = readTransportOptions(options);
  const endpoint = readMongoEndpoint(url, { defaultDatabase, useSsl: ssl ?? options.useSsl, logger: silentLogger });
  const link = await openMongo(endpoint, {
    connectTimeoutMs: connectTimeoutMs ?? options.connectTimeoutMs,
    heartbeatSeconds: options.heartbeatSeconds,
    clientName: options.clientName,
    signal: undefined,
  });
  const { consumers } = layoutOf(settings);
  return {
    async extend(owner) {
      if (owner === undefined) return;
      const until = new Date(link.serverMs + settings.leaseMs);
      // As `Lease` does: a record that somebody has declared dead is never renewed.
      const updates = [{ q: { _id: owner, dead: null }, u: { $set: { until } } }];
      await link.run({ update: consumers, updates, writeConcern: SURE });
    },
    close: () => link.close(),
  };
};
