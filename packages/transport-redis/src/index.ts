import { builtModule, type Transport, virtualTransport } from '@lovage/core/transport';
import { TRANSPORT_SCHEMES } from '@lovage/redis';
import { openRedisDriver } from './open.ts';

export type { RedisTransportOptions } from './options.ts';

/**
 * The broker Redis, in Kombu's key layout: Python and TypeScript workers serve the same queues. Schemes `redis`, `rediss`,
 * `redis+socket` and `sentinel`; options as {@link RedisTransportOptions}.
 */
export const redisTransport: Transport = virtualTransport({
  schemes: TRANSPORT_SCHEMES,
  open: openRedisDriver,
  leaseKeeper: builtModule('./lease-keeper.js', import.meta.url),
});
