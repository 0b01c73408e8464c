import { expect, test } from 'vitest';
import { ManualClock } from '../../test/support/manual-clock.ts';
import { RevokedIds } from './revokes.ts';

test('ids are forgotten after three hours', () => {
  const clock = new ManualClock();
  const revoked = new RevokedIds(clock);
  revoked.add('a');
  clock.advance(10_799_999);
  revoked.add('b');
  expect(revoked.has('a')).toBe(true);
  clock.advance(1);
  expect(revoked.has('a')).toBe(false);
  expect(revoked.ids()).toEqual(['b']);
});

test('the newest 50,000 are kept', () => {
  const revoked = new RevokedIds(new ManualClock());
  for (let n = 0; n < 50_010; n++) revoked.add(`${n}`);
  expect(revoked.size).toBe(50_000);
  expect(revoked.has('9')).toBe(false);
  expect(revoked.has('10')).toBe(true);
});
