import { byCode, explainFailure, type Meaning } from '../server/failures.ts';
import type { ExplainedFailure } from '../server/session.ts';

/** Source: PostgreSQL manual, appendix "PostgreSQL Error Codes". */
const MEANINGS = byCode<string>({
  // Serialization failure, deadlock; a row, table or type that another session made, or removed, at this moment.
  conflict: ['40001', '40P01', '23505', '23503', '42P07', '42710'],
  held: ['55P03', '57014'],
  credentials: ['28000', '28P01'],
  'no database': ['3D000'],
  'no right': ['42501'],
  'too large': ['54000', '22001'],
  crowded: ['53300', '57P03'],
});

export function explainPostgresql(error: unknown, location: string): ExplainedFailure {
  const { code, message = '' } = (error ?? {}) as { code?: unknown; message?: string };
  const state = typeof code === 'string' ? code : '';
  return explainFailure(MEANINGS.get(state) ?? classMeaning(state), {
    location,
    message: message || state,
    cause: error,
    facts: { sqlState: state },
    creation: 'createdb',
  });
}

function classMeaning(state: string): Meaning {
  // Out of disk or memory, of locks; a configured limit.
  if (state.startsWith('53')) return 'full';
  // Shutdown and crash, connection exceptions, a server that has become a standby, protocol violations.
  if (/^(57P|08|25006|25P|XX)/.test(state)) return 'lost';
  if (/^[0-9A-Z]{5}$/.test(state) && !state.startsWith('E')) return 'refused';
  // No error of the server: the socket's, or the driver's about the socket.
  return 'unreachable';
}
