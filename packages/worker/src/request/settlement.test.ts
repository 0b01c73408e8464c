import { describe, expect, test } from 'vitest';
import { decideSettlement, type Ending } from './settlement.ts';

// Columns: the two acksOn flags and rejectOnWorkerLost as 00, 01, 10, 11.
const LATE: Record<Ending, readonly [string, string, string, string]> = {
  success: ['ack', 'ack', 'ack', 'ack'],
  failure: ['reject', 'reject', 'ack', 'ack'],
  timeout: ['requeue', 'requeue', 'ack', 'ack'],
  retry: ['ack', 'ack', 'ack', 'ack'],
  ignore: ['ack', 'ack', 'ack', 'ack'],
  reject: ['reject', 'reject', 'reject', 'reject'],
  'reject-requeue': ['requeue', 'requeue', 'requeue', 'requeue'],
  'worker-lost': ['reject', 'requeue', 'ack', 'requeue'],
  revoked: ['ack', 'ack', 'ack', 'ack'],
  moved: ['ack', 'ack', 'ack', 'ack'],
  returned: ['requeue', 'requeue', 'requeue', 'requeue'],
  unstored: ['requeue', 'requeue', 'requeue', 'requeue'],
  fenced: ['none', 'none', 'none', 'none'],
};
const FLAGS = [
  [false, false],
  [false, true],
  [true, false],
  [true, true],
] as const;

describe('decideSettlement', () => {
  const rows = Object.entries(LATE).flatMap(([ending, outcomes]) =>
    FLAGS.map(
      ([acks, rejectOnWorkerLost], index) => [ending as Ending, acks, rejectOnWorkerLost, outcomes[index]] as const,
    ),
  );

  test.each(rows)('%s, acksOn %s, rejectOnWorkerLost %s: %s', (ending, acks, onLost, outcome) => {
    const flags = { acksOnFailure: acks, acksOnTimeout: acks, rejectOnWorkerLost: onLost };
    expect(decideSettlement(ending, { ...flags, settled: false }) ?? 'none').toBe(outcome);
    expect(decideSettlement(ending, { ...flags, settled: true })).toBeUndefined();
  });

  test('failure and timeout have a flag each', () => {
    const flags = { settled: false, rejectOnWorkerLost: false };
    expect(decideSettlement('failure', { ...flags, acksOnFailure: false, acksOnTimeout: true })).toBe('reject');
    expect(decideSettlement('timeout', { ...flags, acksOnFailure: false, acksOnTimeout: true })).toBe('ack');
    expect(decideSettlement('failure', { ...flags, acksOnFailure: true, acksOnTimeout: false })).toBe('ack');
    expect(decideSettlement('timeout', { ...flags, acksOnFailure: true, acksOnTimeout: false })).toBe('requeue');
  });
});
