/** Time as the worker reads it; tests pass their own. */
export interface Clock {
  /** Wall clock, epoch milliseconds: what ETA and expiry are compared with. */
  now(): number;
  /** Milliseconds that never jump: what durations, limits and deadlines are measured with. */
  monotonic(): number;
  /** Calls `callback` once after `ms`, which must be below 2^31. The result cancels it. */
  after(ms: number, callback: () => void): () => void;
}

export const systemClock: Clock = {
  now: Date.now,
  monotonic: () => performance.now(),
  after(ms, callback) {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
};
