import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import { ConfigError, UnsupportedError } from '../errors.ts';
import {
  boolean,
  nonEmptyText,
  type OptionReader,
  type OptionValues,
  readOptions,
  text,
  toCamelCase,
  withoutEffect,
} from './option-readers.ts';
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

/**
 * TLS settings under Celery's names (`ca_certs`), with or without `ssl_` before them, redis-py's and those of database
 * drivers; files, but for `caData`.
 */
const TLS_OPTIONS = {
  certReqs,
  caCerts: nonEmptyText,
  ca: nonEmptyText,
  caData: nonEmptyText,
  caPath: refuseFolder,
  certfile: nonEmptyText,
  cert: nonEmptyText,
  keyfile: nonEmptyText,
  key: nonEmptyText,
  keyfilePassword: text,
  password: text,
  checkHostname: boolean,
  serverHostname: nonEmptyText,
  ciphers: nonEmptyText,
  minVersion: withoutEffect,
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

export interface TlsRequest {
  /** The scheme asks for TLS. */
  readonly isSecure: boolean;
  /** `broker_use_ssl`, or a store's own setting. */
  readonly useSsl: boolean | Readonly<Record<string, unknown>> | undefined;
  /** Its name, for errors. Default `"broker_use_ssl"`. */
  readonly setting?: string;
  /** Whose certificate it is to be, unless options name another; default the URL's host. `''`: none is known. */
  readonly host?: string;
}

/**
 * Node's TLS options, from the `ssl_...` options of a URL and Celery's setting; undefined where neither asks for TLS and
 * the scheme does not. What the URL says wins. The certificate is verified unless `ssl_cert_reqs` is `none`.
 */
export function readTls(
  url: BrokerUrl,
  query: Readonly<Record<string, unknown>>,
  { isSecure, useSsl, setting = '"broker_use_ssl"', host = url.host }: TlsRequest,
): TlsSettings | undefined {
  const { ssl, ...fromQuery } = query;
  const isAsked = isSecure || ssl === true || Object.keys(fromQuery).length > 0;
  if (!isAsked && (useSsl === undefined || useSsl === false)) return undefined;
  const values = {
    ...readValues(typeof useSsl === 'object' ? useSsl : {}, `The setting for TLS (${setting})`),
    ...readValues(fromQuery, `The URL ${JSON.stringify(String(url))}`),
  };
  return { ...serverName(host), rejectUnauthorized: true, ...nodeOptions(values) };
}

/**
 * Node's TLS options from Celery's names, with or without `ssl_` before them; what is not given is absent. `where` begins
 * an error's sentence.
 */
export function readTlsSettings(given: Readonly<Record<string, unknown>>, where: string): TlsSettings {
  return nodeOptions(readValues(given, where));
}

/** The file of a certificate or a key; `name` is the option that names it. */
export function readTlsFile(path: string, name: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new ConfigError(`The file ${JSON.stringify(path)} of "${name}" cannot be read.`, { cause });
  }
}

/** The name for SNI and for the check of the certificate; an address may not stand in SNI. */
export function serverName(host: string): TlsSettings {
  return host === '' || isIP(host) !== 0 || host.startsWith('[') ? {} : { servername: host.toLowerCase() };
}

function readValues(given: Readonly<Record<string, unknown>>, where: string): OptionValues<typeof TLS_OPTIONS> {
  const named = Object.entries(given).map(([name, value]) => {
    const key = toCamelCase(name).replace(/^ssl(?=[A-Z])/, '');
    return [key.charAt(0).toLowerCase() + key.slice(1), value];
  });
  return readOptions(Object.fromEntries(named) as Record<string, unknown>, TLS_OPTIONS, where);
}

function nodeOptions(values: OptionValues<typeof TLS_OPTIONS>): TlsSettings {
  const { certReqs: verify, caData, ciphers, checkHostname, serverHostname } = values;
  const ca = values.caCerts ?? values.ca;
  const cert = values.certfile ?? values.cert;
  const key = values.keyfile ?? values.key;
  const passphrase = values.keyfilePassword ?? values.password;
  return {
    ...(verify === undefined ? {} : { rejectUnauthorized: verify }),
    ...(ca === undefined ? {} : { ca: readTlsFile(ca, 'ssl_ca_certs') }),
    ...(caData === undefined ? {} : { ca: caData }),
    ...(cert === undefined ? {} : { cert: readTlsFile(cert, 'ssl_certfile') }),
    ...(key === undefined ? {} : { key: readTlsFile(key, 'ssl_keyfile') }),
    ...(passphrase === undefined ? {} : { passphrase }),
    ...(ciphers === undefined ? {} : { ciphers }),
    ...(checkHostname === false ? { checkServerIdentity: () => undefined } : {}),
    ...(serverHostname === undefined ? {} : { servername: serverHostname }),
  };
}

function refuseFolder(): never {
  throw new UnsupportedError(
    '"ssl_ca_path" (a folder) is not read. Give one file with all authorities as "ssl_ca_certs".',
  );
}

/** Python's names for `ssl.CERT_*`. For a client, optional means required. */
export function certReqs(value: unknown, name: string): boolean {
  const given = typeof value === 'string' ? value.toLowerCase().replace(/^cert_/, '') : value;
  if (given === 'required' || given === 'optional' || given === 2 || given === 1) return true;
  if (given === 'none' || given === 0) return false;
  throw new ConfigError(`The option "${name}" is ${JSON.stringify(value)}. Expected one of: required, optional, none.`);
}
