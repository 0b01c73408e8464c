import {
  AuthError,
  BrokerBlockedError,
  ConnectError,
  ConnectionLostError,
  MessageTooLargeError,
  PreconditionFailedError,
  TimeoutError,
} from '@lovage/core/transport';
import type { ExplainedFailure } from '../server/session.ts';

/** Source: Oracle Database Error Messages. */
export function explainOracle(error: unknown, location: string): ExplainedFailure {
  const {
    errorNum,
    code,
    message = '',
    isRecoverable,
  } = (error ?? {}) as {
    errorNum?: unknown;
    code?: unknown;
    message?: string;
    isRecoverable?: unknown;
  };
  const number = typeof errorNum === 'number' && !String(code).startsWith('NJS') ? errorNum : 0;
  const options = { cause: error, facts: { location, oracleCode: number } };
  const refused = new PreconditionFailedError(
    `${location} refused a statement: ${message}. Are its tables of another layout?`,
    options,
  );
  switch (number) {
    case 1: // A row that another session made at this moment.
    case 60: // Deadlock.
    case 8177:
    case 955: // A table, index or sequence that another session made at this moment.
    case 2291: // A queue that another session removed at this moment.
    case 2292:
      return { kind: 'conflict', error: refused };
    case 54:
    case 30006:
      return {
        kind: 'refused',
        error: new TimeoutError(
          `Others held the rows of ${location} for too long. End the session that keeps a transaction open.`,
          options,
        ),
      };
    case 1005:
    case 1017:
    case 28000:
    case 28001:
      return {
        kind: 'lost',
        error: new AuthError(`${location} refused the user or the password: ${message}.`, options),
      };
    case 1031:
      return {
        kind: 'refused',
        error: new ConnectError(`${location} lets the user not do it: ${message}. Grant the right to the user.`, {
          ...options,
          retryable: false,
        }),
      };
    case 12899:
    case 1461:
      return {
        kind: 'refused',
        error: new MessageTooLargeError(`${location} takes no value so large: ${message}.`, options),
      };
    case 257:
    case 1536:
    case 1652:
    case 1653:
    case 1654:
    case 1691:
      return {
        kind: 'fatal',
        error: new BrokerBlockedError(`${location} cannot write for now: ${message}. Nothing was changed.`, options),
      };
    case 18:
    case 20:
    case 28:
    case 1012:
    case 1033:
    case 1034:
    case 1089:
    case 1092:
    case 2396:
    case 3113:
    case 3114:
    case 3135:
      return {
        kind: 'lost',
        error: new ConnectionLostError(`The connection to ${location} was lost: ${message}.`, options),
      };
  }
  if (number > 0 && isRecoverable !== true && (number < 12150 || number > 12699))
    return { kind: 'refused', error: refused };
  return {
    kind: 'lost',
    error: new ConnectError(`${location} cannot be reached: ${message || String(code)}.`, options),
  };
}
