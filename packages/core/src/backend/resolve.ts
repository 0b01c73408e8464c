import { resolveHandler, type HandlerKind } from '../internal/scheme-handler.ts';
import { memoryBackend } from '../memory/memory-backend.ts';
import type { BackendUrl } from '../transport/url.ts';
import type { Backend } from './contract.ts';

/** Which package handles a scheme. Source: celery/app/backends.py. */
const PACKAGES: ReadonlyMap<string, string> = new Map([
  ['redis', '@lovage/backend-redis'],
  ['rediss', '@lovage/backend-redis'],
  ['redis+socket', '@lovage/backend-redis'],
  ['socket', '@lovage/backend-redis'],
  ['sentinel', '@lovage/backend-redis'],
  ['rpc', '@lovage/backend-rpc'],
  ['amqp', '@lovage/backend-rpc'],
  ['db+sqlite', '@lovage/backend-sql'],
  ['db+postgresql', '@lovage/backend-sql'],
  ['db+mysql', '@lovage/backend-sql'],
  ['db+mariadb', '@lovage/backend-sql'],
  ['db+oracle', '@lovage/backend-sql'],
  ['mongodb', '@lovage/backend-mongodb'],
  ['mongodb+srv', '@lovage/backend-mongodb'],
  ['couchdb', '@lovage/backend-couchdb'],
  ['couchdbs', '@lovage/backend-couchdb'],
  ['file', '@lovage/backend-filesystem'],
  ['cache+memcached', '@lovage/backend-memcached'],
  ['cache+memcache', '@lovage/backend-memcached'],
  ['cache+pylibmc', '@lovage/backend-memcached'],
  ['s3', '@lovage/backend-s3'],
  ['dynamodb', '@lovage/backend-dynamodb'],
  ['nats', '@lovage/backend-nats'],
  ['tls+nats', '@lovage/backend-nats'],
]);

export interface ResolveBackendOptions {
  /** Looked at first, in their order. */
  readonly backends?: readonly Backend[];
  /** Folder or file URL from which packages are looked up. Default: the working directory. */
  readonly from?: string;
  /** Files beside which they are looked up last. Default: the program's main file, this package. */
  readonly fallbacks?: readonly string[];
}

/**
 * The result store for a URL: one of those given, `cache+memory`, or the value that the scheme's package exports.
 * Rejects with `TransportNotFoundError`, which says what to install or which scheme may have been meant.
 */
export function resolveBackend(
  { scheme }: Pick<BackendUrl, 'scheme'>,
  { backends: given = [], from, fallbacks }: ResolveBackendOptions = {},
): Promise<Backend> {
  return resolveHandler(scheme, KIND, { given, from, fallbacks });
}

const KIND: HandlerKind<Backend> = {
  what: 'result store',
  place: 'store',
  value: 'backend',
  option: 'backends',
  packages: PACKAGES,
  builtIn: memoryBackend,
  is: (value): value is Backend => typeof (value as Partial<Backend>).open === 'function',
};
