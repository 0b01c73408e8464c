import { setTimeout as sleep } from 'node:timers/promises';
import { isLovageError, type Logger, type Lovage, type ScheduleContext } from '@lovage/core';
import { INSTANT_HEADER, PERIODIC_NAME_HEADER } from '@lovage/core/protocol';
import { appEntries } from './app-entries.ts';
import { dueInstants, instantAfter } from './due.ts';
import { appZone, type Entry } from './entry.ts';
import { EntryStore, type LoadedEntries } from './entry-store.ts';
import { instantId } from './instant-id.ts';
import { type EntryState, State } from './state.ts';
import { Once } from './schedules.ts';
import { type Scheduler, scheduledEntries } from './scheduler.ts';
import { documentNames, openStore, type OpenStore } from './store.ts';

export interface BeatOptions {
  /**
   * A path, which becomes a file of SQLite, or the URL of a result store that several beats share: one of them leads, the
   * others wait to take over. Default `beatScheduleFilename`.
   */
  readonly schedule?: string;
  /** Seconds between two looks at the store at most. Default `beatMaxLoopInterval`, else 5. */
  readonly maxInterval?: number;
  /** Seconds after which a silent beat has lost its lead. Default 15; a dead one on the same machine loses it at once. */
  readonly leaseSeconds?: number;
  /** Seconds after which an instant counts as missed. Default 30. */
  readonly missedAfter?: number;
  /** Gives periodic tasks that the application keeps itself, besides those in its code and in the store. */
  readonly scheduler?: Scheduler;
  /** It runs inside of a worker: the signal `beatEmbeddedInit` is sent too. */
  readonly isEmbedded?: boolean;
  /** Default: the app's. */
  readonly logger?: Logger;
}

const DEFAULT_MAX_INTERVAL = 5;
/** So long it is remembered when a task ran that nobody has any more. */
const GONE_MS = 7 * 24 * 3_600_000;
const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 5000;
/** The longest that `setTimeout` can wait. */
const MAX_TIMER_MS = 2 ** 31 - 1;
/** What takes longer to be sent holds up no other. */
const SLOW_MS = 250;
/** A scheduler has at least so long to answer. */
const SCHEDULER_MS = 5000;

interface Planned {
  readonly entry: Entry;
  readonly context: ScheduleContext;
  state: EntryState;
  /** The first instant after `state.last`. */
  next: number | undefined;
  isSending: boolean;
  /** After a failure it is left alone until then; monotonic. */
  heldUntil: number;
  pauseMs: number;
}

/**
 * Sends periodic tasks at their instants. Each instant has one task id, made of app, entry and time: sent again after a
 * crash, or by a second beat, it is the same task, and a worker drops the second one.
 *
 * An instant is dealt with when the broker has its message; only then it is noted. With the broker away it stays due.
 */
export class Beat {
  /** Resolves when it has stopped, rejects when it cannot go on. */
  readonly done: Promise<void>;
  readonly #app: Lovage;
  readonly #where: string;
  readonly #maxIntervalMs: number;
  readonly #leaseMs: number;
  readonly #missedAfterMs: number;
  readonly #logger: Logger;
  readonly #scheduler: Scheduler | undefined;
  readonly #isEmbedded: boolean;
  readonly #plans = new Map<string, Planned>();
  readonly #sending = new Set<Promise<void>>();
  /** What was sent in this turn, to be noted in one write. */
  #noted = new Map<string, EntryState>();
  #noting: Promise<unknown> | undefined;
  #store: OpenStore | undefined;
  #appEntries: readonly Entry[] = [];
  #scheduled: readonly Entry[] = [];
  #storeVersion: string | undefined;
  /** When entries were last looked at, monotonic. */
  #lookedAt = Number.NEGATIVE_INFINITY;
  #wake: (() => void) | undefined;
  #isStopping = false;
  /** Why the broker can never be reached. */
  #fatal: unknown;
  #started: Promise<void> | undefined;
  #settle!: { readonly resolve: () => void; readonly reject: (error: unknown) => void };

  constructor(app: Lovage, options: BeatOptions = {}) {
    const { settings } = app;
    this.#app = app;
    this.#where = options.schedule ?? settings.beatScheduleFilename;
    this.#maxIntervalMs = 1000 * (options.maxInterval ?? (settings.beatMaxLoopInterval || DEFAULT_MAX_INTERVAL));
    this.#leaseMs = 1000 * (options.leaseSeconds ?? 15);
    this.#missedAfterMs = 1000 * (options.missedAfter ?? 30);
    this.#logger = options.logger ?? app.logger;
    this.#scheduler = options.scheduler;
    this.#isEmbedded = options.isEmbedded ?? false;
    this.done = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.done.catch(() => {});
  }

  /** Resolves when the entries are read and the store is open; rejects with `ConfigError` or what the store says. */
  start(): Promise<void> {
    return (this.#started ??= this.#start());
  }

  /** Ends after what is being sent. Never rejects; twice is fine. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.#wake?.();
    // A start that is under way opens what only its end closes.
    await this.#started?.catch(() => {});
    if (this.#store === undefined) this.#settle.resolve();
    await this.done.catch(() => {});
  }

  async #start(): Promise<void> {
    try {
      await this.#app.importTasks();
      this.#appEntries = await appEntries(this.#app);
      await this.#askScheduler();
      this.#store = await openStore(this.#app, this.#where, this.#logger);
    } catch (error) {
      this.#settle.reject(error);
      throw error;
    }
    const entries = this.#appEntries.length + this.#scheduled.length;
    this.#logger.info(
      { entries, schedule: this.#store.location },
      `beat: ready, ${entries} periodic tasks of ${this.#app.name}, schedule kept in ${this.#store.location}`,
    );
    this.#app.signals.emit('beatInit', () => ({ beat: this }));
    if (this.#isEmbedded) this.#app.signals.emit('beatEmbeddedInit', () => ({ beat: this }));
    this.#run(this.#store).then(this.#settle.resolve, this.#settle.reject);
  }

  async #run(store: OpenStore): Promise<void> {
    const { documents } = store;
    const names = documentNames(this.#app);
    const state = new State({
      documents,
      name: names.state,
      leaseMs: this.#leaseMs,
      now: () => performance.now(),
    });
    const stored = new EntryStore(documents, names.entries);
    // Renewed apart from the rounds: a publish that waits for its broker must not cost the lead.
    const renewal = setInterval(() => {
      if (state.isLeading)
        state
          .save({})
          .catch((error: unknown) => this.#logger.warn({ err: error }, 'beat: the lead could not be renewed'));
    }, this.#leaseMs / 3);
    if (!this.#isStopping) this.#connect();
    let wasLeading = false;
    let pauseMs = FIRST_PAUSE_MS;
    try {
      while (!this.#isStopping) {
        if (this.#fatal !== undefined) throw this.#fatal;
        try {
          if (!state.isLeading) {
            // What was planned before is not what another beat has made of it meanwhile.
            this.#plans.clear();
            this.#lookAgain();
          }
          if (!state.isLeading && !(await state.tryToLead())) {
            if (wasLeading) this.#logger.warn({}, 'beat: another beat leads now; this one waits');
            wasLeading = false;
            await this.#sleep(this.#leaseMs / 3);
            continue;
          }
          if (!wasLeading) this.#logger.info({}, 'beat: leads');
          wasLeading = true;
          // What is due comes first: nothing that is looked up makes it late.
          await this.#round(state);
          if (state.isLeading && this.#untilLook() <= 0) await this.#look(state, stored);
          pauseMs = FIRST_PAUSE_MS;
          if (state.isLeading) await this.#sleep(Math.min(this.#untilNext(), this.#untilLook()));
        } catch (error) {
          this.#logger.error({ err: error, pauseMs }, `beat: ${(error as Error).message} It is tried again.`);
          await this.#sleep(pauseMs);
          pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2);
        }
      }
    } finally {
      await Promise.allSettled(this.#sending);
      clearInterval(renewal);
      await state.resign().catch(() => {});
      await store.close();
    }
  }

  /** Before something is due: the first instant is on time then, and a broker that is none shows at once. */
  #connect(): void {
    if (this.#app.settings.taskAlwaysEager) return;
    this.#app
      .producerConnection()
      .connection()
      .catch((error: unknown) => {
        if (this.#isStopping) return;
        this.#fatal = error;
        this.#wake?.();
      });
  }

  #lookAgain(): void {
    this.#storeVersion = undefined;
    this.#lookedAt = Number.NEGATIVE_INFINITY;
  }

  #untilLook(): number {
    return this.#lookedAt + this.#maxIntervalMs - performance.now();
  }

  /** Milliseconds until something is due. */
  #untilNext(): number {
    const [now, monotonic] = [Date.now(), performance.now()];
    let until = Number.POSITIVE_INFINITY;
    for (const { next, isSending, heldUntil } of this.#plans.values()) {
      if (next !== undefined && !isSending) until = Math.min(until, Math.max(next - now, heldUntil - monotonic));
    }
    return Math.max(0, until);
  }

  async #askScheduler(): Promise<void> {
    if (this.#scheduler === undefined) return;
    const limitMs = Math.max(SCHEDULER_MS, this.#maxIntervalMs);
    this.#scheduled = await scheduledEntries(this.#app, this.#scheduler, this.#logger, limitMs);
  }

  /** Brings the plans in line with the entries of app, scheduler and store. */
  async #look(state: State, stored: EntryStore): Promise<void> {
    try {
      await this.#askScheduler();
    } catch (error) {
      // Its last answer stands.
      this.#logger.error({ err: error }, `beat: the scheduler failed: ${(error as Error).message}`);
    }
    const since = this.#scheduler === undefined ? this.#storeVersion : undefined;
    const loaded = await stored.load(appZone(this.#app), this.#logger, since);
    if (loaded === undefined || (await this.#plan(state, loaded))) this.#lookedAt = performance.now();
  }

  /** False: another beat leads now. */
  async #plan(state: State, { entries, paused, version }: LoadedEntries): Promise<boolean> {
    const all = [...this.#appEntries, ...this.#scheduled, ...entries];
    const wanted = new Map(all.map((entry) => [entry.name, entry]));
    const changes: Record<string, EntryState | undefined> = {};
    const now = Date.now();
    const states = state.entries;
    for (const [name, known] of Object.entries(states)) {
      if (wanted.has(name)) continue;
      if (known.goneSince === undefined) changes[name] = { ...known, goneSince: now };
      else if (now - known.goneSince > GONE_MS) changes[name] = undefined;
    }
    const before = new Map(this.#plans);
    this.#plans.clear();
    let isWhole = true;
    for (const [name, entry] of wanted) {
      const old = before.get(name);
      if (old?.isSending === true) {
        // What is under way is noted first; its change comes with the next look.
        isWhole = false;
        this.#plans.set(name, old);
        continue;
      }
      const known = states[name];
      const next = planned(entry, known, paused.has(name), now);
      if (next !== known) changes[name] = next;
      if (next.isPaused === true) continue;
      const context = { zone: entry.zone, anchor: next.anchor };
      const { heldUntil = 0, pauseMs = FIRST_PAUSE_MS } = old ?? {};
      try {
        const following = instantAfter(entry.schedule, next.last, context);
        this.#plans.set(name, { entry, context, state: next, next: following, isSending: false, heldUntil, pauseMs });
      } catch (error) {
        this.#logger.error(
          { err: error, entry: name },
          `beat: ${name} is left out, its schedule failed: ${(error as Error).message}`,
        );
      }
    }
    if (Object.keys(changes).length > 0 && !(await state.save(changes))) return false;
    this.#storeVersion = isWhole ? version : undefined;
    return true;
  }

  /** Sends what is due and notes it. */
  async #round(state: State): Promise<void> {
    const now = Date.now();
    if ([...this.#plans.values()].some((plan) => isAhead(plan.state, plan.entry, now))) {
      // The clock was put back.
      this.#lookAgain();
      return;
    }
    const monotonic = performance.now();
    const due = [...this.#plans.values()].filter(
      ({ next, isSending, heldUntil }) => next !== undefined && next <= now && !isSending && heldUntil <= monotonic,
    );
    if (due.length === 0) return;
    const { taskAlwaysEager, publishTimeoutSeconds } = this.#app.settings;
    // Whatever keeps it away, what is due stays due.
    if (!taskAlwaysEager) await this.#app.producerConnection().connection({ timeoutMs: publishTimeoutSeconds * 1000 });
    if (!(await state.isConfirmed())) return;
    const sending = due.map((plan) => this.#send(state, plan, now));
    const slow = new AbortController();
    await Promise.race([Promise.all(sending), sleep(SLOW_MS, undefined, { signal: slow.signal }).catch(() => {})]);
    slow.abort();
  }

  /** Sends what is due of an entry and notes it. Never rejects: what fails stays due, and is tried again. */
  #send(state: State, plan: Planned, now: number): Promise<void> {
    plan.isSending = true;
    const sending = this.#sendDue(state, plan, now)
      .catch((error: unknown) => {
        const { pauseMs, entry } = plan;
        plan.heldUntil = performance.now() + pauseMs;
        plan.pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2);
        this.#logger.error(
          { err: error, entry: entry.name, pauseMs },
          `beat: ${entry.name} could not be sent, and is tried again: ${(error as Error).message}`,
        );
      })
      .finally(() => {
        plan.isSending = false;
        this.#sending.delete(sending);
        this.#wake?.();
      });
    this.#sending.add(sending);
    return sending;
  }

  async #sendDue(state: State, plan: Planned, now: number): Promise<void> {
    const { entry, context } = plan;
    const { beatCronStartingDeadline: deadline } = this.#app.settings;
    const due = dueInstants(entry.schedule, context, plan.state.last, now, {
      misfire: entry.misfire,
      missedAfterMs: this.#missedAfterMs,
      deadlineMs: deadline === undefined || deadline === null ? undefined : deadline * 1000,
    });
    let count = 0;
    try {
      await Promise.all(due.instants.map((instant) => this.#apply(entry, instant)));
      count = due.instants.length;
    } catch (error) {
      if (isLovageError(error) && error.retryable) throw error;
      // It would fail for ever, and keep its instant due for ever.
      this.#logger.error(
        { err: error, entry: entry.name },
        `beat: ${entry.name} cannot be sent: ${(error as Error).message}`,
      );
    }
    if (due.skipped > 0) {
      this.#logger.warn(
        { entry: entry.name, skipped: due.skipped },
        `beat: ${due.skipped} missed runs of ${entry.name} are passed over`,
      );
    }
    plan.state = { ...plan.state, last: due.last, count: plan.state.count + count };
    plan.next = due.next;
    plan.pauseMs = FIRST_PAUSE_MS;
    await this.#note(state, plan);
  }

  /** In one write with what else was sent in this turn. */
  async #note(state: State, { entry, state: sent }: Planned): Promise<void> {
    this.#noted.set(entry.name, sent);
    this.#noting ??= new Promise((resolve) => setImmediate(resolve))
      .then(() => {
        const changes = Object.fromEntries(this.#noted);
        this.#noted = new Map();
        this.#noting = undefined;
        return state.save(changes);
      })
      // They are written with the next write that goes well.
      .catch((error: unknown) => this.#logger.warn({ err: error }, 'beat: what was sent could not be noted yet'));
    await this.#noting;
  }

  async #apply({ name, task, args, kwargs, options }: Entry, instant: number): Promise<void> {
    const taskId = instantId(this.#app.name, name, instant);
    const at = new Date(instant).toISOString();
    await this.#app.sendTask(task, {
      ...options,
      args,
      kwargs,
      taskId,
      headers: { ...options.headers, [PERIODIC_NAME_HEADER]: name, [INSTANT_HEADER]: at },
    });
    this.#logger.info({ entry: name, task, taskId, instant: at }, `beat: sent ${name} (${task}) of ${at}`);
  }

  #sleep(ms: number): Promise<void> {
    if (this.#isStopping) return Promise.resolve();
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        this.#wake = undefined;
        resolve();
      };
      const timer = setTimeout(end, Math.min(MAX_TIMER_MS, ms));
      this.#wake = end;
    });
  }
}

/** How far a clock may be off without being taken for wrong. */
const CLOCK_MS = 60_000;

/** An instant in the future was dealt with: the clock was wrong then. What runs once is dealt with for good. */
function isAhead({ last }: EntryState, { schedule }: Entry, now: number): boolean {
  return last > now + CLOCK_MS && !(schedule instanceof Once);
}

/** The state that an entry goes on from; the one that is known, where nothing has changed. */
function planned(entry: Entry, known: EntryState | undefined, isPaused: boolean, now: number): EntryState {
  const schedule = String(entry.schedule);
  // One that runs once and whose time has passed is due at once.
  const fresh = entry.schedule instanceof Once ? Math.min(now, entry.schedule.at - 1) : now;
  if (known === undefined || known.schedule !== schedule || isAhead(known, entry, now)) {
    const count = known?.count ?? 0;
    return { schedule, anchor: now, last: fresh, count, ...(isPaused ? { isPaused } : {}) };
  }
  const { isPaused: wasPaused = false, goneSince, ...rest } = known;
  if (wasPaused === isPaused && goneSince === undefined) return known;
  if (isPaused) return { ...rest, isPaused };
  // What fell into the pause is not missed: it counts from now, but for what runs once.
  return wasPaused && !(entry.schedule instanceof Once) ? { ...rest, last: Math.max(rest.last, now) } : rest;
}
