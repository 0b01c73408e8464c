import type { TaskRequest } from '@lovage/core/protocol';
import type { Clock } from '../clock.ts';

/** Celery's `CELERY_WORKER_REVOKES_MAX` and `CELERY_WORKER_REVOKE_EXPIRES`. Source: celery/worker/state.py. */
const MOST = 50_000;
const LIFE_MS = 10_800_000;

/** Stamps as a command names them: one value or several for each header. */
export type StampedHeaders = Readonly<Record<string, unknown>>;

/** What must not run, as it is written to a file. */
export interface RevokedState {
  /** Ids with the epoch milliseconds at which they were revoked, the oldest first. */
  readonly ids: readonly (readonly [id: string, at: number])[];
  readonly stamps: Readonly<Record<string, readonly string[]>>;
}

/**
 * Tasks that must not run: by id, the newest 50,000 of the last three hours, and by stamped header.
 * Source: celery/worker/state.py, revoked and revoked_stamps.
 */
export class Revokes {
  readonly #clock: Clock;
  readonly #addedAt = new Map<string, number>();
  readonly #stamps = new Map<string, Set<string>>();
  /** Called when something was added. */
  onChange: () => void = () => {};

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get isEmpty(): boolean {
    return this.#addedAt.size === 0 && this.#stamps.size === 0;
  }

  get size(): number {
    return this.#addedAt.size;
  }

  add(id: string): void {
    this.#put(id, this.#clock.monotonic());
    this.onChange();
  }

  /** Tasks with one of these stamps. */
  addStamps(headers: StampedHeaders): void {
    for (const [header, values] of Object.entries(headers)) {
      const known = this.#stamps.get(header) ?? new Set();
      this.#stamps.set(header, known);
      for (const value of asList(values)) known.add(textOf(value));
    }
    this.onChange();
  }

  has(id: string): boolean {
    const addedAt = this.#addedAt.get(id);
    return addedAt !== undefined && this.#clock.monotonic() - addedAt < LIFE_MS;
  }

  matches({ id, stamps }: Pick<TaskRequest, 'id' | 'stamps'>): boolean {
    return this.has(id) || (this.#stamps.size > 0 && hasStamp(stamps, (header) => this.#stamps.get(header)));
  }

  ids(): readonly string[] {
    return [...this.#addedAt.keys()].filter((id) => this.has(id));
  }

  get stamps(): Readonly<Record<string, readonly string[]>> {
    return Object.fromEntries([...this.#stamps].map(([header, values]) => [header, [...values]]));
  }

  save(): RevokedState {
    const shift = this.#clock.now() - this.#clock.monotonic();
    const ids = [...this.#addedAt].filter(([id]) => this.has(id));
    return { ids: ids.map(([id, at]) => [id, Math.round(at + shift)]), stamps: this.stamps };
  }

  /** Adds what {@link save} gave, in this process or an earlier one. */
  load({ ids, stamps }: RevokedState): void {
    const shift = this.#clock.now() - this.#clock.monotonic();
    const now = this.#clock.monotonic();
    for (const [id, at] of ids) this.#put(id, Math.min(now, at - shift));
    this.addStamps(stamps);
  }

  #put(id: string, at: number): void {
    // Deleting first keeps the map in order of age.
    this.#addedAt.delete(id);
    this.#addedAt.set(id, at);
    const now = this.#clock.monotonic();
    for (const [oldest, addedAt] of this.#addedAt) {
      if (this.#addedAt.size <= MOST && now - addedAt < LIFE_MS) break;
      this.#addedAt.delete(oldest);
    }
  }
}

/** True when the task has one of the stamps in `headers`. Source: celery/worker/request.py, revoked. */
export function hasStampOf(headers: StampedHeaders): (request: Pick<TaskRequest, 'stamps'>) => boolean {
  const wanted = new Map(
    Object.entries(headers).map(([header, values]) => [header, new Set(asList(values).map(textOf))]),
  );
  return ({ stamps }) => hasStamp(stamps, (header) => wanted.get(header));
}

function hasStamp(stamps: TaskRequest['stamps'], wanted: (header: string) => ReadonlySet<string> | undefined): boolean {
  return Object.entries(stamps).some(([header, values]) => {
    const revoked = wanted(header);
    return revoked !== undefined && asList(values).some((value) => revoked.has(textOf(value)));
  });
}

function asList(values: unknown): readonly unknown[] {
  return Array.isArray(values) ? (values as unknown[]) : [values];
}

/** Stamps are compared by their text: a command line can give nothing else. */
function textOf(value: unknown): string {
  return typeof value === 'string' ? value : String(JSON.stringify(value));
}
