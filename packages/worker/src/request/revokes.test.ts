import { expect, test } from 'vitest';
import { ManualClock } from '../../test/support/manual-clock.ts';
import { Revokes } from './revokes.ts';

test('ids are forgotten after three hours', () => {
  const clock = new ManualClock();
  const revoked = new Revokes(clock);
  revoked.add('a');
  clock.advance(10_799_999);
  revoked.add('b');
  expect(revoked.has('a')).toBe(true);
  clock.advance(1);
  expect(revoked.has('a')).toBe(false);
  expect(revoked.ids()).toEqual(['b']);
});

test('the newest 50,000 are kept', () => {
  const revoked = new Revokes(new ManualClock());
  for (let n = 0; n < 50_010; n++) revoked.add(`${n}`);
  expect(revoked.size).toBe(50_000);
  expect(revoked.has('9')).toBe(false);
  expect(revoked.has('10')).toBe(true);
});

test('of stamps the newest 50,000 are kept', () => {
  const revoked = new Revokes(new ManualClock());
  for (let n = 0; n < 50_010; n++) revoked.addStamps({ batch: n });
  revoked.addStamps({ ba: 'tch9' });
  const matches = (stamps: Readonly<Record<string, unknown>>) => revoked.matches({ id: 'a', stamps });
  expect([matches({ batch: 10 }), matches({ batch: 11 }), matches({ ba: 'tch9' }), matches({ bat: 'ch9' })]).toEqual([
    false,
    true,
    true,
    false,
  ]);
  expect(revoked.stamps['batch']).toHaveLength(49_999);
});

test('by stamped header, in both directions through a saved state', () => {
  const clock = new ManualClock();
  const revokes = new Revokes(clock);
  revokes.add('a');
  revokes.addStamps({ tenant: ['x', 'y'], batch: 7 });
  clock.advance(5000);
  const again = new Revokes(clock);
  again.load(JSON.parse(JSON.stringify(revokes.save())) as ReturnType<Revokes['save']>);
  for (const one of [revokes, again]) {
    expect(one.matches({ id: 'a', stamps: {} })).toBe(true);
    expect(one.matches({ id: 'b', stamps: { tenant: 'y' } })).toBe(true);
    expect(one.matches({ id: 'b', stamps: { batch: ['3', '7'] } })).toBe(true);
    expect(one.matches({ id: 'b', stamps: { tenant: 'z', other: 'x' } })).toBe(false);
  }
  clock.advance(10_800_000 - 5001);
  expect(again.has('a')).toBe(true);
  clock.advance(1);
  expect(again.has('a')).toBe(false);
});
