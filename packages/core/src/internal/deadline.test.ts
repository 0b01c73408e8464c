import { afterEach, describe, expect, test, vi } from 'vitest';
import { inTime } from './deadline.ts';

afterEach(() => {
  vi.useRealTimers();
});

const never = new Promise<never>(() => {});
const late = (): Error => new Error('late');

describe('inTime', () => {
  test('is what the work comes to', async () => {
    expect(await inTime(Promise.resolve(1), { timeoutMs: 1000, late })).toBe(1);
    await expect(inTime(Promise.reject(new Error('no')), { timeoutMs: 1000, late })).rejects.toThrow('no');
  });

  test('rejects when the time is up, and takes no notice of the work after that', async () => {
    vi.useFakeTimers();
    let fail!: (error: Error) => void;
    const work = new Promise<never>((_, reject) => {
      fail = reject;
    });
    const waiting = inTime(work, { timeoutMs: 50, late });
    vi.advanceTimersByTime(50);
    await expect(waiting).rejects.toThrow('late');
    // A rejection that nobody handles fails this file.
    fail(new Error('too late'));
  });

  test('rejects with the reason of the signal, and leaves nothing on it', async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const [adds, removes] = [vi.spyOn(signal, 'addEventListener'), vi.spyOn(signal, 'removeEventListener')];
    await inTime(Promise.resolve(1), { timeoutMs: 1000, late, signal });
    expect(removes).toHaveBeenCalledTimes(adds.mock.calls.length);
    const waiting = inTime(never, { timeoutMs: 100_000, late, signal });
    controller.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
    await expect(inTime(never, { timeoutMs: 100_000, late, signal })).rejects.toThrow('enough');
  });

  test('a time that no timer can wait is a long one', async () => {
    vi.useFakeTimers();
    let hasEnded = false;
    void inTime(never, { timeoutMs: 2 ** 40, late }).catch(() => (hasEnded = true));
    await vi.advanceTimersByTimeAsync(1000);
    expect(hasEnded).toBe(false);
  });
});
