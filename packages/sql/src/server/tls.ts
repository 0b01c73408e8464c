import type { ConnectionOptions } from 'node:tls';
import { readTlsFile, readTlsSettings } from '@lovage/core/options';

/**
 * `broker_use_ssl` for a database: true verifies with the system's certificates; else Celery's names, with or without
 * `ssl_`, for files. undefined: it asks for no TLS.
 */
export function readUseSsl(
  useSsl: boolean | Readonly<Record<string, unknown>> | undefined,
): ConnectionOptions | undefined {
  if (useSsl === undefined || useSsl === false) return undefined;
  return {
    rejectUnauthorized: true,
    ...readTlsSettings(useSsl === true ? {} : useSsl, 'The setting "broker_use_ssl"'),
  };
}

/** Names of files, and what is checked, as a database's own options give them. */
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
    ...(ca === undefined ? {} : { ca: readTlsFile(ca, 'ca') }),
    ...(cert === undefined ? {} : { cert: readTlsFile(cert, 'cert') }),
    ...(key === undefined ? {} : { key: readTlsFile(key, 'key') }),
    ...(checkHostname ? {} : { checkServerIdentity: () => undefined }),
  };
}
