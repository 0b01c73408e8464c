/**
 * Every code that a {@link LovageError} can carry. `docs/errors.md` is generated from this table.
 *
 * `retryable` says whether the same call may succeed later with nothing changed by the caller.
 */
export const ERROR_CODES = {
  ERR_CONFIG: { retryable: false, summary: 'A setting, option or URL is wrong.' },
  ERR_TRANSPORT_NOT_FOUND: {
    retryable: false,
    summary: 'No package handles the scheme of this URL, or it is not installed.',
  },
  ERR_UNSUPPORTED: { retryable: false, summary: 'This broker or store cannot do what was asked, not even emulated.' },
  ERR_CLOSED: { retryable: false, summary: 'The object was closed before the call.' },
  ERR_CONNECTION_LOST: { retryable: true, summary: 'The link to the broker or store broke.' },
  ERR_CONNECT: { retryable: true, summary: 'The broker or store could not be reached.' },
  ERR_AUTH: { retryable: false, summary: 'The broker or store refused the credentials.' },
  ERR_BLOCKED: { retryable: true, summary: 'The broker accepts no messages for now (memory or disk alarm).' },
  ERR_TIMEOUT: { retryable: true, summary: 'The deadline of the call passed.' },
  ERR_PUBLISH: { retryable: true, summary: 'The broker does not own some of the messages of a batch.' },
  ERR_UNROUTABLE: { retryable: false, summary: 'No queue is bound for this exchange and routing key.' },
  ERR_TOO_LARGE: { retryable: false, summary: 'The message exceeds the size that this broker takes.' },
  ERR_PRECONDITION_FAILED: { retryable: false, summary: 'The queue or exchange exists with other arguments.' },
  ERR_NOT_FOUND: { retryable: false, summary: 'The queue, exchange or result does not exist.' },
  ERR_ENCODE: { retryable: false, summary: 'A value cannot be serialized.' },
  ERR_DECODE: { retryable: false, summary: 'Bytes from outside are not what their content type says.' },
  ERR_CONTENT_DISALLOWED: { retryable: false, summary: 'The content type is not in the accept list.' },
  ERR_INVALID_MESSAGE: { retryable: false, summary: 'A message is not a task message of protocol 1 or 2.' },
  ERR_NOT_REGISTERED: { retryable: false, summary: 'No task of this name is registered.' },
  ERR_TASK_ARGUMENTS: { retryable: false, summary: 'The arguments do not fit the task.' },
  ERR_TASK_FAILED: { retryable: false, summary: 'The task ended in FAILURE or REVOKED; raised by get().' },
  ERR_QUEUE_NOT_FOUND: { retryable: false, summary: 'The queue is not configured and may not be created.' },
  ERR_BACKEND_DISABLED: { retryable: false, summary: 'The call needs a result backend and none is configured.' },
  ERR_RETRY: { retryable: false, summary: 'Thrown by retry(): the task runs again later.' },
  ERR_IGNORE: { retryable: false, summary: 'Thrown by a task to leave its state as it is.' },
  ERR_REJECT: { retryable: false, summary: 'Thrown by a task to refuse its message.' },
  ERR_MAX_RETRIES: { retryable: false, summary: 'The task asked for a retry and none is left.' },
  ERR_TIME_LIMIT: { retryable: false, summary: 'The task ran longer than its time limit.' },
  ERR_WORKER_LOST: { retryable: false, summary: 'The worker, or the process of it that ran the task, is gone.' },
  ERR_REVOKED: { retryable: false, summary: 'The task was revoked, or expired before it ran.' },
  ERR_CHORD: { retryable: false, summary: 'A part of a chord failed, so its body does not run.' },
  ERR_INCOMPLETE_STREAM: { retryable: true, summary: 'A result in the tree that was walked has not ended.' },
  ERR_LEASE_LOST: { retryable: true, summary: 'Another worker may have taken this message over.' },
} as const satisfies Record<string, { retryable: boolean; summary: string }>;

export type ErrorCode = keyof typeof ERROR_CODES;

const BRAND = Symbol.for('@lovage/error');

export interface LovageErrorOptions {
  readonly cause?: unknown;
  /** Facts for programs: queue, taskId, url (password masked). They become properties of the error. */
  readonly facts?: Readonly<Record<string, unknown>>;
  /** Overrides the code's own answer. */
  readonly retryable?: boolean;
}

/** The root of all errors that Lovage throws. Recognise it with {@link isLovageError}, not `instanceof`. */
export class LovageError extends Error {
  readonly code: ErrorCode;
  readonly retryable: boolean;
  readonly [BRAND] = true;

  constructor(code: ErrorCode, message: string, options: LovageErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable ?? ERROR_CODES[code].retryable;
    if (options.facts !== undefined) Object.assign(this, options.facts);
  }
  static {
    LovageError.prototype.name = 'LovageError';
  }
}

/** True for errors of this library, of this or another installed copy, and of this code when one is given. */
export function isLovageError(error: unknown, code?: ErrorCode): error is LovageError {
  return (
    typeof error === 'object' &&
    error !== null &&
    (error as { [BRAND]?: unknown })[BRAND] === true &&
    (code === undefined || (error as LovageError).code === code)
  );
}

function define(name: string, code: ErrorCode): new (message: string, options?: LovageErrorOptions) => LovageError {
  const type = class extends LovageError {
    constructor(message: string, options?: LovageErrorOptions) {
      super(code, message, options);
    }
  };
  Object.defineProperty(type, 'name', { value: name });
  Object.defineProperty(type.prototype, 'name', { value: name, configurable: true, writable: true });
  return type;
}

type ErrorClass = new (message: string, options?: LovageErrorOptions) => LovageError;

export const ConfigError: ErrorClass = define('ConfigError', 'ERR_CONFIG');
export const TransportNotFoundError: ErrorClass = define('TransportNotFoundError', 'ERR_TRANSPORT_NOT_FOUND');
export const UnsupportedError: ErrorClass = define('UnsupportedError', 'ERR_UNSUPPORTED');
export const ClosedError: ErrorClass = define('ClosedError', 'ERR_CLOSED');
export const ConnectionLostError: ErrorClass = define('ConnectionLostError', 'ERR_CONNECTION_LOST');
export const ConnectError: ErrorClass = define('ConnectError', 'ERR_CONNECT');
export const AuthError: ErrorClass = define('AuthError', 'ERR_AUTH');
export const BrokerBlockedError: ErrorClass = define('BrokerBlockedError', 'ERR_BLOCKED');
export const TimeoutError: ErrorClass = define('TimeoutError', 'ERR_TIMEOUT');
export const UnroutableError: ErrorClass = define('UnroutableError', 'ERR_UNROUTABLE');
export const MessageTooLargeError: ErrorClass = define('MessageTooLargeError', 'ERR_TOO_LARGE');
export const PreconditionFailedError: ErrorClass = define('PreconditionFailedError', 'ERR_PRECONDITION_FAILED');
export const NotFoundError: ErrorClass = define('NotFoundError', 'ERR_NOT_FOUND');
export const EncodeError: ErrorClass = define('EncodeError', 'ERR_ENCODE');
export const DecodeError: ErrorClass = define('DecodeError', 'ERR_DECODE');
export const ContentDisallowedError: ErrorClass = define('ContentDisallowedError', 'ERR_CONTENT_DISALLOWED');
export const InvalidMessageError: ErrorClass = define('InvalidMessageError', 'ERR_INVALID_MESSAGE');
export const NotRegisteredError: ErrorClass = define('NotRegisteredError', 'ERR_NOT_REGISTERED');
export const TaskArgumentsError: ErrorClass = define('TaskArgumentsError', 'ERR_TASK_ARGUMENTS');
export const QueueNotFoundError: ErrorClass = define('QueueNotFoundError', 'ERR_QUEUE_NOT_FOUND');
export const BackendDisabledError: ErrorClass = define('BackendDisabledError', 'ERR_BACKEND_DISABLED');
export const IncompleteStreamError: ErrorClass = define('IncompleteStreamError', 'ERR_INCOMPLETE_STREAM');
export const LeaseLostError: ErrorClass = define('LeaseLostError', 'ERR_LEASE_LOST');

/** One message of a batch that the broker does not own. */
export interface PublishFailure {
  readonly index: number;
  readonly error: LovageError;
}

/** Some messages of a `publish` batch are not in the broker, or it is unknown whether they are. */
export class PublishError extends LovageError {
  readonly failures: readonly PublishFailure[];
  constructor(failures: readonly PublishFailure[], total: number) {
    const first = failures[0];
    super(
      'ERR_PUBLISH',
      `The broker did not take ${failures.length} of ${total} messages: ${first?.error.message ?? 'no reason'}`,
      {
        cause: first?.error,
        retryable: failures.every(({ error }) => error.retryable),
      },
    );
    this.failures = failures;
  }
  static {
    PublishError.prototype.name = 'PublishError';
  }
}
