import type { KeyValueWrite } from './key-value-store.ts';

type Outcomes = readonly (Error | undefined)[];

/**
 * For stores whose writes take several steps: writes of different keys go at once, those of one key one after the other,
 * within a batch and across overlapping batches.
 */
export class WriteOrder {
  /** The last batch that writes a key. */
  readonly #underway = new Map<string, Promise<unknown>>();

  /** `write` is given each key at most once, and says for each write what became of it. Rejects as it does. */
  run(
    writes: readonly KeyValueWrite[],
    write: (writes: readonly KeyValueWrite[]) => Promise<Outcomes>,
  ): Promise<Outcomes> {
    const before = new Set<Promise<unknown>>();
    for (const { key } of writes) {
      const earlier = this.#underway.get(key);
      if (earlier !== undefined) before.add(earlier);
    }
    const batch = inRounds(before, writes, write);
    for (const { key } of writes) this.#underway.set(key, batch);
    const forget = (): void => {
      for (const { key } of writes) if (this.#underway.get(key) === batch) this.#underway.delete(key);
    };
    batch.then(forget, forget);
    return batch;
  }

  /** Resolves when nothing is being written. */
  async idle(): Promise<void> {
    await Promise.allSettled(this.#underway.values());
  }
}

async function inRounds(
  before: ReadonlySet<Promise<unknown>>,
  writes: readonly KeyValueWrite[],
  write: (writes: readonly KeyValueWrite[]) => Promise<Outcomes>,
): Promise<Outcomes> {
  if (before.size > 0) await Promise.allSettled(before);
  const outcomes: (Error | undefined)[] = Array.from({ length: writes.length });
  for (const round of rounds(writes)) {
    const written = await write(round.map((index) => writes[index] as KeyValueWrite));
    for (const [place, index] of round.entries()) outcomes[index] = written[place];
  }
  return outcomes;
}

/** Indexes of the writes, each key at most once in a round, in their order. */
function rounds(writes: readonly KeyValueWrite[]): readonly (readonly number[])[] {
  const all: number[][] = [];
  const times = new Map<string, number>();
  for (const [index, { key }] of writes.entries()) {
    const time = times.get(key) ?? 0;
    times.set(key, time + 1);
    (all[time] ??= []).push(index);
  }
  return all;
}
