import { type AsyncResult, ConfigError, type Lovage } from '@lovage/core';
import { appEntries } from './app-entries.ts';
import { appZone, type Entry, type PeriodicTaskInput } from './entry.ts';
import { EntryStore } from './entry-store.ts';
import { type Scheduler, scheduledEntries } from './scheduler.ts';
import { documentNames, openStore, type OpenStore } from './store.ts';
import { State } from './state.ts';

const SCHEDULER_MS = 30_000;

/** A periodic task and what is known of it. */
export interface PeriodicTaskStatus {
  readonly name: string;
  readonly task: string;
  readonly schedule: string;
  readonly args: readonly unknown[];
  readonly kwargs: Readonly<Record<string, unknown>>;
  /** The application's code, what its scheduler gives, or the store. */
  readonly from: 'app' | 'scheduler' | 'store';
  readonly isPaused: boolean;
  /** IANA name. */
  readonly zone: string;
  /** undefined: never so far. */
  readonly lastRunAt: Date | undefined;
  readonly totalRunCount: number;
  /** undefined: never again, or paused. */
  readonly nextRunAt: Date | undefined;
}

/**
 * The periodic tasks of an app as its beats see them, to be looked at and changed while they run. A beat takes a change
 * within its `maxInterval`.
 *
 * @example
 * await using tasks = await PeriodicTasks.open(app)
 * await tasks.put('report', { task: 'shop.report', schedule: crontab({ hour: 7, minute: 0 }) })
 */
export class PeriodicTasks implements AsyncDisposable {
  readonly #app: Lovage;
  readonly #store: OpenStore;
  readonly #entries: EntryStore;
  readonly #scheduler: Scheduler | undefined;

  private constructor(app: Lovage, store: OpenStore, scheduler: Scheduler | undefined) {
    this.#app = app;
    this.#store = store;
    this.#entries = new EntryStore(store.documents, documentNames(app).entries);
    this.#scheduler = scheduler;
  }

  /**
   * `schedule` and `scheduler` as beat has them. Default of `schedule`: `beatScheduleFilename`. Imports the app's tasks:
   * not to be awaited in the module that makes the app, which files of tasks wait for.
   */
  static async open(
    app: Lovage,
    schedule: string = app.settings.beatScheduleFilename,
    { scheduler }: { readonly scheduler?: Scheduler | undefined } = {},
  ): Promise<PeriodicTasks> {
    await app.importTasks();
    return new PeriodicTasks(app, await openStore(app, schedule, app.logger), scheduler);
  }

  async list(): Promise<readonly PeriodicTaskStatus[]> {
    const { entries, paused } = await this.#load();
    const state = await State.read(this.#store.documents, documentNames(this.#app).state);
    const now = Date.now();
    return entries.map((entry) => {
      const isPaused = paused.has(entry.name);
      const known = state[entry.name];
      const context = { zone: entry.zone, anchor: known?.anchor ?? now };
      const next = isPaused ? undefined : entry.schedule.next(known?.last ?? now, context);
      return {
        name: entry.name,
        task: entry.task,
        schedule: String(entry.schedule),
        args: entry.args,
        kwargs: entry.kwargs,
        from: entry.from,
        isPaused,
        zone: entry.zone.name,
        lastRunAt: known === undefined || known.count === 0 ? undefined : new Date(known.last),
        totalRunCount: known?.count ?? 0,
        nextRunAt: next === undefined ? undefined : new Date(next),
      };
    });
  }

  /** The next `count` instants of an entry. */
  async next(name: string, count: number): Promise<readonly Date[]> {
    const entry = await this.#find(name);
    const state = await State.read(this.#store.documents, documentNames(this.#app).state);
    const context = { zone: entry.zone, anchor: state[name]?.anchor ?? Date.now() };
    const instants: Date[] = [];
    for (let at: number | undefined = Date.now(); instants.length < count; instants.push(new Date(at))) {
      at = entry.schedule.next(at, context);
      if (at === undefined) break;
    }
    return instants;
  }

  /** Adds or replaces an entry in the store. One of the application's own of that name is replaced by it. */
  put(name: string, input: PeriodicTaskInput): Promise<void> {
    return this.#entries.put(name, input, appZone(this.#app));
  }

  /**
   * Throws `ConfigError` when the store has no such entry. One of the application's own of that name is back then, paused
   * if this one was.
   */
  async remove(name: string): Promise<void> {
    const others = await this.#declared();
    if (await this.#entries.remove(name, others.has(name))) return;
    throw new ConfigError(
      `The store has no periodic task ${JSON.stringify(name)}. Those of the application are removed where they come from, or paused.`,
    );
  }

  async pause(name: string): Promise<void> {
    await this.#find(name);
    await this.#entries.pause(name, true);
  }

  /** It counts from now: what fell into the pause is not made up for. */
  async resume(name: string): Promise<void> {
    await this.#find(name);
    await this.#entries.pause(name, false);
  }

  /** Sends the task now, besides its schedule. */
  async run(name: string): Promise<AsyncResult> {
    const { task, args, kwargs, options } = await this.#find(name);
    return this.#app.sendTask(task, { ...options, args, kwargs });
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #load(): Promise<{ readonly entries: readonly Entry[]; readonly paused: ReadonlySet<string> }> {
    const stored = await this.#entries.load(appZone(this.#app), this.#app.logger);
    const all = await this.#declared();
    for (const entry of stored?.entries ?? []) all.set(entry.name, entry);
    return { entries: [...all.values()], paused: stored?.paused ?? new Set() };
  }

  /** Those of the application and of its scheduler. */
  async #declared(): Promise<Map<string, Entry>> {
    const all = new Map((await appEntries(this.#app)).map((entry) => [entry.name, entry]));
    if (this.#scheduler !== undefined) {
      const scheduled = await scheduledEntries(this.#app, this.#scheduler, this.#app.logger, SCHEDULER_MS);
      for (const entry of scheduled) all.set(entry.name, entry);
    }
    return all;
  }

  async #find(name: string): Promise<Entry> {
    const { entries } = await this.#load();
    const entry = entries.find((one) => one.name === name);
    if (entry !== undefined) return entry;
    throw new ConfigError(
      `There is no periodic task ${JSON.stringify(name)}. Expected one of: ${entries.map((one) => one.name).join(', ')}.`,
    );
  }
}
