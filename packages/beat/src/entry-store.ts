import { ConfigError, type Logger, type Zone } from '@lovage/core';
import type { DocumentStore } from '@lovage/core/backend';
import { type Entry, type PeriodicTaskInput, toEntry } from './entry.ts';
import { readSchedule, writeSchedule } from './written-schedule.ts';

/** What the store says of an entry: all of it, or of one that the application has, only whether it is paused. */
interface WrittenEntry {
  readonly paused?: boolean;
  readonly entry?: Readonly<Record<string, unknown>>;
}

/** By name. Others may have written what is no entry. */
type WrittenEntries = Readonly<Record<string, WrittenEntry | null>>;

/** What was read, of one version. */
export interface LoadedEntries {
  readonly entries: readonly Entry[];
  readonly paused: ReadonlySet<string>;
  readonly version: string;
}

/** Entries kept in a store, to be changed while beat runs, and which entries are paused. */
export class EntryStore {
  readonly #documents: DocumentStore;
  readonly #name: string;

  constructor(documents: DocumentStore, name: string) {
    this.#documents = documents;
    this.#name = name;
  }

  /** undefined: nothing has changed since `version`. What cannot be read is logged and left out. */
  async load(zone: Zone, logger: Logger, since?: string): Promise<LoadedEntries | undefined> {
    const stored = await this.#documents.read(this.#name);
    const version = stored?.version ?? '';
    if (version === since) return undefined;
    const entries: Entry[] = [];
    const paused = new Set<string>();
    for (const [name, written] of Object.entries(parse(stored?.text))) {
      if (typeof written !== 'object' || written === null) {
        logger.error({ entry: name }, `The stored periodic task ${name} is no object and is left out.`);
        continue;
      }
      const { paused: isPaused, entry } = written;
      if (isPaused === true) paused.add(name);
      if (entry === undefined) continue;
      try {
        entries.push(toEntry(name, { ...entry, schedule: readSchedule(entry['schedule']) }, zone, 'store'));
      } catch (error) {
        logger.error({ err: error, entry: name }, `The stored periodic task ${name} is left out.`);
      }
    }
    return { entries, paused, version };
  }

  /** Adds or replaces an entry. Throws `ConfigError` for a wrong one. */
  async put(name: string, input: PeriodicTaskInput, zone: Zone): Promise<void> {
    const { schedule } = toEntry(name, input, zone, 'store');
    const { relative: _, ...rest } = input;
    const entry = { ...rest, schedule: writeSchedule(schedule) };
    await this.#change((all) => ({ ...all, [name]: { ...all[name], entry } }));
  }

  /**
   * False when the store has no such entry; then it stays as it is. With `keepsPause` it stays paused when it is: there is
   * another of that name.
   */
  async remove(name: string, keepsPause: boolean): Promise<boolean> {
    let isThere = false;
    await this.#change((all) => {
      const { [name]: gone, ...rest } = all;
      isThere = gone?.entry !== undefined;
      if (!isThere) return all;
      return keepsPause && gone?.paused === true ? { ...rest, [name]: { paused: true } } : rest;
    });
    return isThere;
  }

  async pause(name: string, isPaused: boolean): Promise<void> {
    await this.#change((all) => {
      const { paused: _, ...rest } = all[name] ?? {};
      const next: WrittenEntry = isPaused ? { ...rest, paused: true } : rest;
      const { [name]: __, ...others } = all;
      return Object.keys(next).length === 0 ? others : { ...others, [name]: next };
    });
  }

  async #change(change: (all: WrittenEntries) => WrittenEntries): Promise<void> {
    for (let attempt = 0; attempt < 20; attempt++) {
      const stored = await this.#documents.read(this.#name);
      const all = parse(stored?.text);
      const changed = change(all);
      if (changed === all) return;
      const text = JSON.stringify(changed);
      if ((await this.#documents.write(this.#name, text, stored?.version)) !== undefined) return;
    }
    throw new ConfigError('The schedule is being changed by others all the time. Try again.');
  }
}

function parse(text: string | undefined): WrittenEntries {
  try {
    const value: unknown = JSON.parse(text ?? '{}');
    return typeof value === 'object' && value !== null ? (value as WrittenEntries) : {};
  } catch {
    return {};
  }
}
