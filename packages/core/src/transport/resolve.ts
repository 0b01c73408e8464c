import { ConfigError, TransportNotFoundError } from '../errors.ts';
import { importInstalled } from '../internal/installed-package.ts';
import { nearestName } from '../internal/nearest-name.ts';
import { memoryTransport } from '../memory/memory-transport.ts';
import type { Transport } from './contract.ts';
import type { BrokerUrl } from './url.ts';

/** Which package handles a scheme. Source: kombu/transport/__init__.py. */
const PACKAGES: ReadonlyMap<string, string> = new Map([
  ['amqp', '@lovage/transport-amqp'],
  ['amqps', '@lovage/transport-amqp'],
  ['pyamqp', '@lovage/transport-amqp'],
  ['redis', '@lovage/transport-redis'],
  ['rediss', '@lovage/transport-redis'],
  ['redis+socket', '@lovage/transport-redis'],
  ['sentinel', '@lovage/transport-redis'],
  ['sqla+sqlite', '@lovage/transport-sql'],
  ['sqlalchemy+sqlite', '@lovage/transport-sql'],
  ['sqla+postgresql', '@lovage/transport-sql'],
  ['sqlalchemy+postgresql', '@lovage/transport-sql'],
  ['sqla+mysql', '@lovage/transport-sql'],
  ['sqlalchemy+mysql', '@lovage/transport-sql'],
  ['sqla+mariadb', '@lovage/transport-sql'],
  ['sqlalchemy+mariadb', '@lovage/transport-sql'],
  ['sqla+oracle', '@lovage/transport-sql'],
  ['sqlalchemy+oracle', '@lovage/transport-sql'],
  ['mongodb', '@lovage/transport-mongodb'],
  ['mongodb+srv', '@lovage/transport-mongodb'],
  ['nats', '@lovage/transport-nats'],
  ['tls+nats', '@lovage/transport-nats'],
  ['beanstalk', '@lovage/transport-beanstalk'],
  ['sqs', '@lovage/transport-sqs'],
  ['couchdb', '@lovage/transport-couchdb'],
  ['couchdbs', '@lovage/transport-couchdb'],
  ['ironmq', '@lovage/transport-ironmq'],
  ['filesystem', '@lovage/transport-filesystem'],
]);

export interface ResolveTransportOptions {
  /** Looked at first, in their order. */
  readonly transports?: readonly Transport[];
  /** Folder or file URL from which packages are looked up. Default: the working directory. */
  readonly from?: string;
  /** Files beside which they are looked up last. Default: the program's main file, this package. */
  readonly fallbacks?: readonly string[];
}

/**
 * The transport for a URL: one of those given, `memory`, or the value that the scheme's package exports. A scheme with
 * a driver behind it (`sqla+sqlite+pysqlite`) is handled as the part before.
 *
 * Rejects with `TransportNotFoundError`, which says what to install or which scheme may have been meant.
 */
export async function resolveTransport(
  url: Pick<BrokerUrl, 'scheme'>,
  { transports = [], from, fallbacks }: ResolveTransportOptions = {},
): Promise<Transport> {
  const { scheme } = url;
  const given = findHandler([...transports, memoryTransport], scheme);
  if (given !== undefined) return given;
  const known = schemeIn(PACKAGES, scheme);
  if (known === undefined) {
    const schemes = [...transports, memoryTransport].flatMap((transport) => transport.schemes);
    const all = [...new Set([...schemes, ...PACKAGES.keys()])];
    throw new TransportNotFoundError(
      `No transport handles "${scheme}://".${nearestName(scheme, all)} Expected one of: ${listOf(schemes, PACKAGES)}. For another broker pass its transport in "transports".`,
      { facts: { scheme } },
    );
  }
  const name = PACKAGES.get(known) as string;
  const exported = await importInstalled(name, from, fallbacks);
  if (exported === undefined) {
    throw new TransportNotFoundError(
      `No transport handles "${scheme}://". Run "npm install ${name}" or pass the transport in "transports".`,
      { facts: { scheme, package: name } },
    );
  }
  const transport = findHandler(Object.values(exported).filter(isTransport), scheme);
  if (transport === undefined) {
    throw new ConfigError(
      `The installed ${name} does not handle "${scheme}://". Install the version that belongs to this @lovage/core.`,
      {
        facts: { scheme, package: name },
      },
    );
  }
  return transport;
}

function isTransport(value: unknown): value is Transport {
  return hasSchemes(value) && typeof (value as Partial<Transport>).connect === 'function';
}

/** Whether a value names the schemes that it handles, as transports and backends do. */
export function hasSchemes(value: unknown): value is { readonly schemes: readonly string[] } {
  return typeof value === 'object' && value !== null && Array.isArray((value as { schemes?: unknown }).schemes);
}

/** The first that handles the scheme, or the longest part of it that ends before a `+`. */
export function findHandler<T extends { readonly schemes: readonly string[] }>(
  handlers: readonly T[],
  scheme: string,
): T | undefined {
  for (const part of partsOf(scheme)) {
    const handler = handlers.find(({ schemes }) => schemes.includes(part));
    if (handler !== undefined) return handler;
  }
  return undefined;
}

/** The same in a table. */
export function schemeIn(table: ReadonlyMap<string, unknown>, scheme: string): string | undefined {
  return partsOf(scheme).find((part) => table.has(part));
}

/** Every scheme once, those given first. */
export function listOf(given: readonly string[], table: ReadonlyMap<string, unknown>): string {
  return [...new Set([...given, ...table.keys()])].join(', ');
}

function partsOf(scheme: string): readonly string[] {
  const words = scheme.split('+');
  return words.map((_, index) => words.slice(0, words.length - index).join('+'));
}
