import type { BackendOptions, BackendUrl } from '@lovage/core/backend';
import { readSettings } from './options.ts';
import { Servers } from './servers.ts';
import { MemcachedStore } from './store.ts';

/** Opens a store. Rejects with `ConnectError`, `AuthError`, `ConfigError` or `UnsupportedError`. */
export async function openMemcachedStore(
  url: BackendUrl,
  options: BackendOptions & { readonly signal: AbortSignal },
): Promise<MemcachedStore> {
  const servers = new Servers(readSettings(url, options));
  await servers.open(options.signal);
  return new MemcachedStore(servers, options.codec);
}
