import {
  BrokerBlockedError,
  ConnectError,
  ConnectionLostError,
  isLovageError,
  type LovageError,
  MessageTooLargeError,
  PreconditionFailedError,
  TimeoutError,
} from '@lovage/core/transport';
import { SQLITE, SqliteFailure } from './driver.ts';

/** True when the same statement may succeed once another process has finished. */
export function isBusy(error: unknown): boolean {
  return error instanceof SqliteFailure && (error.code === SQLITE.BUSY || error.code === SQLITE.LOCKED);
}

/** True when no other transaction on this file can do better, so that trying them one by one is pointless. */
export function isFatal(error: unknown): boolean {
  if (!(error instanceof SqliteFailure)) return false;
  const { READONLY, IOERR, CORRUPT, FULL, CANTOPEN, NOTADB, PERM } = SQLITE;
  return ([READONLY, IOERR, CORRUPT, FULL, CANTOPEN, NOTADB, PERM] as number[]).includes(error.code);
}

/** Ours for SQLite's; anything that is no SQLite failure is given back as it is. */
export function toLovageError(error: unknown, location: string): unknown {
  if (isLovageError(error) || !(error instanceof SqliteFailure)) return error;
  return describe(error, location);
}

function describe(error: SqliteFailure, location: string): LovageError {
  const options = { cause: error.cause, facts: { location, sqliteCode: error.code } };
  switch (error.code) {
    case SQLITE.BUSY:
    case SQLITE.LOCKED:
      return new TimeoutError(
        `Other processes held the database "${location}" for too long. End the one that keeps a transaction open.`,
        options,
      );
    case SQLITE.FULL:
      return new BrokerBlockedError(`The disk of the database "${location}" is full. Nothing was written.`, options);
    case SQLITE.READONLY:
    case SQLITE.PERM:
      return new ConnectError(
        `The database "${location}" cannot be written. Check the rights on the file and its folder.`,
        {
          ...options,
          retryable: false,
        },
      );
    case SQLITE.CANTOPEN:
      return new ConnectError(
        `The database "${location}" cannot be opened. Check that its folder exists and may be written.`,
        options,
      );
    case SQLITE.NOTADB:
      return new ConnectError(`The file "${location}" is not a SQLite database.`, { ...options, retryable: false });
    case SQLITE.TOOBIG:
      return new MessageTooLargeError(`A value is larger than SQLite takes (1 GB).`, options);
    case SQLITE.IOERR:
    case SQLITE.CORRUPT:
      return new ConnectionLostError(`The database "${location}" failed: ${error.message}.`, options);
    default:
      return new PreconditionFailedError(
        `The database "${location}" refused a statement: ${error.message}. Are its tables of another layout?`,
        options,
      );
  }
}
