import type { Lovage } from '@lovage/core';
import { loadProject, type Project } from './load-app.ts';

/** The app in a child of the worker's pool, made as the command makes its own. */
export async function loadChildApp(project: Project): Promise<Lovage> {
  const loaded = await loadProject(project);
  if (loaded === undefined) throw new Error(`There is no app in ${project.workdir} any more.`);
  return loaded.app;
}
