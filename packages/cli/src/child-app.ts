import type { Lovage } from '@lovage/core';
import { importTasks, loadApp } from './load-app.ts';

/** What a child of the worker's pool needs to load the app as the command did. Plain values: they cross to the child. */
export interface ChildAppOptions {
  /** As given to `-A`. */
  readonly app: string;
  readonly workdir: string;
  readonly include: readonly string[];
}

/** The app in a child of the worker's pool, made as the command makes its own. */
export async function loadChildApp({ app: reference, workdir, include }: ChildAppOptions): Promise<Lovage> {
  const app = await loadApp(reference, workdir);
  for (const target of include) await importTasks(target, workdir);
  return app;
}
