import { ConfigError } from '../errors.ts';
import { currentTask } from './current-task.ts';
import type { Lovage } from './lovage.ts';
import type { TaskFunction, TaskOptions } from './task.ts';

/** A task that every app has. */
export interface SharedDefinition {
  readonly name: string;
  readonly options: TaskOptions;
  readonly fn: TaskFunction;
  /** Where it was declared. */
  readonly file: string | undefined;
  /** Another file that has declared another function under this name. */
  readonly rival?: string | undefined;
  /** What `every` was called with. */
  readonly periodic: readonly (readonly unknown[])[];
}

interface Apps {
  /** Rises with every change of what is written here in a way that older copies would misread. */
  readonly format: number;
  /** In the order in which they were made. An app that nobody uses any more is none of them. */
  readonly made: { readonly app: WeakRef<Lovage>; readonly isCandidate: boolean }[];
  chosen: Lovage | undefined;
  readonly tasks: Map<string, SharedDefinition>;
  /** Rises with every change of the tasks. */
  revision: number;
  /** Where each loaded copy of this package is. */
  readonly copies: Set<string>;
}

const FORMAT = 1;
// One for all installed copies of this package, so that a library's copy finds the application's app.
const KEY = Symbol.for('@lovage/apps');
const shared = globalThis as { [KEY]?: Apps };
const apps: Apps = (shared[KEY] ??= {
  format: FORMAT,
  made: [],
  chosen: undefined,
  tasks: new Map(),
  revision: 0,
  copies: new Set<string>(),
});
apps.copies.add(new URL('../', import.meta.url).href);
if (apps.format !== FORMAT) {
  throw new ConfigError(
    'Two versions of @lovage/core are loaded that cannot share their tasks. Run "npm ls @lovage/core" and install one version for all.',
  );
}

/** Every app calls it when it is made. `isCandidate`: it may become the current one without being chosen. */
export function noteApp(app: Lovage, isCandidate: boolean): void {
  const gone = apps.made.findIndex((other) => other.app.deref() === undefined);
  if (gone >= 0) apps.made.splice(gone, 1);
  apps.made.push({ app: new WeakRef(app), isCandidate });
}

/** A closed app is nobody's current one. */
export function forgetApp(app: Lovage): void {
  const index = apps.made.findIndex((other) => other.app.deref() === app);
  if (index >= 0) apps.made.splice(index, 1);
  if (apps.chosen === app) apps.chosen = undefined;
}

/** The open apps of this process, in the order in which they were made. */
export function knownApps(): readonly Lovage[] {
  return apps.made.flatMap(({ app }) => app.deref() ?? []);
}

export function chooseApp(app: Lovage): void {
  apps.chosen = app;
}

/**
 * The app that shared tasks belong to here and now: inside of a task the one that runs it; else the one that
 * `app.setDefault()` chose; else the one that was made last and is not closed. Throws `ConfigError` without any.
 */
export function currentApp(): Lovage {
  // A task of an older copy does not know its app.
  const running = (currentTask.getStore() as { readonly app?: Lovage } | undefined)?.app;
  const last = apps.made.findLast(({ app, isCandidate }) => isCandidate && app.deref() !== undefined);
  const app = running ?? apps.chosen ?? last?.app.deref();
  if (app !== undefined) return app;
  throw new ConfigError(
    'There is no app in this process yet. Import the module that makes it: export const app = new Lovage("shop", { ... }).',
  );
}

/** URLs of the copies of this package that are loaded: one, unless packages bring their own. */
export function loadedCopies(): readonly string[] {
  return [...apps.copies];
}

/** The number that rises when shared tasks change. */
export function sharedRevision(): number {
  return apps.revision;
}

export function sharedTasks(): Iterable<SharedDefinition> {
  return apps.tasks.values();
}

/**
 * Makes a task one of every app, made already or later. Declared again it takes the place of the former: a module may be
 * loaded anew, and bundlers put one into several files. See {@link refuseRivals}.
 */
export function shareTask(definition: SharedDefinition): void {
  const known = apps.tasks.get(definition.name);
  const isRival = known !== undefined && known.file !== definition.file && String(known.fn) !== String(definition.fn);
  apps.tasks.set(
    definition.name,
    isRival ? { ...definition, rival: known.file ?? 'a place without a file' } : definition,
  );
  apps.revision++;
}

/** Throws `ConfigError` when two files have declared different tasks under one name: who runs them must not guess. */
export function refuseRivals(): void {
  for (const { name, file, rival } of apps.tasks.values()) {
    if (rival === undefined) continue;
    throw new ConfigError(
      `A shared task named "${name}" is declared in ${rival}, and another one in ${file ?? 'a place without a file'}. Give each a name of its own, or install one version of the package that declares it.`,
      { facts: { task: name } },
    );
  }
}

/** Makes a shared task periodic in every app. */
export function sharePeriodic(name: string, call: SharedDefinition['periodic'][number]): void {
  const known = apps.tasks.get(name) as SharedDefinition;
  apps.tasks.set(name, { ...known, periodic: [...known.periodic, call] });
  apps.revision++;
}
