import {
  AuthError,
  BrokerBlockedError,
  ConnectError,
  ConnectionLostError,
  type LovageError,
  MessageTooLargeError,
  PreconditionFailedError,
  TimeoutError,
} from '@lovage/core/transport';
import type { ExplainedFailure } from '../server/session.ts';

/** Source: PostgreSQL manual, appendix "PostgreSQL Error Codes". */
export function explainPostgresql(error: unknown, location: string): ExplainedFailure {
  const { code, message = '' } = (error ?? {}) as { code?: unknown; message?: string };
  const state = typeof code === 'string' ? code : '';
  const options = { cause: error, facts: { location, sqlState: state } };
  switch (state) {
    // Serialization failure, deadlock; a row, table or type that another session made, or removed, at this moment.
    case '40001':
    case '40P01':
    case '23505':
    case '23503':
    case '42P07':
    case '42710':
      return { kind: 'conflict', error: refused(message, location, options) };
    case '55P03':
    case '57014':
      return {
        kind: 'refused',
        error: new TimeoutError(
          `Others held the rows of ${location} for too long. End the session that keeps a transaction open.`,
          options,
        ),
      };
    case '28000':
    case '28P01':
      return {
        kind: 'lost',
        error: new AuthError(`${location} refused the user or the password: ${message}.`, options),
      };
    case '3D000':
      return {
        kind: 'lost',
        error: new ConnectError(`${location}: ${message}. Create it with "createdb".`, {
          ...options,
          retryable: false,
        }),
      };
    case '42501':
      return {
        kind: 'refused',
        error: new ConnectError(`${location} lets the user not do it: ${message}. Grant the right to the user.`, {
          ...options,
          retryable: false,
        }),
      };
    case '54000':
    case '22001':
      return {
        kind: 'refused',
        error: new MessageTooLargeError(`${location} takes no value so large: ${message}.`, options),
      };
  }
  // Out of disk or memory, of locks; a configured limit.
  if (state.startsWith('53') && state !== '53300') {
    return {
      kind: 'fatal',
      error: new BrokerBlockedError(`${location} cannot write for now: ${message}. Nothing was changed.`, options),
    };
  }
  if (state === '53300' || state === '57P03') {
    return { kind: 'lost', error: new ConnectError(`${location} lets nobody in for now: ${message}.`, options) };
  }
  // Shutdown and crash, connection exceptions, a server that has become a standby, protocol violations.
  if (/^(57P|08|25006|25P|XX)/.test(state)) {
    return {
      kind: 'lost',
      error: new ConnectionLostError(`The connection to ${location} was lost: ${message}.`, options),
    };
  }
  if (/^[0-9A-Z]{5}$/.test(state) && !state.startsWith('E')) {
    return { kind: 'refused', error: refused(message, location, options) };
  }
  // No error of the server: the socket's, or the driver's about the socket.
  return {
    kind: 'lost',
    error: new ConnectError(`${location} cannot be reached: ${message || state}.`, options),
  };
}

function refused(message: string, location: string, options: { cause: unknown }): LovageError {
  return new PreconditionFailedError(
    `${location} refused a statement: ${message}. Are its tables of another layout?`,
    options,
  );
}
