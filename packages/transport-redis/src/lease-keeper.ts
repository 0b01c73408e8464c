import { type OpenLeaseKeeper, silentLogger } from '@lovage/core/transport';
import { openRedis, readEndpoint, type RedisLink } from '@lovage/redis';
import { Keys } from './keys.ts';
import { readTransportOptions } from './options.ts';
import { RENEW } from './scripts.ts';

/** Tags in one script: Redis serves nobody else meanwhile. */
const MOST_TAGS = 1000;

/** Renews a consumer's lease and what it still holds; gives back the tags of what it does not. */
export async function renewLeases(
  link: RedisLink,
  { unackedIndex, leases }: Keys,
  consumer: string,
  leaseMs: number,
  tags: readonly string[],
): Promise<readonly string[]> {
  const batches = Array.from({ length: Math.max(1, Math.ceil(tags.length / MOST_TAGS)) }, (_, index) =>
    tags.slice(index * MOST_TAGS, (index + 1) * MOST_TAGS),
  );
  const gone = await Promise.all(
    batches.map(async (batch) => {
      const args = [unackedIndex, leases, consumer, leaseMs, ...batch];
      const positions = (await RENEW.run(link, 2, args)) as readonly number[];
      return positions.map((position) => batch[position] as string);
    }),
  );
  return gone.flat();
}

/** Renews for a driver whose event loop stands still; the holder is its consumer's name. */
export const openLeaseKeeper: OpenLeaseKeeper<string, string> = async (url, options) => {
  const logger = options.logger ?? silentLogger;
  const { settings, connection } = readTransportOptions(options);
  const { useSsl, heartbeatSeconds, connectTimeoutMs, clientName } = options;
  const endpoint = readEndpoint(url, { options: connection, useSsl, heartbeatSeconds, logger });
  const link = await openRedis(endpoint, { connectTimeoutMs, clientName, signal: undefined });
  const keys = new Keys(settings, endpoint.db);
  return {
    async extend(consumer, tags) {
      await renewLeases(link, keys, consumer, settings.leaseMs, tags);
    },
    async close() {
      link.close();
    },
  };
};
