import type { Lovage } from './lovage.ts';

// One for all installed copies of this package, so that a library's copy finds the application's app.
const KEY = Symbol.for('@lovage/apps');
const shared = globalThis as { [KEY]?: WeakRef<Lovage>[] };
/** In the order in which they were made. An app that nobody uses any more is none of them. */
const made = (shared[KEY] ??= []);

/** Every app calls it when it is made. */
export function noteApp(app: Lovage): void {
  const gone = made.findIndex((other) => other.deref() === undefined);
  if (gone >= 0) made.splice(gone, 1);
  made.push(new WeakRef(app));
}

/** The apps of this process, in the order in which they were made. */
export function knownApps(): readonly Lovage[] {
  return made.flatMap((app) => app.deref() ?? []);
}
