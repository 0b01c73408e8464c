import type { BackendOptions, BackendUrl } from '@lovage/core/backend';
import { openRedis, readEndpoint } from '@lovage/redis';
import { completeEndpoint, isChordOrdered, readBackendOptions } from './options.ts';
import { RedisStore } from './store.ts';

/** Opens a store. Rejects with `ConnectError`, `AuthError`, `ConfigError` or `UnsupportedError`. */
export async function openRedisStore(
  url: BackendUrl,
  options: BackendOptions & { readonly signal: AbortSignal },
): Promise<RedisStore> {
  const endpoint = completeEndpoint(readEndpoint(url, readBackendOptions(options)), url, options);
  const link = await openRedis(endpoint, { signal: options.signal });
  return new RedisStore(link, () => openRedis(endpoint), isChordOrdered(options));
}
