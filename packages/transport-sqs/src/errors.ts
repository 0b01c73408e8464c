import {
  AuthError,
  BrokerBlockedError,
  ConfigError,
  isLovageError,
  LovageError,
  NotFoundError,
} from '@lovage/core/transport';

/** What a failure of one request means for the next one. */
export type FailureKind = 'network' | 'busy' | 'refused';

interface SdkError extends Error {
  readonly $metadata?: { readonly httpStatusCode?: number };
  readonly $retryable?: { readonly throttling?: boolean };
  readonly code?: string;
  readonly Error?: { readonly Code?: string };
}

const BUSY: ReadonlySet<string> = new Set([
  'RequestThrottled',
  'ThrottlingException',
  'Throttling',
  'TooManyRequestsException',
  'RequestLimitExceeded',
  'KmsThrottled',
  'ServiceUnavailable',
  'InternalError',
  'InternalFailure',
  'OverLimit',
]);

const CREDENTIALS: ReadonlySet<string> = new Set([
  'InvalidClientTokenId',
  'UnrecognizedClientException',
  'SignatureDoesNotMatch',
  'InvalidSecurity',
  'InvalidSignatureException',
  'ExpiredToken',
  'ExpiredTokenException',
  'MissingAuthenticationToken',
  'MissingAuthenticationTokenException',
  'OptInRequired',
  'IncompleteSignature',
]);

/** No answer at all is the network's failure; an answer that asks for patience is `busy`. */
export function kindOf(error: unknown): FailureKind {
  const { $metadata, $retryable, name } = error as SdkError;
  const status = $metadata?.httpStatusCode;
  if (name === 'CredentialsProviderError' || isLovageError(error)) return 'refused';
  // An error after a good status: the answer broke off.
  if (status === undefined || status < 400) return isProgramError(error) ? 'refused' : 'network';
  return status >= 500 || status === 429 || BUSY.has(name) || $retryable?.throttling === true ? 'busy' : 'refused';
}

/** Something wrong with the request as the client built it: trying again changes nothing. */
function isProgramError(error: unknown): boolean {
  return (
    (error instanceof TypeError && (error as SdkError).code === undefined) ||
    error instanceof RangeError ||
    error instanceof SyntaxError
  );
}

export function isNamed(error: unknown, ...names: readonly string[]): boolean {
  return names.includes((error as Error).name);
}

/** An answer of SQS, or a failure before there was any request, as one of our errors. */
export function toLovageError(error: unknown, what: string): LovageError {
  if (isLovageError(error)) return error;
  const { name, message, $metadata } = error as SdkError;
  const cause = { cause: error };
  if (name === 'CredentialsProviderError') {
    return new AuthError(
      `${what}: no AWS credentials were found. Put them in the URL (sqs://key:secret@, percent-encoded), in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, in a profile, or run with a role.`,
      cause,
    );
  }
  if (CREDENTIALS.has(name)) return new AuthError(`${what}: AWS refused the credentials (${name}).`, cause);
  if (name === 'AccessDenied' || name === 'AccessDeniedException' || $metadata?.httpStatusCode === 403) {
    return new AuthError(`${what}: these credentials do not permit it (${name}).`, cause);
  }
  switch (name) {
    case 'QueueDoesNotExist':
      return new NotFoundError(`${what}: the queue does not exist.`, cause);
    case 'QueueDeletedRecently':
      return new BrokerBlockedError(
        `${what}: a queue of this name was removed less than 60 seconds ago; SQS makes no new one until then.`,
        cause,
      );
    default:
      if (kindOf(error) === 'busy')
        return new BrokerBlockedError(`${what}: SQS takes no more requests now (${name}).`, cause);
      return new ConfigError(`${what}: SQS refused the request (${name}): ${message}`, cause);
  }
}
