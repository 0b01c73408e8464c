/**
 * Fires as the first of the signals does, with its reason. `AbortSignal.any` would leave an entry on a signal that outlives
 * the work, for each work: here `release` takes everything off again. Call it when the work has ended.
 */
export function anySignal(signals: readonly (AbortSignal | undefined)[]): {
  readonly signal: AbortSignal;
  release(): void;
} {
  const end = new AbortController();
  const releases = signals.flatMap((signal) => {
    if (signal === undefined) return [];
    const forward = (): void => end.abort(signal.reason);
    if (signal.aborted) forward();
    signal.addEventListener('abort', forward, { once: true });
    return [() => signal.removeEventListener('abort', forward)];
  });
  return {
    signal: end.signal,
    release() {
      for (const release of releases) release();
    },
  };
}
