import { AuthError, BrokerBlockedError, ConfigError, isLovageError, type LovageError } from '@lovage/core/transport';

/** What a failure of one request means for the next one. */
export type FailureKind = 'network' | 'busy' | 'refused';

/** A service of AWS, for errors. */
export interface AwsService {
  /** `SQS`. */
  readonly name: string;
  /** Where credentials may be written for it: `in the URL (sqs://key:secret@, percent-encoded)`. */
  readonly credentials: string;
  /** Errors of this service alone; undefined: judged as any other. */
  readonly toLovageError?: (error: Error, what: string) => LovageError | undefined;
}

interface SdkError extends Error {
  readonly $metadata?: { readonly httpStatusCode?: number };
  readonly $retryable?: { readonly throttling?: boolean };
  readonly code?: string;
}

const BUSY: ReadonlySet<string> = new Set([
  'RequestThrottled',
  'ThrottlingException',
  'Throttling',
  'ThrottledException',
  'TooManyRequestsException',
  'RequestLimitExceeded',
  'ProvisionedThroughputExceededException',
  'LimitExceededException',
  'SlowDown',
  'KmsThrottled',
  'ServiceUnavailable',
  'InternalError',
  'InternalFailure',
  'OverLimit',
]);

const CREDENTIALS: ReadonlySet<string> = new Set([
  'InvalidClientTokenId',
  'InvalidAccessKeyId',
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

/** The status of the answer that an error stands for; undefined: there was none. */
export function statusOf(error: unknown): number | undefined {
  return (error as SdkError).$metadata?.httpStatusCode;
}

/** No answer at all is the network's failure; an answer that asks for patience is `busy`. */
export function kindOf(error: unknown): FailureKind {
  const { $retryable, name } = error as SdkError;
  const status = statusOf(error);
  if (name === 'CredentialsProviderError' || isLovageError(error)) return 'refused';
  // An error after a good status: the answer broke off.
  if (status === undefined || status < 300) return isProgramError(error) ? 'refused' : 'network';
  // The service does not do this at all.
  if (status === 501) return 'refused';
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

/** True for an error of the SDK with one of these names, or for one of ours that it has caused. */
export function isNamed(error: unknown, ...names: readonly string[]): boolean {
  return names.includes((isLovageError(error) ? (error.cause as Error | undefined) : (error as Error))?.name as string);
}

/** An answer of the service, or a failure before there was any request, as one of our errors. */
export function toLovageError(error: unknown, what: string, service: AwsService): LovageError {
  if (isLovageError(error)) return error;
  const { name, message } = error as SdkError;
  const cause = { cause: error };
  if (name === 'CredentialsProviderError') {
    return new AuthError(
      `${what}: no AWS credentials were found. Put them ${service.credentials}, in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, in a profile, or run with a role.`,
      cause,
    );
  }
  if (CREDENTIALS.has(name)) return new AuthError(`${what}: AWS refused the credentials (${name}).`, cause);
  const own = service.toLovageError?.(error as Error, what);
  if (own !== undefined) return own;
  if (name === 'AccessDenied' || name === 'AccessDeniedException' || statusOf(error) === 403) {
    return new AuthError(`${what}: these credentials do not permit it (${name}).`, cause);
  }
  if (kindOf(error) === 'busy') {
    return new BrokerBlockedError(`${what}: ${service.name} takes no more requests now (${name}).`, cause);
  }
  return new ConfigError(`${what}: ${service.name} refused the request (${name}): ${message}`, cause);
}

/** For a write of several: what failed for its own sake is its outcome; a link that is lost or closed fails them all. */
export function unlessLost(error: Error): Error {
  if (isLovageError(error, 'ERR_CONNECTION_LOST') || isLovageError(error, 'ERR_CLOSED')) throw error;
  return error;
}
