import type { DocumentStore, StoredDocument } from '@lovage/core/backend';
import { describe, expect, test } from 'vitest';
import { type EntryState, State } from './state.ts';

/** A store that can be away, and that may write before it says so. */
class Store implements DocumentStore {
  kept: StoredDocument | undefined;
  isAway = false;

  async read(): Promise<StoredDocument | undefined> {
    if (this.isAway) throw new Error('away');
    return this.kept;
  }

  async write(_name: string, text: string, over: string | undefined): Promise<string | undefined> {
    if (this.isAway) throw new Error('away');
    if (this.kept?.version !== over) return undefined;
    const version = String(Number(over ?? 0) + 1);
    this.kept = { text, version };
    return version;
  }
}

const entry = (last: number): EntryState => ({ schedule: 'every(1)', anchor: 0, last, count: 1 });

function setUp() {
  const documents = new Store();
  let now = 0;
  const state = (): State => new State({ documents, name: 'beat', leaseMs: 1000, now: () => now });
  const pass = (ms: number): void => void (now += ms);
  const written = (): Record<string, EntryState> =>
    (JSON.parse(documents.kept?.text ?? '{}') as { entries: Record<string, EntryState> }).entries;
  return { documents, state, pass, written };
}

describe('State', () => {
  test('what a store that was away has missed is written with the next write', async () => {
    const { documents, state, written } = setUp();
    const beat = state();
    expect(await beat.tryToLead()).toBe(true);
    documents.isAway = true;
    await expect(beat.save({ report: entry(5) })).rejects.toThrow('away');
    documents.isAway = false;
    expect(await beat.save({})).toBe(true);
    expect(written()['report']).toEqual(entry(5));
  });

  test('a lead that the store did not confirm is none', async () => {
    const { documents, state } = setUp();
    const beat = state();
    documents.isAway = true;
    await expect(beat.tryToLead()).rejects.toThrow('away');
    expect(beat.isLeading).toBe(false);
    expect(await beat.isConfirmed()).toBe(false);
  });

  test('one that stood still learns that another leads before it sends, and takes nothing back', async () => {
    const { state, pass, written } = setUp();
    const frozen = state();
    const heir = state();
    await frozen.tryToLead();
    // Both are this very process, so only the lease tells them apart.
    expect(await heir.tryToLead()).toBe(false);
    pass(1000);
    expect(await heir.tryToLead()).toBe(true);
    await heir.save({ report: entry(9) });
    expect(await frozen.isConfirmed()).toBe(false);
    expect(await frozen.save({ report: entry(7) })).toBe(false);
    await heir.resign();
    expect(await frozen.tryToLead()).toBe(true);
    expect(written()['report']).toEqual(entry(9));
  });

  test('a lead that was just confirmed is not asked for again', async () => {
    const { documents, state, pass } = setUp();
    const beat = state();
    await beat.tryToLead();
    const { version } = documents.kept as StoredDocument;
    pass(400);
    expect(await beat.isConfirmed()).toBe(true);
    expect(documents.kept?.version).toBe(version);
    pass(200);
    expect(await beat.isConfirmed()).toBe(true);
    expect(documents.kept?.version).not.toBe(version);
  });

  test('what cannot be read is as good as nothing', async () => {
    const { documents, state } = setUp();
    documents.kept = { text: '[not json', version: '7' };
    expect(await state().tryToLead()).toBe(true);
  });
});
