import {
  AuthError,
  BrokerBlockedError,
  ConnectError,
  ConnectionLostError,
  EncodeError,
  isLovageError,
  type LovageError,
  MessageTooLargeError,
  PreconditionFailedError,
  TimeoutError,
  UnsupportedError,
} from '@lovage/core/transport';
import {
  MongoClientClosedError,
  MongoNetworkError,
  MongoNotConnectedError,
  MongoServerError,
  MongoServerSelectionError,
  MongoTopologyClosedError,
} from 'mongodb';

type ErrorClass = typeof ConnectError;

/** Source: mongo/src/mongo/base/error_codes.yml. */
const CODES: ReadonlyMap<number, readonly [ErrorClass, string]> = new Map([
  [11, [AuthError, 'MongoDB knows no such user.']],
  [13, [AuthError, 'The MongoDB user has no right to do what is needed.']],
  [18, [AuthError, 'MongoDB refused the user name or the password.']],
  [8000, [AuthError, 'MongoDB Atlas refused the credentials.']],
  [26, [PreconditionFailedError, 'A collection does not exist.']],
  [85, [PreconditionFailedError, 'An index exists with other options.']],
  [86, [PreconditionFailedError, 'An index exists with other keys.']],
  [166, [PreconditionFailedError, 'A view or collection does not allow this.']],
  [59, [UnsupportedError, 'This server does not know a command.']],
  [115, [UnsupportedError, 'This server does not support a command.']],
  [238, [UnsupportedError, 'This server has not implemented what is needed.']],
  [40573, [UnsupportedError, 'Change streams need a replica set.']],
  [10334, [MessageTooLargeError, 'A document is larger than MongoDB takes.']],
  [17419, [MessageTooLargeError, 'A document would become larger than MongoDB takes.']],
  [17420, [MessageTooLargeError, 'A document would become larger than MongoDB takes.']],
  [50, [TimeoutError, 'MongoDB ended a command that took too long.']],
  [64, [BrokerBlockedError, 'MongoDB could not confirm a write on a majority of its servers in time.']],
  [79, [BrokerBlockedError, 'MongoDB does not know the write concern.']],
  [100, [BrokerBlockedError, 'MongoDB has too few servers for a majority.']],
  [14031, [BrokerBlockedError, 'MongoDB has no space left on its disk.']],
]);

/** The server we talk to is not, or no longer, the one that takes writes. */
const NOT_PRIMARY: ReadonlySet<number> = new Set([91, 189, 10058, 10107, 11600, 11602, 13435, 13436]);

/** What the driver says when there is no server, no connection to it, or a client that was closed. */
const LINK_ERRORS = [
  MongoNetworkError,
  MongoServerSelectionError,
  MongoTopologyClosedError,
  MongoNotConnectedError,
  MongoClientClosedError,
] as const;

/** What happened while a connection was being opened, or while it was in use. */
export type Phase = 'opening' | 'open' | 'lost';

/** The number of a server's error reply, or undefined when the error is none. */
export function serverCode(error: unknown): number | undefined {
  return error instanceof MongoServerError && typeof error.code === 'number' ? error.code : undefined;
}

/** True for errors after which a connection is of no use: the link broke, or another server takes the writes now. */
export function isFatal(error: unknown): boolean {
  if (error instanceof MongoServerError) return NOT_PRIMARY.has(Number(error.code));
  return LINK_ERRORS.some((type) => error instanceof type);
}

/**
 * An error of the driver as one of Lovage's, by MongoDB's error code or the driver's class, with the original as `cause`
 * and the masked URL as fact `url`.
 */
export function toLovageError(error: unknown, phase: Phase, url: string): LovageError {
  if (isLovageError(error)) return error;
  const options = { cause: error, facts: { url } };
  const text = error instanceof Error ? error.message : String(error);
  if (error instanceof MongoServerError && !NOT_PRIMARY.has(Number(error.code))) {
    const [type, sentence] = CODES.get(Number(error.code)) ?? [
      BrokerBlockedError,
      `MongoDB refused a command (${String(error.codeName ?? error.code)}).`,
    ];
    return new type(`${sentence} MongoDB at ${url} said: ${JSON.stringify(text)}.`, options);
  }
  if (phase === 'opening') {
    return new ConnectError(`MongoDB at ${url} could not be reached: ${text}`, {
      ...options,
      retryable: !isCertificateError(error),
    });
  }
  if (phase === 'open' && !isFatal(error)) {
    return new EncodeError(`The driver refused what it should send to MongoDB at ${url}: ${text}`, options);
  }
  return new ConnectionLostError(`The connection to MongoDB at ${url} was lost: ${text}`, options);
}

/** Node names certificate failures with OpenSSL's X509 codes; trying again cannot help. */
function isCertificateError(error: unknown): boolean {
  for (let at = error as { code?: unknown; cause?: unknown } | undefined, depth = 0; at != null && depth < 5; depth++) {
    if (
      typeof at.code === 'string' &&
      /^(CERT_|ERR_TLS_CERT|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|HOSTNAME_)/.test(at.code)
    )
      return true;
    at = at.cause as typeof at;
  }
  return false;
}
