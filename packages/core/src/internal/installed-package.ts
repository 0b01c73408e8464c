import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

/**
 * Imports a package as the application sees it: looked up from the folder or file `from` (default: the working
 * directory), then from beside this package. undefined when it is installed in neither place; what fails while it
 * loads is thrown.
 */
export async function importInstalled(
  name: string,
  from: string | undefined,
): Promise<Readonly<Record<string, unknown>> | undefined> {
  const path = find(name, from);
  return path === undefined ? undefined : ((await import(pathToFileURL(path).href)) as Record<string, unknown>);
}

function find(name: string, from: string | undefined): string | undefined {
  const base = from?.startsWith('file:') ? from : resolve(from ?? process.cwd(), 'package.json');
  for (const start of [base, import.meta.url]) {
    try {
      return createRequire(start).resolve(name);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
  }
  return undefined;
}

function isNotFound(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | null)?.code === 'MODULE_NOT_FOUND';
}
