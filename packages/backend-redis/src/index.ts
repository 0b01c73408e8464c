import { type Backend, keyValueBackend } from '@lovage/core/backend';
import { BACKEND_SCHEMES } from '@lovage/redis';
import { openRedisStore } from './open.ts';

export type { RedisBackendOptions } from './options.ts';

/**
 * Results in Redis, in Celery's layout: Python and TypeScript clients read each other's. Schemes `redis`, `rediss`, `socket`,
 * `redis+socket` and `sentinel`; options as {@link RedisBackendOptions}.
 */
export const redisBackend: Backend = keyValueBackend({ schemes: BACKEND_SCHEMES, open: openRedisStore });
