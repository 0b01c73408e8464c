import { resolve } from 'node:path';
import { type BrokerUrl, parseBrokerUrls } from '@lovage/core/transport';

/** Schemes that mean one broker, by the name that stands for them here, and the port where a URL has none. */
const KINDS: readonly (readonly [name: string, port: number | undefined, schemes: RegExp])[] = [
  ['amqp', 5672, /^(?:py)?amqp$/],
  ['amqps', 5671, /^amqps$/],
  ['redis', 6379, /^(?:redis|valkey)s?$/],
  ['sqlite', undefined, /^(?:sqla|sqlalchemy)\+sqlite$/],
  ['postgresql', 5432, /^(?:sqla|sqlalchemy)\+postgres(?:ql)?(?:\+.*)?$/],
  ['mysql', 3306, /^(?:sqla|sqlalchemy)\+(?:mysql|mariadb)(?:\+.*)?$/],
  ['mongodb', 27_017, /^mongodb$/],
  ['nats', 4222, /^(?:tls\+)?nats$/],
  ['beanstalk', 11_300, /^beanstalk$/],
  ['couchdb', 5984, /^couchdb$/],
];

/** Whether two broker URLs lead to the same place, however they are written: ports, local hosts, paths of files. */
export function isSameBroker(one: string, other: string): boolean {
  const places = new Set(parseBrokerUrls(one).map(placeOf));
  return parseBrokerUrls(other).some((url) => places.has(placeOf(url)));
}

function placeOf(url: BrokerUrl): string {
  const { scheme, members, query } = url;
  const [kind = scheme, defaultPort] = KINDS.find(([, , schemes]) => schemes.test(scheme)) ?? [];
  const host = url.host.toLowerCase();
  const isLocal = host === '' || host === '127.0.0.1' || host === '[::1]';
  const database = databaseOf(kind, url);
  // Folders of the filesystem transport, prefixes and the like: other options, another place.
  const options =
    kind === 'sqlite'
      ? ''
      : Object.entries(query)
          .map(([name, value]) => `${name}=${value}`)
          .toSorted()
          .join('&');
  return [kind, isLocal ? 'localhost' : host, url.port ?? defaultPort, database, options, ...members.map(placeOf)].join(
    ' ',
  );
}

function databaseOf(kind: string, { path }: BrokerUrl): string {
  if (kind === 'sqlite') return path === '' || path === ':memory:' ? path : resolve(path);
  if (kind === 'redis') return path === '' ? '0' : path;
  if (kind.startsWith('amqp')) return path === '' ? '/' : path;
  return path;
}
