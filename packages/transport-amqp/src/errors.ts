import {
  AuthError,
  ConfigError,
  ConnectError,
  ConnectionLostError,
  LovageError,
  NotFoundError,
  PreconditionFailedError,
  UnsupportedError,
} from '@lovage/core/transport';

/** Reply codes of AMQP 0-9-1 that have a meaning of their own here. */
const ACCESS_REFUSED = 403;
const NOT_FOUND = 404;
const RESOURCE_LOCKED = 405;
const PRECONDITION_FAILED = 406;
const NOT_ALLOWED = 530;
const NOT_IMPLEMENTED = 540;

/** The reply code that the server closed a channel or the connection with. */
export function replyCode(error: unknown): number | undefined {
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === 'number' ? code : undefined;
}

/** What a request on a channel failed of. `what` is the request: `declare the queue "celery"`. */
export function requestError(cause: unknown, what: string, facts: Readonly<Record<string, unknown>> = {}): LovageError {
  const text = cause instanceof Error ? cause.message : String(cause);
  const message = `RabbitMQ did not ${what}: ${text}`;
  switch (replyCode(cause) ?? 0) {
    case ACCESS_REFUSED:
      return new AuthError(message, { cause, facts });
    case NOT_FOUND:
      return new NotFoundError(message, { cause, facts });
    case RESOURCE_LOCKED:
      // An exclusive queue whose former owner's connection still lingers: gone once the server notices.
      return new PreconditionFailedError(`${message}. Another connection owns it exclusively.`, {
        cause,
        facts,
        retryable: true,
      });
    case PRECONDITION_FAILED:
      return new PreconditionFailedError(
        `${message}. It exists with other properties: use the same, or delete it first.`,
        { cause, facts },
      );
    case NOT_ALLOWED:
    case NOT_IMPLEMENTED:
      return new UnsupportedError(message, { cause, facts });
    default:
      return new ConnectionLostError(message, { cause, facts });
  }
}

/** `url` is shown as it is: masked. */
export function connectError(cause: unknown, url: string): LovageError {
  const text = cause instanceof Error ? cause.message : String(cause);
  const facts = { url };
  // amqplib gives these three as texts only, with the server's reply code inside or not at all.
  const handshakeCode = Number(/^Handshake terminated by server: (\d+)/.exec(text)?.[1]);
  if (handshakeCode === ACCESS_REFUSED)
    return new AuthError(`RabbitMQ refused the credentials in ${url}.`, { cause, facts });
  if (text.startsWith('Expected ConnectionOpenOk; got <ConnectionClose')) {
    return new ConfigError(
      `RabbitMQ refused the virtual host in ${url}. It does not exist, or the user has no permission for it.`,
      {
        cause,
        facts,
      },
    );
  }
  if (text.startsWith('SASL mechanism'))
    return new ConfigError(`RabbitMQ at ${url} cannot log in so: ${text}.`, { cause, facts });
  return new ConnectError(`RabbitMQ at ${url} cannot be reached: ${text}`, { cause, facts });
}

export function lostError(cause: unknown, url: string): LovageError {
  const text = cause instanceof Error ? cause.message : 'the link was closed';
  return new ConnectionLostError(`The connection to RabbitMQ at ${url} was lost: ${text}`, { cause, facts: { url } });
}
