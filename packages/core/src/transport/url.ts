import { ConfigError } from '../errors.ts';

/**
 * One broker URL, taken apart as Kombu does. Source: kombu/utils/url.py.
 *
 * `String(url)` and `JSON.stringify` mask the password; `raw` does not: never print it.
 */
export class BrokerUrl {
  /** Lower case: `redis`, `redis+socket`, `sqla+sqlite`. */
  readonly scheme: string;
  readonly username: string | undefined;
  readonly password: string | undefined;
  /** As written, several joined by `,` where the scheme allows it; `''` when absent. */
  readonly host: string;
  readonly port: number | undefined;
  /** The path without its first `/`, percent-decoded: AMQP's virtual host, Redis' database, SQLite's file. */
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  /** The further members of a `;` list that name one broker (sentinels); empty otherwise. */
  readonly members: readonly BrokerUrl[];
  readonly #raw: string;

  constructor(raw: string, members: readonly BrokerUrl[] = []) {
    const match = /^([A-Za-z][\w.+-]*):\/\/([^/?#]*)([^?#]*)(?:\?([^#]*))?$/.exec(raw);
    if (match === null) {
      throw new ConfigError(
        `The broker URL ${JSON.stringify(maskUrl(raw))} cannot be read. Expected "scheme://user:password@host:port/path?option=value", with "/", "?", "#" and "@" percent-encoded in user and password.`,
      );
    }
    const [, scheme = '', authority = '', path = '', query = ''] = match;
    const at = authority.lastIndexOf('@');
    const userInfo = at < 0 ? undefined : authority.slice(0, at);
    const hostPort = authority.slice(at + 1);
    const colon = userInfo?.indexOf(':') ?? -1;
    const portMatch = /:(\d*)$/.exec(hostPort.includes(',') ? '' : hostPort);
    const port = portMatch?.[1] ? Number(portMatch[1]) : undefined;
    if (port !== undefined && port > 65535) {
      throw new ConfigError(`The port ${port} in ${JSON.stringify(maskUrl(raw))} does not exist. Expected 1 to 65535.`);
    }
    this.scheme = scheme.toLowerCase();
    this.username = userInfo ? decode(colon < 0 ? userInfo : userInfo.slice(0, colon), raw) || undefined : undefined;
    this.password = userInfo && colon >= 0 ? decode(userInfo.slice(colon + 1), raw) : undefined;
    this.host = portMatch ? hostPort.slice(0, portMatch.index) : hostPort;
    this.port = port;
    this.path = decode(path.startsWith('/') ? path.slice(1) : path, raw);
    this.query = Object.fromEntries(new URLSearchParams(query));
    this.members = members;
    this.#raw = raw;
  }

  /** The text as given, password included. */
  get raw(): string {
    return this.#raw;
  }

  toString(): string {
    return [maskUrl(this.#raw), ...this.members.map(String)].join(';');
  }

  toJSON(): string {
    return this.toString();
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString();
  }
}

/** The same for a result store; `db+sqlite:///file` has the scheme `db+sqlite`. */
export { BrokerUrl as BackendUrl };

/** Schemes whose `;` list names the members of one broker, not alternatives. */
const MEMBER_SCHEMES = new Set(['sentinel', 'cache+memcached', 'cache+memcache', 'cache+pylibmc']);

/**
 * The alternatives of a broker setting: one URL, a list, or several joined by `;`. Each is read on its own and
 * inherits nothing from its neighbours. A bare host name means AMQP on that host, as in Kombu.
 */
export function parseBrokerUrls(setting: string | readonly string[]): readonly BrokerUrl[] {
  const parts = (typeof setting === 'string' ? setting.split(';') : setting.flatMap((item) => item.split(';')))
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map((part) => (part.includes('://') ? part : `amqp://${part}`));
  const urls: BrokerUrl[] = [];
  for (let index = 0; index < parts.length; ) {
    const first = parts[index++] as string;
    const members: BrokerUrl[] = [];
    if (MEMBER_SCHEMES.has(schemeOf(first))) {
      while (index < parts.length && schemeOf(parts[index] as string) === schemeOf(first)) {
        members.push(new BrokerUrl(parts[index++] as string));
      }
    }
    urls.push(new BrokerUrl(first, members));
  }
  if (urls.length === 0)
    throw new ConfigError('The broker URL is empty. Expected for example "redis://localhost:6379/0".');
  return urls;
}

function schemeOf(url: string): string {
  return url.slice(0, url.indexOf('://')).toLowerCase();
}

const SECRET_QUERY = /([?&](?:[^=&]*(?:pass|pwd|secret|token|key|credential|signature)[^=&]*)=)[^&]*/gi;
/** A token stands where others have a user. Source: NATS, authentication by token. */
const NATS_TOKEN = /^((?:tls\+)?nats:\/\/)[^@/:]+@(?:[^/?#]*@)?/i;

/** Replaces the passwords and secret-looking query values of a URL, or several joined by `;`, readable or not, by `**`. */
export function maskUrl(url: string): string {
  return url
    .split(/;(?=[a-z][\w+.-]*:\/\/)/i)
    .map(maskOne)
    .join(';');
}

function maskOne(url: string): string {
  const scheme = /^[^:]*:\/\//.exec(url)?.[0] ?? '';
  const masked = url.slice(scheme.length).replace(/^([^@/]*?):(.*)@/, (_, user: string) => `${user}:**@`);
  return (scheme + masked).replace(NATS_TOKEN, '$1**@').replace(SECRET_QUERY, '$1**');
}

function decode(text: string, raw: string): string {
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw new ConfigError(
      `A "%" in ${JSON.stringify(maskUrl(raw))} starts no percent-encoded character. Write it as "%25".`,
      { cause },
    );
  }
}
