import type { OpenLeaseKeeper } from '@lovage/core/transport';
import { openCouchDatabase, readCouchEndpoint } from '@lovage/couchdb';
import { consumerId } from './layout.ts';
import { DEFAULT_DATABASE } from './open.ts';

/** Renews for a driver whose event loop stands still; the holder is its owner's name. */
export const openLeaseKeeper: OpenLeaseKeeper<string | undefined, unknown> = async (url, options) => {
  const { connectTimeoutMs, heartbeatSeconds = 20, useSsl } = options;
  const database = await openCouchDatabase(readCouchEndpoint(url, DEFAULT_DATABASE, useSsl), {
    connectTimeoutMs,
    silenceMs: heartbeatSeconds * 2000,
  });
  return {
    async extend(owner) {
      if (owner === undefined) return;
      const [lease] = await database.documents([consumerId(owner)]);
      // Ended by somebody: what it held is others'.
      if (lease === undefined) return;
      // Any new revision is a sign of life. The driver finds it and goes on from there.
      await database.write([{ ...lease, renewals: Number(lease['renewals'] ?? 0) + 1 }]);
    },
    close: async () => database.close(),
  };
};
