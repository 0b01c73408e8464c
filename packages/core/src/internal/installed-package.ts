import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

/**
 * Imports a package as the application sees it: looked up from the folder or file URL `from` (default: the working
 * directory), then from `fallbacks` (default: the program's main file, then this package). undefined when it is
 * installed in none of these places; what fails while it loads is thrown.
 */
export async function importInstalled(
  name: string,
  from: string = process.cwd(),
  fallbacks: readonly string[] = ownPlaces(),
): Promise<Readonly<Record<string, unknown>> | undefined> {
  const path = find(name, [from.startsWith('file:') ? from : resolve(from, 'package.json'), ...fallbacks]);
  return path === undefined ? undefined : ((await import(pathToFileURL(path).href)) as Record<string, unknown>);
}

function ownPlaces(): readonly string[] {
  const main = process.argv[1];
  return main === undefined ? [import.meta.url] : [main, import.meta.url];
}

function find(name: string, files: readonly string[]): string | undefined {
  for (const file of files) {
    try {
      return createRequire(file).resolve(name);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
  return undefined;
}

function isNotFound(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | null)?.code === 'MODULE_NOT_FOUND';
}
