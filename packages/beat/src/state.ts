import { randomUUID } from 'node:crypto';
import type { DocumentStore } from '@lovage/core/backend';
import { isSurelyDead, processIdentity } from '@lovage/core/transport';

/** What is known of an entry's runs. Epoch milliseconds. */
export interface EntryState {
  /** Its schedule as text: a changed one is counted anew from the last run. */
  readonly schedule: string;
  /** Since when it is there: intervals are counted from it. */
  readonly anchor: number;
  /** The last instant that was dealt with. */
  readonly last: number;
  /** How often it was sent. */
  readonly count: number;
}

interface Written {
  /** The beat that leads: one holder, one process; null when it has said goodbye. */
  readonly holder: string | null;
  readonly process: string;
  /** Raised by each renewal: a document that stands still is of a beat that does. */
  readonly pulse: number;
  readonly entries: Readonly<Record<string, EntryState>>;
}

export interface StateOptions {
  readonly documents: DocumentStore;
  readonly name: string;
  readonly leaseMs: number;
  /** Monotonic milliseconds. */
  readonly now: () => number;
}

/**
 * When entries ran, and which beat leads, in one document. Both are written together over the version that was read, so a
 * beat that lost its lead without noticing can write nothing more.
 *
 * A lead ends when its document has stood still for the lease, as seen by the clock of whoever waits: clocks need not agree.
 */
export class State {
  readonly #options: StateOptions;
  readonly #holder = randomUUID();
  #version: string | undefined;
  #written: Written | undefined;
  #seenAt = 0;
  #isLeading = false;
  /** Writes go one after the other: each needs the version of the one before. */
  #writing: Promise<unknown> = Promise.resolve();

  constructor(options: StateOptions) {
    this.#options = options;
  }

  /** What is known of the entries, for who only looks. */
  static async read(documents: DocumentStore, name: string): Promise<Readonly<Record<string, EntryState>>> {
    const stored = await documents.read(name);
    return stored === undefined ? {} : (readWritten(stored.text)?.entries ?? {});
  }

  get isLeading(): boolean {
    return this.#isLeading;
  }

  get entries(): Readonly<Record<string, EntryState>> {
    return this.#written?.entries ?? {};
  }

  /** Reads the document, and takes the lead if it is free. */
  async tryToLead(): Promise<boolean> {
    const { documents, name, leaseMs, now } = this.#options;
    const stored = await documents.read(name);
    const written = stored === undefined ? undefined : readWritten(stored.text);
    if (stored?.version !== this.#version || this.#seenAt === 0) this.#seenAt = now();
    this.#version = stored?.version;
    this.#written = written;
    const isFree =
      written === undefined ||
      written.holder === null ||
      written.holder === this.#holder ||
      isSurelyDead(written.process) ||
      now() - this.#seenAt >= leaseMs;
    if (!isFree) return false;
    this.#isLeading = true;
    return this.save({});
  }

  /** Writes changes and renews the lead. False: another beat leads now, and nothing was written. */
  save(changes: Readonly<Record<string, EntryState | undefined>>): Promise<boolean> {
    const writing = this.#writing.then(() => this.#save(changes, this.#holder));
    this.#writing = writing.catch(() => {});
    return writing;
  }

  /** Gives the lead away, so that another beat need not wait for the lease to end. */
  async resign(): Promise<void> {
    if (!this.#isLeading) return;
    await this.#writing;
    await this.#save({}, null);
    this.#isLeading = false;
  }

  async #save(changes: Readonly<Record<string, EntryState | undefined>>, holder: string | null): Promise<boolean> {
    if (!this.#isLeading) return false;
    const { documents, name } = this.#options;
    const entries: Record<string, EntryState> = { ...this.entries };
    for (const [key, value] of Object.entries(changes)) {
      if (value === undefined) delete entries[key];
      else entries[key] = value;
    }
    const written = { holder, process: processIdentity(), pulse: (this.#written?.pulse ?? 0) + 1, entries };
    const version = await documents.write(name, JSON.stringify(written), this.#version);
    if (version === undefined) {
      this.#isLeading = false;
      this.#seenAt = 0;
      return false;
    }
    this.#version = version;
    this.#written = written;
    return true;
  }
}

/** Tolerant: what cannot be read is as good as nothing. */
function readWritten(text: string): Written | undefined {
  let value: Partial<Written> | null;
  try {
    value = JSON.parse(text) as Partial<Written> | null;
  } catch {
    return undefined;
  }
  if (typeof value !== 'object' || value === null) return undefined;
  const entries: Record<string, EntryState> = {};
  for (const [name, entry] of Object.entries(value.entries ?? {})) {
    const { schedule, anchor, last, count } = (entry ?? {}) as Partial<EntryState>;
    if (typeof schedule === 'string' && Number.isFinite(anchor) && Number.isFinite(last)) {
      entries[name] = { schedule, anchor: anchor as number, last: last as number, count: Number(count) || 0 };
    }
  }
  return {
    holder: typeof value.holder === 'string' ? value.holder : null,
    process: String(value.process),
    pulse: Number(value.pulse) || 0,
    entries,
  };
}
