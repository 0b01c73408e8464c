import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The packages of Lovage that a program in this place can load, with their versions. `from`: a folder or a `file:` URL. */
export function installedPackages(from: string): Readonly<Record<string, string>> {
  const found = new Map<string, string>();
  for (let folder = from.startsWith('file:') ? dirname(fileURLToPath(from)) : from; ; folder = dirname(folder)) {
    for (const name of namesIn(join(folder, 'node_modules/@lovage'))) {
      const version = versionOf(join(folder, 'node_modules/@lovage', name, 'package.json'));
      // The nearest is the one that is loaded.
      if (version !== undefined && !found.has(name)) found.set(name, version);
    }
    if (folder === dirname(folder)) break;
  }
  return Object.fromEntries(
    [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, version]) => [`@lovage/${name}`, version]),
  );
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch {
    // Most folders have none.
    return [];
  }
}

function versionOf(manifest: string): string | undefined {
  try {
    const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version?: unknown };
    return typeof version === 'string' ? version : undefined;
  } catch {
    // A folder of something else.
    return undefined;
  }
}
