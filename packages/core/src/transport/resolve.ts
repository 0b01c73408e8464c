import { resolveHandler, type HandlerKind } from '../internal/scheme-handler.ts';
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
export function resolveTransport(
  { scheme }: Pick<BrokerUrl, 'scheme'>,
  { transports: given = [], from, fallbacks }: ResolveTransportOptions = {},
): Promise<Transport> {
  return resolveHandler(scheme, KIND, { given, from, fallbacks });
}

const KIND: HandlerKind<Transport> = {
  what: 'transport',
  place: 'broker',
  value: 'transport',
  option: 'transports',
  packages: PACKAGES,
  builtIn: memoryTransport,
  is: (value): value is Transport => typeof (value as Partial<Transport>).connect === 'function',
};
