import { type Backend, keyValueBackend } from '@lovage/core/backend';
import { openMemcachedStore } from './open.ts';
import { SCHEMES } from './options.ts';

export type { MemcachedBackendOptions } from './options.ts';

/**
 * Results in memcached, in Celery's layout: Python and TypeScript clients read each other's. Schemes `cache+memcached`,
 * `cache+memcache` and `cache+pylibmc`; options as {@link MemcachedBackendOptions}.
 */
export const memcachedBackend: Backend = keyValueBackend({ schemes: SCHEMES, open: openMemcachedStore });
