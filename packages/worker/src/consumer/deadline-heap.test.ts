import { describe, expect, test } from 'vitest';
import * as fc from 'fast-check';
import { ManualClock } from '../../test/support/manual-clock.ts';
import { DeadlineHeap } from './deadline-heap.ts';

const DAY_MS = 86_400_000;

function setUp(time: 'wall' | 'monotonic' = 'wall') {
  const clock = new ManualClock();
  const fired: string[] = [];
  const heap = new DeadlineHeap<string>(clock, time, (items) => fired.push(...items));
  return { clock, heap, fired };
}

describe('DeadlineHeap', () => {
  test('fires in order of time, equal times in order of arrival', () => {
    const { clock, heap, fired } = setUp();
    const now = clock.now();
    heap.add(now + 300, 'c');
    heap.add(now + 100, 'a');
    heap.add(now + 200, 'b1');
    heap.add(now + 200, 'b2');
    clock.advance(99);
    expect(fired).toEqual([]);
    clock.advance(1);
    expect(fired).toEqual(['a']);
    clock.advance(1000);
    expect(fired).toEqual(['a', 'b1', 'b2', 'c']);
    expect(clock.timers).toBe(0);
  });

  test('holds what is 30 days away, with one timer', () => {
    const { clock, heap, fired } = setUp();
    heap.add(clock.now() + 30 * DAY_MS, 'far');
    for (let n = 0; n < 100; n++) heap.add(clock.now() + 40 * DAY_MS, 'farther');
    expect(clock.timers).toBe(1);
    clock.advance(5000);
    expect(fired).toEqual([]);
    expect(clock.timers).toBe(1);
    clock.jump(30 * DAY_MS - 5001);
    clock.advance(1);
    expect(fired).toEqual([]);
    clock.advance(1000);
    expect(fired).toEqual(['far']);
  });

  test('follows a wall clock that is set forward within a second, and back without firing early', () => {
    const { clock, heap, fired } = setUp();
    heap.add(clock.now() + 3_600_000, 'one');
    clock.jump(3_600_000);
    clock.advance(1000);
    expect(fired).toEqual(['one']);
    heap.add(clock.now() + 2000, 'two');
    clock.jump(-7_200_000);
    clock.advance(10_000);
    expect(fired).toEqual(['one']);
    clock.jump(7_200_000);
    clock.advance(1000);
    expect(fired).toEqual(['one', 'two']);
  });

  test('monotonic deadlines do not care for the wall clock', () => {
    const { clock, heap, fired } = setUp('monotonic');
    heap.add(clock.monotonic() + 2000, 'limit');
    clock.jump(DAY_MS);
    clock.advance(1999);
    expect(fired).toEqual([]);
    clock.advance(1);
    expect(fired).toEqual(['limit']);
  });

  test('what was removed does not fire, and the last one takes the timer along', () => {
    const { clock, heap, fired } = setUp();
    const entry = heap.add(clock.now() + 10, 'a');
    expect(heap.remove(entry)).toBe(true);
    expect(heap.remove(entry)).toBe(false);
    expect(clock.timers).toBe(0);
    clock.advance(100);
    expect(fired).toEqual([]);
    heap.add(clock.now() + 10, 'b');
    clock.advance(10);
    expect(fired).toEqual(['b']);
  });

  test('something due at once still fires from the timer, never from add', () => {
    const { clock, heap, fired } = setUp();
    heap.add(clock.now() - 5, 'late');
    expect(fired).toEqual([]);
    clock.advance(0);
    expect(fired).toEqual(['late']);
  });

  test('any mix of adding, removing and extracting keeps the order', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 50 }), fc.integer({ min: 0, max: 3 })), { maxLength: 80 }),
        (moves) => {
          const clock = new ManualClock();
          const fired: { at: number; n: number }[] = [];
          const heap = new DeadlineHeap<{ at: number; n: number }>(clock, 'wall', (items) => fired.push(...items));
          const kept = new Map<number, { at: number; n: number }>();
          const entries: { n: number; entry: ReturnType<typeof heap.add> }[] = [];
          moves.forEach(([delay, kind], n) => {
            if (kind === 3 && entries.length > 0) {
              const victim = entries.splice(delay % entries.length, 1)[0] as (typeof entries)[number];
              heap.remove(victim.entry);
              kept.delete(victim.n);
              return;
            }
            const item = { at: clock.now() + delay, n };
            kept.set(n, item);
            entries.push({ n, entry: heap.add(item.at, item) });
          });
          const odd = heap.extract(({ n }) => n % 7 === 0);
          for (const { n } of odd) kept.delete(n);
          clock.advance(60);
          expect(fired).toEqual([...kept.values()].sort((a, b) => a.at - b.at || a.n - b.n));
          expect(heap.size).toBe(0);
        },
      ),
    );
  });
});
