import { ConfigError, TransportNotFoundError } from '../errors.ts';
import { importInstalled } from '../internal/installed-package.ts';
import { nearestName } from '../internal/nearest-name.ts';
import { memoryBackend } from '../memory/memory-backend.ts';
import { findHandler, hasSchemes, listOf, schemeIn } from '../transport/resolve.ts';
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
export async function resolveBackend(
  url: Pick<BackendUrl, 'scheme'>,
  { backends = [], from, fallbacks }: ResolveBackendOptions = {},
): Promise<Backend> {
  const { scheme } = url;
  const given = findHandler([...backends, memoryBackend], scheme);
  if (given !== undefined) return given;
  const known = schemeIn(PACKAGES, scheme);
  if (known === undefined) {
    const schemes = [...backends, memoryBackend].flatMap((backend) => backend.schemes);
    const all = [...new Set([...schemes, ...PACKAGES.keys()])];
    throw new TransportNotFoundError(
      `No result store handles "${scheme}://".${nearestName(scheme, all)} Expected one of: ${listOf(schemes, PACKAGES)}. For another store pass its backend in "backends".`,
      { facts: { scheme } },
    );
  }
  const name = PACKAGES.get(known) as string;
  const exported = await importInstalled(name, from, fallbacks);
  if (exported === undefined) {
    throw new TransportNotFoundError(
      `No result store handles "${scheme}://". Run "npm install ${name}" or pass the backend in "backends".`,
      { facts: { scheme, package: name } },
    );
  }
  const backend = findHandler(Object.values(exported).filter(isBackend), scheme);
  if (backend === undefined) {
    throw new ConfigError(
      `The installed ${name} does not handle "${scheme}://". Install the version that belongs to this @lovage/core.`,
      {
        facts: { scheme, package: name },
      },
    );
  }
  return backend;
}

function isBackend(value: unknown): value is Backend {
  return hasSchemes(value) && typeof (value as Partial<Backend>).open === 'function';
}
