import { ConfigError } from '../errors.ts';
import { isLovageApp, type Lovage } from './lovage.ts';
import { Task } from './task.ts';

/**
 * The app among a module's exports: the named one, else `app`, `celery`, the default export, else the only one there is,
 * else that of the exported tasks: a module of tasks names the app that it imports. Throws `ConfigError`. `reference` is how the module was named.
 */
export function pickApp(
  module: Readonly<Record<string, unknown>>,
  exportName: string | undefined,
  reference: string,
): Lovage {
  // A CommonJS module has its exports under `default`.
  const exported: Record<string, unknown> = {
    ...(typeof module['default'] === 'object' ? (module['default'] as object) : {}),
    ...module,
  };
  if (exportName !== undefined) {
    const value = exported[exportName];
    if (isLovageApp(value)) return value;
    throw new ConfigError(
      `"${exportName}" of "${reference}" is not a Lovage app. It exports: ${Object.keys(exported).join(', ') || 'nothing'}.`,
    );
  }
  const preferred = [exported['app'], exported['celery'], exported['default']].find(isLovageApp);
  if (preferred !== undefined) return preferred;
  const values = Object.values(exported);
  const own = new Set(values.filter(isLovageApp));
  const apps = own.size > 0 ? own : new Set(values.filter(isOwnTask).map(({ app }) => app));
  const [first] = apps;
  if (first !== undefined && apps.size === 1) return first;
  throw new ConfigError(
    apps.size === 0
      ? `"${reference}" exports no Lovage app and none of an app's tasks. Expected: export const app = new Lovage('name', { ... }), or a task of app.task().`
      : own.size === 0
        ? `"${reference}" exports tasks of ${apps.size} apps and no app. Export the app that is meant.`
        : `"${reference}" exports ${own.size} apps. Pick one with -A ${reference}:name.`,
  );
}

/** A shared task, which stands for that of whatever app is the current one, has no app of its own. */
function isOwnTask(value: unknown): value is Task {
  return value instanceof Task && Object.hasOwn(value, 'app');
}
