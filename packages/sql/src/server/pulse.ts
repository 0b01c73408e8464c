import type { Logger } from '@lovage/core/transport';
import type { Listening } from '../database.ts';
import type { SqlLink } from './link.ts';
import type { SqlBell } from './session.ts';

/** Between two rings of one topic: each of them makes the server wake everybody. */
const RING_MS = 50;
const FIRST_LOOK_MS = 10;
const GROWTH = 1.5;

/**
 * Who is told that something was committed: this process at once, others by the server's bell where it has one, and
 * all in any case by a look at growing intervals, for those who ring no bell.
 */
export class Pulse {
  readonly #link: SqlLink;
  readonly #bell: SqlBell | undefined;
  readonly #pollMs: number;
  readonly #logger: Logger;
  readonly #listeners = new Map<string, Set<(foreign: boolean) => void>>();
  readonly #rung = new Map<string, { isPending: boolean }>();
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #ringing = new Set<Promise<void>>();
  #subscribed = false;
  #look: NodeJS.Timeout | undefined;
  #waitMs = FIRST_LOOK_MS;
  #closed = false;

  constructor(link: SqlLink, bell: SqlBell | undefined, pollMs: number, logger: Logger) {
    this.#link = link;
    this.#bell = bell;
    this.#pollMs = pollMs;
    this.#logger = logger;
  }

  listen(topic: string, listener: (foreign: boolean) => void): Listening {
    // Each registration is its own, even of one function.
    const registered = (foreign: boolean): void => listener(foreign);
    const listeners = this.#listeners.get(topic) ?? new Set();
    this.#listeners.set(topic, listeners.add(registered));
    this.#subscribe();
    this.#lookSoon();
    return {
      stop: () => {
        listeners.delete(registered);
        if (listeners.size === 0 && this.#listeners.get(topic) === listeners) this.#listeners.delete(topic);
        if (this.#listeners.size > 0) return;
        clearTimeout(this.#look);
        this.#look = undefined;
      },
    };
  }

  /** After each commit of this process. */
  committed(topics: ReadonlySet<string>): void {
    for (const topic of topics) {
      this.#notify(topic, false);
      this.#ring(topic);
    }
    // Where this process works, others do too.
    if (this.#look !== undefined && this.#waitMs > FIRST_LOOK_MS * 4) this.#lookSoon();
  }

  /** What was rung for is told to the server first. */
  async close(): Promise<void> {
    if (this.#closed) return;
    for (const [topic, state] of this.#rung) if (state.isPending) this.#send(topic);
    this.#closed = true;
    clearTimeout(this.#look);
    for (const timer of this.#timers) clearTimeout(timer);
    this.#listeners.clear();
    await Promise.all(this.#ringing);
  }

  #subscribe(): void {
    const bell = this.#bell;
    if (this.#subscribed || bell === undefined) return;
    this.#subscribed = true;
    this.#link
      .do((session) => bell.subscribe(session, (topic) => this.#notify(topic, true)))
      .catch((error: unknown) => {
        this.#logger.warn({ err: error }, 'The server tells of no commits; they are looked for at intervals.');
      });
  }

  #ring(topic: string): void {
    if (this.#bell === undefined || this.#closed) return;
    const state = this.#rung.get(topic);
    if (state !== undefined) {
      state.isPending = true;
      return;
    }
    const fresh = { isPending: false };
    this.#rung.set(topic, fresh);
    this.#send(topic);
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.#rung.delete(topic);
      if (fresh.isPending) this.#ring(topic);
    }, RING_MS);
    timer.unref();
    this.#timers.add(timer);
  }

  #send(topic: string): void {
    // Whoever is not told looks by himself in a while.
    const ringing = this.#link.do((session) => (this.#bell as SqlBell).ring(session, topic)).catch(() => {});
    this.#ringing.add(ringing);
    void ringing.then(() => this.#ringing.delete(ringing));
  }

  #notify(topic: string, foreign: boolean): void {
    for (const listener of this.#listeners.get(topic) ?? []) listener(foreign);
  }

  #lookSoon(): void {
    clearTimeout(this.#look);
    this.#waitMs = Math.min(FIRST_LOOK_MS, this.#pollMs);
    this.#scheduleLook();
  }

  #scheduleLook(): void {
    this.#look = setTimeout(() => {
      this.#waitMs = Math.min(this.#pollMs, this.#waitMs * GROWTH);
      this.#scheduleLook();
      for (const topic of this.#listeners.keys()) this.#notify(topic, true);
    }, this.#waitMs);
    this.#look.unref();
  }
}
