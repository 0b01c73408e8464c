import { ConfigError } from '../errors.ts';
import { isLovageApp, type Lovage } from './lovage.ts';

/**
 * The app among a module's exports: the named one, else `app`, `celery`, the default export, else the only one there is.
 * Throws `ConfigError`. `reference` is how the module was named.
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
  const apps = new Set(Object.values(exported).filter(isLovageApp));
  const [first] = apps;
  if (first !== undefined && apps.size === 1) return first;
  throw new ConfigError(
    apps.size === 0
      ? `"${reference}" exports no Lovage app. Expected: export const app = new Lovage('name', { ... }).`
      : `"${reference}" exports ${apps.size} apps. Pick one with -A ${reference}:name.`,
  );
}
