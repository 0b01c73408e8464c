import { readFileSync } from 'node:fs';
import type { ConnectionOptions } from 'node:tls';
import { ConfigError } from '@lovage/core/transport';
import { boolean, nonEmptyText, type OptionReader, readOptions, toCamelCase } from '@lovage/core/options';

/** Python's names for `ssl.CERT_*`. For a client, optional means required. */
const certReqs: OptionReader<boolean> = (value, name) => {
  const given = typeof value === 'string' ? value.toLowerCase().replace(/^cert_/, '') : value;
  if (given === 'required' || given === 'optional' || given === 2 || given === 1) return true;
  if (given === 'none' || given === 0) return false;
  throw new ConfigError(`The option "${name}" is ${JSON.stringify(value)}. Expected one of: required, optional, none.`);
};

const TLS_OPTIONS = {
  caCerts: nonEmptyText,
  ca: nonEmptyText,
  certfile: nonEmptyText,
  cert: nonEmptyText,
  keyfile: nonEmptyText,
  key: nonEmptyText,
  certReqs,
  checkHostname: boolean,
} as const;

/**
 * `broker_use_ssl` for a database: true verifies with the system's certificates; else Celery's names, with or without
 * `ssl_`, for files. undefined: it asks for no TLS.
 */
export function readUseSsl(
  useSsl: boolean | Readonly<Record<string, unknown>> | undefined,
): ConnectionOptions | undefined {
  if (useSsl === undefined || useSsl === false) return undefined;
  const given = Object.fromEntries(
    Object.entries(useSsl === true ? {} : useSsl).map(([name, value]) => {
      const key = toCamelCase(name).replace(/^ssl(?=[A-Z])/, '');
      return [key.charAt(0).toLowerCase() + key.slice(1), value];
    }),
  );
  const options = readOptions(given, TLS_OPTIONS, 'The setting "broker_use_ssl"');
  return tlsOptions({
    ca: options.caCerts ?? options.ca,
    cert: options.certfile ?? options.cert,
    key: options.keyfile ?? options.key,
    verify: options.certReqs ?? true,
    checkHostname: options.checkHostname ?? true,
  });
}

export interface TlsFiles {
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
  readonly verify: boolean;
  readonly checkHostname: boolean;
}

/** Node's options for a client, with the files read. */
export function tlsOptions({ ca, cert, key, verify, checkHostname }: TlsFiles): ConnectionOptions {
  return {
    rejectUnauthorized: verify,
    ...(ca === undefined ? {} : { ca: read(ca) }),
    ...(cert === undefined ? {} : { cert: read(cert) }),
    ...(key === undefined ? {} : { key: read(key) }),
    ...(checkHostname ? {} : { checkServerIdentity: () => undefined }),
  };
}

function read(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    throw new ConfigError(`The file ${JSON.stringify(path)} for TLS cannot be read.`, { cause });
  }
}
