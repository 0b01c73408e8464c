import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import { ConfigError } from '../errors.ts';
import { boolean, nonEmptyText, type OptionReader, readOptions, text, toCamelCase } from './option-readers.ts';
import type { BrokerUrl } from './url.ts';

/** What of Node's TLS options can be set. */
export type TlsSettings = {
  -readonly [Name in
    | 'rejectUnauthorized'
    | 'ca'
    | 'cert'
    | 'key'
    | 'passphrase'
    | 'ciphers'
    | 'checkServerIdentity'
    | 'servername']?: NonNullable<ConnectionOptions[Name]>;
};

/** TLS settings under Celery's names (`ca_certs`), with or without `ssl_` before them. */
const TLS_OPTIONS = {
  certReqs,
  caCerts: nonEmptyText,
  certfile: nonEmptyText,
  keyfile: nonEmptyText,
  keyfilePassword: text,
  checkHostname: boolean,
  serverHostname: nonEmptyText,
  ciphers: nonEmptyText,
} as const satisfies Record<string, OptionReader<unknown>>;

/** The query of a URL in two parts: what is about TLS, and the rest. */
export function splitQuery(url: BrokerUrl): {
  readonly tls: Readonly<Record<string, unknown>>;
  readonly rest: Readonly<Record<string, unknown>>;
} {
  const tls: Record<string, unknown> = {};
  const rest: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(url.query)) {
    if (name === 'ssl') tls[name] = boolean(value, name);
    else if (name.startsWith('ssl_')) tls[name] = value;
    else rest[name] = value;
  }
  return { tls, rest };
}

/**
 * Node's TLS options, from the `ssl_...` options of a URL and Celery's `broker_use_ssl`; undefined where neither asks
 * for TLS and the scheme does not (`isSecure`). The certificate is verified unless `ssl_cert_reqs` is `none`.
 */
export function readTls(
  url: BrokerUrl,
  query: Readonly<Record<string, unknown>>,
  useSsl: boolean | Readonly<Record<string, unknown>> | undefined,
  isSecure: boolean,
): TlsSettings | undefined {
  const { ssl, ...fromQuery } = query;
  const isAsked = isSecure || ssl === true || Object.keys(fromQuery).length > 0;
  if (!isAsked && (useSsl === undefined || useSsl === false)) return undefined;
  return {
    ...serverName(url.host),
    rejectUnauthorized: true,
    ...readTlsSettings(typeof useSsl === 'object' ? useSsl : {}, 'The setting for TLS ("broker_use_ssl")'),
    ...readTlsSettings(fromQuery, `The URL ${JSON.stringify(String(url))}`),
  };
}

/**
 * Node's TLS options from Celery's names, with or without `ssl_` before them; what is not given is absent. `where` begins
 * an error's sentence.
 */
export function readTlsSettings(given: Readonly<Record<string, unknown>>, where: string): TlsSettings {
  const values = readOptions(withoutPrefix(given), TLS_OPTIONS, where);
  return {
    ...(values.certReqs === undefined ? {} : { rejectUnauthorized: values.certReqs }),
    ...(values.caCerts === undefined ? {} : { ca: read(values.caCerts, 'ssl_ca_certs') }),
    ...(values.certfile === undefined ? {} : { cert: read(values.certfile, 'ssl_certfile') }),
    ...(values.keyfile === undefined ? {} : { key: read(values.keyfile, 'ssl_keyfile') }),
    ...(values.keyfilePassword === undefined ? {} : { passphrase: values.keyfilePassword }),
    ...(values.ciphers === undefined ? {} : { ciphers: values.ciphers }),
    ...(values.checkHostname === false ? { checkServerIdentity: () => undefined } : {}),
    ...(values.serverHostname === undefined ? {} : { servername: values.serverHostname }),
  };
}

/** The name for SNI and for the check of the certificate; an address may not stand in SNI. */
export function serverName(host: string): TlsSettings {
  return host === '' || isIP(host) !== 0 || host.startsWith('[') ? {} : { servername: host.toLowerCase() };
}

function withoutPrefix(given: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(given).map(([name, value]) => {
      const key = toCamelCase(name).replace(/^ssl(?=[A-Z])/, '');
      return [key.charAt(0).toLowerCase() + key.slice(1), value];
    }),
  );
}

function read(path: string, name: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new ConfigError(`The file ${JSON.stringify(path)} of "${name}" cannot be read.`, { cause });
  }
}

/** Python's names for `ssl.CERT_*`. For a client, optional means required. */
function certReqs(value: unknown, name: string): boolean {
  const given = typeof value === 'string' ? value.toLowerCase().replace(/^cert_/, '') : value;
  if (given === 'required' || given === 'optional' || given === 2 || given === 1) return true;
  if (given === 'none' || given === 0) return false;
  throw new ConfigError(`The option "${name}" is ${JSON.stringify(value)}. Expected one of: required, optional, none.`);
}
