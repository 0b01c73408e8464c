import { expect, test } from 'vitest';
import { HerdBrake, WakeUps } from './wake-ups.ts';

const never = new AbortController().signal;

test('a hint wakes every sleeper, and one that came before is not missed', async () => {
  const wakeUps = new WakeUps();
  const seen = wakeUps.count;
  const sleepers = [wakeUps.sleep(seen, 60_000, never), wakeUps.sleep(seen, 60_000, never)];
  wakeUps.notify();
  await Promise.all(sleepers);
  await wakeUps.sleep(seen, 60_000, never);
  expect(wakeUps.count).toBe(seen + 1);
});

test('a sleeper ends with its signal', async () => {
  const wakeUps = new WakeUps();
  const abort = new AbortController();
  const sleeping = wakeUps.sleep(wakeUps.count, 60_000, abort.signal);
  abort.abort();
  await sleeping;
  await wakeUps.sleep(wakeUps.count, 60_000, abort.signal);
});

test('who comes for nothing again and again pauses longer, and not after a hit', () => {
  const brake = new HerdBrake(() => 1);
  const pauses: number[] = [];
  for (let misses = 0; misses < 12; misses++) {
    pauses.push(brake.pauseMs);
    brake.miss();
  }
  expect(pauses).toEqual([0, 0, 0, 0, 2, 4, 8, 16, 32, 50, 50, 50]);
  brake.hit();
  expect(brake.pauseMs).toBe(0);
});
