import { byCode, explainFailure } from '../server/failures.ts';
import type { ExplainedFailure } from '../server/session.ts';

/** Source: Oracle Database Error Messages. */
const MEANINGS = byCode<number>({
  // A row that another session made at this moment; deadlock; a table, index or sequence that another session made at this
  // moment; a queue that another session removed at this moment.
  conflict: [1, 60, 8177, 955, 2291, 2292],
  held: [54, 30006],
  credentials: [1005, 1017, 28000, 28001],
  'no right': [1031],
  'too large': [12899, 1461],
  full: [257, 1536, 1652, 1653, 1654, 1691],
  lost: [18, 20, 28, 1012, 1033, 1034, 1089, 1092, 2396, 3113, 3114, 3135],
});

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
  // The network's own: ORA-12150 to ORA-12699.
  const isServers = number > 0 && isRecoverable !== true && (number < 12_150 || number > 12_699);
  return explainFailure(MEANINGS.get(number) ?? (isServers ? 'refused' : 'unreachable'), {
    location,
    message: message || String(code),
    cause: error,
    facts: { oracleCode: number },
  });
}
