import { existsSync, readFileSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

/** What a module may be written in, in the order in which a name without extension is tried. */
export const MODULE_EXTENSIONS = ['.ts', '.mts', '.cts', '.js', '.mjs', '.cjs'] as const;

/** Which file is made of which when TypeScript is compiled. */
const COMPILED: ReadonlyMap<string, string> = new Map([
  ['.ts', '.js'],
  ['.tsx', '.js'],
  ['.mts', '.mjs'],
  ['.cts', '.cjs'],
]);

export type ModuleExports = Readonly<Record<string, unknown>>;
export type ModuleImporter = (file: string) => Promise<ModuleExports>;

// One for all installed copies of this package: the command line sets what every copy uses.
const KEY = Symbol.for('@lovage/import-module');
const shared = globalThis as { [KEY]?: ModuleImporter };

/** Imports a file by its path: as Node does, or as {@link useModuleImporter} has said. */
export function importModule(file: string): Promise<ModuleExports> {
  return (shared[KEY] ?? importNatively)(file);
}

/** From now on files are imported by this: a loader that knows TypeScript, for example. */
export function useModuleImporter(importer: ModuleImporter): void {
  shared[KEY] = importer;
}

function importNatively(file: string): Promise<ModuleExports> {
  return import(pathToFileURL(file).href) as Promise<ModuleExports>;
}

/**
 * The file of a module: a path with or without its extension, a folder with an index, what a TypeScript file that is not
 * there was compiled to, or a package that is installed there. undefined when it is none of these.
 */
export function locateModule(target: string, folder: string): string | undefined {
  const path = isAbsolute(target) ? target : resolve(folder, target);
  const found = [
    path,
    ...MODULE_EXTENSIONS.map((extension) => path + extension),
    ...MODULE_EXTENSIONS.map((extension) => join(path, `index${extension}`)),
    compiledName(path),
  ].find((candidate) => candidate !== undefined && isFile(candidate));
  if (found !== undefined) return found;
  try {
    return createRequire(join(folder, 'package.json')).resolve(target);
  } catch {
    return undefined;
  }
}

/** The name of what a TypeScript file, or a pattern of such files, is compiled to; undefined for others. */
export function compiledName(name: string): string | undefined {
  for (const [source, compiled] of COMPILED) {
    if (name.endsWith(source)) return name.slice(0, -source.length) + compiled;
  }
  return undefined;
}

function isFile(path: string): boolean {
  return existsSync(path) && statSync(path).isFile();
}

/**
 * The folder of the package that a file belongs to: that of the nearest `package.json` which is more than the note of a
 * compiler on how its output is to be read (`{ "type": "module" }`).
 */
export function packageFolder(file: string): string | undefined {
  for (let folder = dirname(file); ; folder = dirname(folder)) {
    const manifest = readManifest(folder);
    if (OF_PACKAGES.some((key) => manifest?.[key] !== undefined)) return folder;
    if (folder === dirname(folder)) return undefined;
  }
}

const OF_PACKAGES = ['name', 'private', 'scripts', 'dependencies', 'devDependencies', 'workspaces'] as const;

/** The name in the `package.json` of a folder; undefined without one. */
export function packageName(folder: string): string | undefined {
  const name = readManifest(folder)?.['name'];
  return typeof name === 'string' && name !== '' ? name : undefined;
}

function readManifest(folder: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const manifest: unknown = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
    return typeof manifest === 'object' && manifest !== null ? (manifest as Record<string, unknown>) : undefined;
  } catch {
    // Not there, or not to be read: another folder's business.
    return undefined;
  }
}
