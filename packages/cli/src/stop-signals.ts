import { CommandError, EXIT } from './exit-codes.ts';

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

/** What the work gives; undefined if it was given up because of the signal. */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (signal.aborted && error instanceof Error && error.name === 'AbortError') return undefined;
    throw error;
  }
}

/** The same for what a command cannot do without: it ends. */
export async function orEnded<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const value = await unlessAborted(
    work.then((value) => ({ value })),
    signal,
  );
  if (value === undefined) throw new CommandError('Ended by you.', EXIT.failed);
  return value.value;
}
