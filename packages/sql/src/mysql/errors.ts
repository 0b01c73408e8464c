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

/** Source: MySQL manual, "Server Error Message Reference"; MariaDB, "MariaDB Error Code Reference". */
export function explainMysql(error: unknown, location: string): ExplainedFailure {
  const { errno, code, message = '', sqlState } = (error ?? {}) as Record<string, unknown> & { message?: string };
  const number = typeof errno === 'number' && sqlState !== undefined ? errno : 0;
  const options = { cause: error, facts: { location, errno: number } };
  const refused = new PreconditionFailedError(
    `${location} refused a statement: ${message}. Are its tables of another layout?`,
    options,
  );
  switch (number) {
    case 1213: // Deadlock.
    case 1020: // The row has changed meanwhile (MariaDB with snapshot isolation).
    case 1062: // A row, table, index or sequence that another session made at this moment.
    case 1050:
    case 1061:
    case 1452: // A queue that another session removed at this moment.
    case 1451:
    case 1412:
      return { kind: 'conflict', error: refused };
    case 1205:
    case 3024:
    case 1969:
      return {
        kind: 'refused',
        error: new TimeoutError(
          `Others held the rows of ${location} for too long. End the session that keeps a transaction open.`,
          options,
        ),
      };
    case 1044:
    case 1045:
    case 1698:
      return {
        kind: 'lost',
        error: new AuthError(`${location} refused the user or the password: ${message}.`, options),
      };
    case 1049:
      return {
        kind: 'lost',
        error: new ConnectError(`${location}: ${message}. Create it with "CREATE DATABASE".`, {
          ...options,
          retryable: false,
        }),
      };
    case 1142:
    case 1143:
    case 1227:
      return {
        kind: 'refused',
        error: new ConnectError(`${location} lets the user not do it: ${message}. Grant the right to the user.`, {
          ...options,
          retryable: false,
        }),
      };
    case 1153:
    case 1406:
      return {
        kind: 'refused',
        error: new MessageTooLargeError(`${location} takes no value so large: ${message}.`, options),
      };
    case 1021:
    case 1114:
    case 1041:
    case 1037:
      return {
        kind: 'fatal',
        error: new BrokerBlockedError(`${location} cannot write for now: ${message}. Nothing was changed.`, options),
      };
    case 1040:
    case 1203:
    case 1226:
      return { kind: 'lost', error: new ConnectError(`${location} lets nobody in for now: ${message}.`, options) };
    case 1053:
    case 1077:
    case 1317:
    case 1927:
    case 1290:
    case 1836:
    case 4031:
      return {
        kind: 'lost',
        error: new ConnectionLostError(`The connection to ${location} was lost: ${message}.`, options),
      };
  }
  if (number > 0) return { kind: 'refused', error: refused };
  // No error of the server: the socket's, or the driver's about the socket.
  return {
    kind: 'lost',
    error: new ConnectError(`${location} cannot be reached: ${message || String(code)}.`, options),
  };
}
