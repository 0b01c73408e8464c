import {
  AuthError,
  BrokerBlockedError,
  ConnectError,
  ConnectionLostError,
  MessageTooLargeError,
  PreconditionFailedError,
  TimeoutError,
} from '@lovage/core/transport';
import type { ExplainedFailure } from './session.ts';

/** What an error says, whichever server it comes from. */
export type Meaning =
  /** Another session was faster: worth a second attempt. */
  | 'conflict'
  /** Others held the rows for too long. */
  | 'held'
  | 'credentials'
  | 'no database'
  | 'no right'
  | 'too large'
  /** Out of disk, memory or another bounded thing. */
  | 'full'
  /** No more sessions. */
  | 'crowded'
  | 'lost'
  | 'refused'
  | 'unreachable';

export interface ServerFailure {
  readonly location: string;
  readonly message: string;
  readonly cause: unknown;
  /** For programs: the server's own code. */
  readonly facts: Readonly<Record<string, unknown>>;
  /** What makes a database: `CREATE DATABASE`. */
  readonly creation?: string;
}

export function explainFailure(
  meaning: Meaning,
  { location, message, cause, facts, creation }: ServerFailure,
): ExplainedFailure {
  const options = { cause, facts: { location, ...facts } };
  const final = { ...options, retryable: false };
  const refused = new PreconditionFailedError(
    `${location} refused a statement: ${message}. Are its tables of another layout?`,
    options,
  );
  switch (meaning) {
    case 'conflict':
      return { kind: 'conflict', error: refused };
    case 'refused':
      return { kind: 'refused', error: refused };
    case 'held':
      return {
        kind: 'refused',
        error: new TimeoutError(
          `Others held the rows of ${location} for too long. End the session that keeps a transaction open.`,
          options,
        ),
      };
    case 'credentials':
      return {
        kind: 'lost',
        error: new AuthError(`${location} refused the user or the password: ${message}.`, options),
      };
    case 'no database':
      return { kind: 'lost', error: new ConnectError(`${location}: ${message}. Create it with "${creation}".`, final) };
    case 'no right':
      return {
        kind: 'refused',
        error: new ConnectError(`${location} lets the user not do it: ${message}. Grant the right to the user.`, final),
      };
    case 'too large':
      return {
        kind: 'refused',
        error: new MessageTooLargeError(`${location} takes no value so large: ${message}.`, options),
      };
    case 'full':
      return {
        kind: 'fatal',
        error: new BrokerBlockedError(`${location} cannot write for now: ${message}. Nothing was changed.`, options),
      };
    case 'crowded':
      return { kind: 'lost', error: new ConnectError(`${location} lets nobody in for now: ${message}.`, options) };
    case 'lost':
      return {
        kind: 'lost',
        error: new ConnectionLostError(`The connection to ${location} was lost: ${message}.`, options),
      };
    case 'unreachable':
      return { kind: 'lost', error: new ConnectError(`${location} cannot be reached: ${message}.`, options) };
    default:
      return meaning satisfies never;
  }
}

/** A table by code, from one by meaning. */
export function byCode<Code>(table: Readonly<Partial<Record<Meaning, readonly Code[]>>>): ReadonlyMap<Code, Meaning> {
  return new Map(
    Object.entries(table).flatMap(([meaning, codes]) =>
      codes.map((code): [Code, Meaning] => [code, meaning as Meaning]),
    ),
  );
}
