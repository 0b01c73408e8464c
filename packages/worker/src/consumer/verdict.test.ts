import { describe, expect, test } from 'vitest';
import { judge, type Arrival, type Verdict, type VerdictRules } from './verdict.ts';

const NOW = 1_800_000_000_000;
const plain: Arrival = { eta: undefined, expires: undefined, deliveryCount: 1, isRegistered: true, isRevoked: false };
const rules: VerdictRules = { now: NOW, deliveryLimit: 5, held: 0, heldLimit: 10, maxDelayMs: 0 };

const TABLE: readonly (readonly [string, Partial<Arrival>, Partial<VerdictRules>, Verdict])[] = [
  ['nothing special', {}, {}, 'run'],
  ['the last allowed delivery', { deliveryCount: 5 }, {}, 'run'],
  ['one delivery too many', { deliveryCount: 6 }, {}, 'poison'],
  ['poison before anything else', { deliveryCount: 6, isRegistered: false, isRevoked: true, expires: 1 }, {}, 'poison'],
  ['no limit', { deliveryCount: 1000 }, { deliveryLimit: 0 }, 'run'],
  ['unknown task', { isRegistered: false }, {}, 'unknown'],
  ['unknown and expired', { isRegistered: false, expires: NOW - 1 }, {}, 'unknown'],
  ['revoked', { isRevoked: true }, {}, 'revoked'],
  ['revoked before its time', { isRevoked: true, eta: NOW + 1000 }, {}, 'revoked'],
  ['expired', { expires: NOW - 1 }, {}, 'expired'],
  ['expires now', { expires: NOW }, {}, 'run'],
  ['expired before its time', { expires: NOW - 1, eta: NOW + 1000 }, {}, 'expired'],
  ['due', { eta: NOW }, {}, 'run'],
  ['overdue', { eta: NOW - 1e9 }, {}, 'run'],
  ['soon', { eta: NOW + 1 }, {}, 'hold'],
  ['far, a broker that cannot delay', { eta: NOW + 1e10 }, {}, 'hold'],
  ['soon, a broker that can', { eta: NOW + 1 }, { maxDelayMs: 1e9 }, 'hold'],
  ['five minutes', { eta: NOW + 300_000 }, { maxDelayMs: 1e9 }, 'hold'],
  ['more than five minutes', { eta: NOW + 300_001 }, { maxDelayMs: 1e9 }, 'hand-back'],
  ['soon, no room', { eta: NOW + 1 }, { maxDelayMs: 1e9, held: 10 }, 'hand-back'],
  ['no room and nowhere to put it', { eta: NOW + 1 }, { held: 10 }, 'hold'],
];

describe('judge', () => {
  test.each(TABLE)('%s', (_, arrival, ruled, verdict) => {
    expect(judge({ ...plain, ...arrival }, { ...rules, ...ruled })).toBe(verdict);
  });
});
