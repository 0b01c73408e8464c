import { describe, expect, test } from 'vitest';
import { decideSettlement, type Ending } from './settlement.ts';

// Columns: acksOnFailureOrTimeout and rejectOnWorkerLost as 00, 01, 10, 11.
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
      ([acksOnFailureOrTimeout, rejectOnWorkerLost], index) =>
        [ending as Ending, acksOnFailureOrTimeout, rejectOnWorkerLost, outcomes[index]] as const,
    ),
  );

  test.each(rows)('%s, acksOnFailureOrTimeout %s, rejectOnWorkerLost %s: %s', (ending, onFailure, onLost, outcome) => {
    const flags = { acksOnFailureOrTimeout: onFailure, rejectOnWorkerLost: onLost };
    expect(decideSettlement(ending, { ...flags, settled: false }) ?? 'none').toBe(outcome);
    expect(decideSettlement(ending, { ...flags, settled: true })).toBeUndefined();
  });
});
