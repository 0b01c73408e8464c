import {
  AuthError,
  BrokerBlockedError,
  ConfigError,
  ConnectError,
  ConnectionLostError,
  isLovageError,
  type LovageError,
  PreconditionFailedError,
  UnsupportedError,
} from '@lovage/core/transport';

type ErrorClass = typeof ConnectError;

/** Redis' error codes: the first word of an error reply. Source: redis/src/server.c, createSharedObjects. */
const REPLY_CODES: ReadonlyMap<string, readonly [ErrorClass, string]> = new Map([
  ['LOADING', [ConnectError, 'Redis is still loading its data. Try again in a moment.']],
  ['MASTERDOWN', [ConnectError, 'This Redis replica has no link to its master.']],
  ['CLUSTERDOWN', [ConnectError, 'The Redis cluster is down.']],
  ['TRYAGAIN', [ConnectError, 'Redis is moving keys. Try again in a moment.']],
  ['READONLY', [ConnectionLostError, 'This Redis is a replica now and takes no writes.']],
  ['UNBLOCKED', [ConnectionLostError, 'This Redis became a replica while a command was waiting.']],
  ['BUSY', [BrokerBlockedError, 'A script blocks Redis.']],
  ['MISCONF', [BrokerBlockedError, 'Redis takes no writes because it cannot save to its disk.']],
  ['OOM', [BrokerBlockedError, 'Redis takes no writes because its memory limit is reached.']],
  ['NOREPLICAS', [BrokerBlockedError, 'Redis takes no writes because too few replicas follow it.']],
  ['WRONGTYPE', [PreconditionFailedError, 'A key of this name holds another type of value.']],
  ['NOAUTH', [AuthError, 'Redis asks for a password and the URL has none.']],
  ['WRONGPASS', [AuthError, 'Redis refused the user name or the password.']],
  ['NOPERM', [AuthError, 'The Redis user has no permission for a command or key that is needed.']],
  ['DENIED', [AuthError, 'Redis in protected mode refuses connections from other hosts.']],
  ['MOVED', [UnsupportedError, 'This is a Redis Cluster. Expected a single server or Sentinel.']],
  ['ASK', [UnsupportedError, 'This is a Redis Cluster. Expected a single server or Sentinel.']],
  ['CROSSSLOT', [UnsupportedError, 'This is a Redis Cluster. Expected a single server or Sentinel.']],
]);

/** Replies after which a connection is of no use: another server is the master now. */
const FATAL_CODES: ReadonlySet<string> = new Set(['READONLY', 'UNBLOCKED', 'MASTERDOWN']);

/** The code of an error reply (`WRONGTYPE`), or undefined when the error is none. */
export function replyCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || error.name !== 'ReplyError') return undefined;
  return /^-?([A-Z][A-Z0-9]*)\b/.exec(error.message)?.[1] ?? 'ERR';
}

/** True for replies after which the connection must be given up: the server became a replica. */
export function isFatalReply(error: unknown): boolean {
  const code = replyCode(error);
  return code !== undefined && FATAL_CODES.has(code);
}

/** What happened while the client was opening a connection, or while it was in use. */
export type Phase = 'opening' | 'open' | 'lost';

/**
 * An error of the client as one of Lovage's, classified by Redis' error code or Node's `code`, with the original as
 * `cause` and the masked URL as fact `url`. What is no reply and no known code is the loss of the connection, or its
 * failure to open.
 */
export function toLovageError(error: unknown, phase: Phase, url: string): LovageError {
  if (isLovageError(error)) return error;
  const options = { cause: error, facts: { url } };
  const code = replyCode(error);
  if (code !== undefined) {
    const known = REPLY_CODES.get(code);
    const detail = (error as Error).message;
    if (known !== undefined) {
      const [type, text] = known;
      // While opening, a replica is a server that cannot be used (yet), not a lost link.
      const Class = phase === 'opening' && type === ConnectionLostError ? ConnectError : type;
      return new Class(`${text} Redis said: ${JSON.stringify(detail)}.`, options);
    }
    return phase === 'opening'
      ? new ConfigError(`Redis at ${url} refused the connection's settings: ${JSON.stringify(detail)}.`, options)
      : new UnsupportedError(`Redis at ${url} refused a command: ${JSON.stringify(detail)}.`, options);
  }
  const text = error instanceof Error ? error.message : String(error);
  if (phase === 'opening') {
    return new ConnectError(`Redis at ${url} could not be reached: ${text}`, {
      ...options,
      retryable: !isCertificateError(error),
    });
  }
  return new ConnectionLostError(`The connection to Redis at ${url} was lost: ${text}`, options);
}

/** Node names certificate failures with OpenSSL's X509 codes; trying again cannot help. */
function isCertificateError(error: unknown): boolean {
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' && /^(CERT_|ERR_TLS_CERT|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|HOSTNAME_)/.test(code);
}
