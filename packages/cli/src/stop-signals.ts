/** A signal that aborts when the process is asked to end; `forget` gives the process its own ways back. */
export function until(...names: readonly NodeJS.Signals[]): { readonly signal: AbortSignal; forget(): void } {
  const end = new AbortController();
  const stop = (): void => end.abort();
  for (const name of names) process.once(name, stop);
  return {
    signal: end.signal,
    forget: () => {
      for (const name of names) process.off(name, stop);
    },
  };
}
