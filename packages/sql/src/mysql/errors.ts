import { byCode, explainFailure } from '../server/failures.ts';
import type { ExplainedFailure } from '../server/session.ts';

/** Source: MySQL manual, "Server Error Message Reference"; MariaDB, "MariaDB Error Code Reference". */
const MEANINGS = byCode<number>({
  // Deadlock; the row has changed meanwhile (MariaDB with snapshot isolation); a row, table, index or sequence that another
  // session made at this moment; a queue that another session removed at this moment.
  conflict: [1213, 1020, 1062, 1050, 1061, 1452, 1451, 1412],
  held: [1205, 3024, 1969],
  credentials: [1044, 1045, 1698],
  'no database': [1049],
  'no right': [1142, 1143, 1227],
  'too large': [1153, 1406],
  full: [1021, 1114, 1041, 1037],
  crowded: [1040, 1203, 1226],
  lost: [1053, 1077, 1317, 1927, 1290, 1836, 4031],
});

export function explainMysql(error: unknown, location: string): ExplainedFailure {
  const { errno, code, message = '', sqlState } = (error ?? {}) as Record<string, unknown> & { message?: string };
  const number = typeof errno === 'number' && sqlState !== undefined ? errno : 0;
  // Without a number it is no error of the server: the socket's, or the driver's about the socket.
  return explainFailure(number > 0 ? (MEANINGS.get(number) ?? 'refused') : 'unreachable', {
    location,
    message: message || String(code),
    cause: error,
    facts: { errno: number },
    creation: 'CREATE DATABASE',
  });
}
