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
  /** It is paused: what falls into the pause is not missed. */
  readonly isPaused?: boolean;
  /** Since when nobody has an entry of this name; kept for a while, since an older release may lead for a moment. */
  readonly goneSince?: number;
}

/** What a write changes; undefined: an entry is forgotten. */
export type StateChanges = Readonly<Record<string, EntryState | undefined>>;

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
  /** When the document was first seen as it is. */
  #seenAt: number | undefined;
  #isLeading = false;
  /** When the last write was begun that went well: the lead is ours for a lease from then on. */
  #confirmedAt = Number.NEGATIVE_INFINITY;
  /** Changes that are not written yet: a store that was away gets them with the next write. */
  #unwritten = new Map<string, EntryState | undefined>();
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

  /** What is written and what is still to be. */
  get entries(): Readonly<Record<string, EntryState>> {
    const entries: Record<string, EntryState> = { ...this.#written?.entries };
    for (const [key, value] of this.#unwritten) {
      if (value === undefined) delete entries[key];
      else entries[key] = later(entries[key], value);
    }
    return entries;
  }

  /** Reads the document, and takes the lead if it is free. */
  async tryToLead(): Promise<boolean> {
    const { documents, name, leaseMs, now } = this.#options;
    const stored = await documents.read(name);
    const written = stored === undefined ? undefined : readWritten(stored.text);
    if (stored?.version !== this.#version || this.#seenAt === undefined) this.#seenAt = now();
    this.#version = stored?.version;
    this.#written = written;
    const isFree =
      written === undefined ||
      written.holder === null ||
      written.holder === this.#holder ||
      isSurelyDead(written.process) ||
      now() - (this.#seenAt ?? now()) >= leaseMs;
    return isFree && this.#enqueue(() => this.#write(this.#holder));
  }

  /**
   * Writes changes and renews the lead. False: another beat leads now. Rejects when the store is away; the changes are
   * written with the next write that goes well, whoever leads in between.
   */
  save(changes: StateChanges): Promise<boolean> {
    for (const [name, change] of Object.entries(changes)) this.#unwritten.set(name, change);
    return this.#enqueue(async () => this.#isLeading && this.#write(this.#holder));
  }

  /** Whether the lead is surely ours; asks the store when the last answer is older than half a lease. */
  async isConfirmed(): Promise<boolean> {
    if (!this.#isLeading) return false;
    return this.#options.now() - this.#confirmedAt < this.#options.leaseMs / 2 || this.save({});
  }

  /** Gives the lead away, so that another beat need not wait for the lease to end. */
  async resign(): Promise<void> {
    await this.#enqueue(async () => this.#isLeading && this.#write(null));
    this.#isLeading = false;
  }

  #enqueue(write: () => Promise<boolean>): Promise<boolean> {
    const writing = this.#writing.then(write);
    this.#writing = writing.catch(() => {});
    return writing;
  }

  async #write(holder: string | null): Promise<boolean> {
    const { documents, name, now } = this.#options;
    const begun = now();
    const changes = new Map(this.#unwritten);
    const { entries } = this;
    const written = { holder, process: processIdentity(), pulse: (this.#written?.pulse ?? 0) + 1, entries };
    const version = await documents.write(name, JSON.stringify(written), this.#version);
    if (version === undefined) {
      this.#isLeading = false;
      this.#seenAt = undefined;
      return false;
    }
    this.#version = version;
    this.#written = written;
    this.#isLeading = holder !== null;
    this.#confirmedAt = begun;
    for (const [key, value] of changes) if (this.#unwritten.get(key) === value) this.#unwritten.delete(key);
    return true;
  }
}

/** What was known before another beat led must not take back what that beat has done. */
function later(present: EntryState | undefined, change: EntryState): EntryState {
  const isOlder = present !== undefined && present.schedule === change.schedule && present.last > change.last;
  return isOlder && present.last <= Date.now() ? present : change;
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
    const { schedule, anchor, last, count, isPaused, goneSince } = (entry ?? {}) as Partial<EntryState>;
    if (typeof schedule === 'string' && Number.isFinite(anchor) && Number.isFinite(last)) {
      entries[name] = {
        schedule,
        anchor: anchor as number,
        last: last as number,
        count: Number(count) || 0,
        ...(isPaused === true ? { isPaused } : {}),
        ...(Number.isFinite(goneSince) ? { goneSince: goneSince as number } : {}),
      };
    }
  }
  return {
    holder: typeof value.holder === 'string' ? value.holder : null,
    process: String(value.process),
    pulse: Number(value.pulse) || 0,
    entries,
  };
}
