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
 * Tasks that must not run: by id, the newest 50,000 of the last three hours, and by stamped header, the newest 50,000.
 * Source: celery/worker/state.py, revoked and revoked_stamps.
 */
export class Revokes {
  readonly #clock: Clock;
  readonly #addedAt = new Map<string, number>();
  /** By {@link stampKey}, the oldest first. */
  readonly #stamps = new Map<string, readonly [header: string, value: string]>();
  readonly #watchers = new Set<(isNew: boolean) => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get isEmpty(): boolean {
    return this.#addedAt.size === 0 && this.#stamps.size === 0;
  }

  /** `added` is called when something was, until the returned function is. `isNew`: it was not known before. */
  watch(added: (isNew: boolean) => void): () => void {
    this.#watchers.add(added);
    return () => void this.#watchers.delete(added);
  }

  get size(): number {
    return this.#addedAt.size;
  }

  add(id: string): void {
    const isNew = !this.has(id);
    this.#put(id, this.#clock.monotonic());
    this.#added(isNew);
  }

  /** Tasks with one of these stamps. */
  addStamps(headers: StampedHeaders): void {
    let isNew = false;
    for (const [header, values] of Object.entries(headers)) {
      for (const value of asList(values).map(textOf)) {
        const key = stampKey(header, value);
        // Deleting first keeps the map in order of age.
        if (!this.#stamps.delete(key)) isNew = true;
        this.#stamps.set(key, [header, value]);
      }
    }
    for (const oldest of this.#stamps.keys()) {
      if (this.#stamps.size <= MOST) break;
      this.#stamps.delete(oldest);
    }
    this.#added(isNew);
  }

  has(id: string): boolean {
    const addedAt = this.#addedAt.get(id);
    return addedAt !== undefined && this.#clock.monotonic() - addedAt < LIFE_MS;
  }

  matches({ id, stamps }: Pick<TaskRequest, 'id' | 'stamps'>): boolean {
    return this.has(id) || (this.#stamps.size > 0 && hasStamp(stamps, (key) => this.#stamps.has(key)));
  }

  ids(): readonly string[] {
    return [...this.#addedAt.keys()].filter((id) => this.has(id));
  }

  get stamps(): Readonly<Record<string, readonly string[]>> {
    const stamps = new Map<string, string[]>();
    for (const [header, value] of this.#stamps.values()) {
      const values = stamps.get(header);
      if (values === undefined) stamps.set(header, [value]);
      else values.push(value);
    }
    return Object.fromEntries(stamps);
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
    if (ids.length > 0) this.#added(true);
    this.addStamps(stamps);
  }

  #added(isNew: boolean): void {
    for (const added of this.#watchers) added(isNew);
  }

  #put(id: string, at: number): void {
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
  const wanted = new Set(
    Object.entries(headers).flatMap(([header, values]) =>
      asList(values).map((value) => stampKey(header, textOf(value))),
    ),
  );
  return ({ stamps }) => hasStamp(stamps, (key) => wanted.has(key));
}

function hasStamp(stamps: TaskRequest['stamps'], isWanted: (key: string) => boolean): boolean {
  return Object.entries(stamps).some(([header, values]) =>
    asList(values).some((value) => isWanted(stampKey(header, textOf(value)))),
  );
}

function stampKey(header: string, value: string): string {
  return `${header.length}:${header}${value}`;
}

function asList(values: unknown): readonly unknown[] {
  return Array.isArray(values) ? (values as unknown[]) : [values];
}

/** Stamps are compared by their text: a command line can give nothing else. */
function textOf(value: unknown): string {
  return typeof value === 'string' ? value : String(JSON.stringify(value));
}
