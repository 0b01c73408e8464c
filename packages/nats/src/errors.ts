import { JetStreamApiError } from '@nats-io/jetstream';
import {
  AuthError,
  BrokerBlockedError,
  ConfigError,
  ConnectError,
  ConnectionLostError,
  isLovageError,
  type LovageError,
  MessageTooLargeError,
  NotFoundError,
  PreconditionFailedError,
  TimeoutError,
  UnsupportedError,
} from '@lovage/core/transport';
import { errors } from '@nats-io/transport-node';

type ErrorClass = typeof ConnectError;

/** JetStream's error codes, `err_code` in replies. Source: nats-server/server/errors.json. */
export const JETSTREAM_CODES = {
  consumerNotFound: 10014,
  streamNotFound: 10059,
  streamNameInUse: 10058,
  wrongLastSequence: 10071,
  wrongLastSequenceConstant: 10164,
} as const;

const API_CODES: ReadonlyMap<number, readonly [ErrorClass, string]> = new Map([
  [10014, [NotFoundError, 'The consumer is not there any more.']],
  [10059, [NotFoundError, 'There is no such stream.']],
  [10058, [PreconditionFailedError, 'A stream of this name exists with other settings.']],
  [10065, [PreconditionFailedError, 'Another stream already takes these subjects.']],
  [10100, [PreconditionFailedError, 'Another consumer of the stream already takes these messages.']],
  [10099, [PreconditionFailedError, 'Another consumer of the stream already takes these messages.']],
  [10039, [ConfigError, 'JetStream is not enabled for this account.']],
  [10076, [ConfigError, 'JetStream is not enabled on this server (nats-server -js).']],
  [10054, [MessageTooLargeError, 'The message is larger than the stream takes.']],
  [10002, [BrokerBlockedError, 'The account has no room left for JetStream.']],
  [10023, [BrokerBlockedError, 'JetStream has no resources left.']],
  [10047, [BrokerBlockedError, 'JetStream has no storage left.']],
  [10077, [BrokerBlockedError, 'The stream is full.']],
  [10122, [BrokerBlockedError, 'The stream is full.']],
  [10008, [BrokerBlockedError, 'JetStream is not ready at the moment.']],
  [10009, [BrokerBlockedError, 'JetStream has no leader at the moment.']],
  [10167, [BrokerBlockedError, 'JetStream takes no more messages at once.']],
]);

/** The error in a reply of JetStream. */
export interface ApiFailure {
  readonly code: number;
  readonly err_code: number;
  readonly description: string;
}

/** `what` says whose failure it is: `The queue "celery"`. */
export function fromApiFailure(
  { code, err_code, description }: ApiFailure,
  what: string,
  cause?: unknown,
): LovageError {
  const options = { cause };
  const known = API_CODES.get(err_code);
  const said = `${what}: NATS said ${JSON.stringify(description)} (${err_code}).`;
  if (known !== undefined) return new known[0](`${known[1]} ${said}`, options);
  // 503 and 500 are states of the server, which pass.
  if (code === 429 || code >= 500) return new BrokerBlockedError(`JetStream could not do it now. ${said}`, options);
  return new UnsupportedError(`JetStream refused it. ${said}`, options);
}

/** The `err_code` of JetStream, where the error is one of its replies. */
export function apiCode(error: unknown): number | undefined {
  return error instanceof JetStreamApiError ? error.code : undefined;
}

/** An error of the client as one of Lovage's, by its type, with the original as `cause`. */
export function toLovageError(
  error: unknown,
  phase: 'opening' | 'open',
  url: string,
  what = 'The broker',
): LovageError {
  if (isLovageError(error)) return error;
  if (error instanceof JetStreamApiError) return fromApiFailure(error.apiError(), what, error);
  const options = { cause: error, facts: { url } };
  const text = error instanceof Error ? error.message : String(error);
  if (
    error instanceof errors.AuthorizationError ||
    error instanceof errors.UserAuthenticationExpiredError ||
    error instanceof errors.PermissionViolationError
  ) {
    return new AuthError(`NATS at ${url} refused the credentials, or what they allow: ${text}`, options);
  }
  if (isNoResponders(error)) {
    return new ConnectError(
      `JetStream at ${url} does not answer. Is it enabled (nats-server -js), and for this account?`,
      options,
    );
  }
  if (phase === 'opening') {
    return new ConnectError(`NATS at ${url} could not be reached: ${text}`, {
      ...options,
      retryable: !isCertificateError(error),
    });
  }
  if (error instanceof errors.TimeoutError || error instanceof errors.RequestError) {
    if (error.cause instanceof Error && !(error.cause instanceof errors.TimeoutError)) {
      return toLovageError(error.cause, phase, url, what);
    }
    if (error instanceof errors.TimeoutError || error.cause !== undefined) {
      return new TimeoutError(`${what}: JetStream at ${url} did not answer in time.`, options);
    }
  }
  if (error instanceof errors.InvalidArgumentError || error instanceof errors.InvalidSubjectError) {
    return new UnsupportedError(`${what}: the client refused it: ${text}`, options);
  }
  return new ConnectionLostError(`The connection to NATS at ${url} was lost: ${text}`, options);
}

function isNoResponders(error: unknown): boolean {
  return (
    error instanceof errors.NoRespondersError ||
    (error instanceof errors.RequestError && error.isNoResponders()) ||
    (error instanceof Error && error.name === 'JetStreamNotEnabled')
  );
}

/** Node names certificate failures with OpenSSL's X509 codes; trying again cannot help. */
function isCertificateError(error: unknown): boolean {
  const { code, cause } = (error ?? {}) as { code?: unknown; cause?: unknown };
  if (typeof code === 'string' && /^(CERT_|ERR_TLS_CERT|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|HOSTNAME_)/.test(code)) {
    return true;
  }
  return cause !== undefined && cause !== error && isCertificateError(cause);
}
