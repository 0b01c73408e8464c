import type { Clock } from '../clock.ts';

/** Celery's `CELERY_WORKER_REVOKES_MAX` and `CELERY_WORKER_REVOKE_EXPIRES`. Source: celery/worker/state.py. */
const MOST = 50_000;
const LIFE_MS = 10_800_000;

/** Ids of tasks that must not run, the newest 50,000 of the last three hours. */
export class RevokedIds {
  readonly #clock: Clock;
  readonly #addedAt = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#addedAt.size;
  }

  add(id: string): void {
    const now = this.#clock.monotonic();
    // Deleting first keeps the map in order of age.
    this.#addedAt.delete(id);
    this.#addedAt.set(id, now);
    for (const [oldest, addedAt] of this.#addedAt) {
      if (this.#addedAt.size <= MOST && now - addedAt < LIFE_MS) break;
      this.#addedAt.delete(oldest);
    }
  }

  has(id: string): boolean {
    const addedAt = this.#addedAt.get(id);
    return addedAt !== undefined && this.#clock.monotonic() - addedAt < LIFE_MS;
  }

  ids(): readonly string[] {
    return [...this.#addedAt.keys()].filter((id) => this.has(id));
  }
}
