import { existsSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { extname, isAbsolute, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { isLovageApp, type Lovage } from '@lovage/core';
import { CommandError, EXIT } from './exit-codes.ts';

const EXTENSIONS = ['.ts', '.mts', '.cts', '.js', '.mjs', '.cjs'];
const TYPESCRIPT = new Set(['.ts', '.mts', '.cts']);

/** Errors of Node that mean: this file needs a real TypeScript loader. */
const NEEDS_LOADER = new Set([
  'ERR_UNKNOWN_FILE_EXTENSION',
  'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX',
  'ERR_MODULE_NOT_FOUND',
]);

/**
 * Imports the app that `-A` names: a file with or without its extension, a folder with an index, or a package;
 * `:name` picks an export. TypeScript needs no build step.
 */
export async function loadApp(reference: string, workdir: string): Promise<Lovage> {
  const { target, exportName } = splitReference(reference);
  const file = locate(target, workdir);
  const module = await importModule(file);
  const app = pickApp(module, exportName, reference);
  // Its transports are installed beside it, wherever the command was started.
  app.resolveFrom ??= pathToFileURL(file).href;
  return app;
}

/** Imports another module of tasks (`--include`). */
export async function importTasks(target: string, workdir: string): Promise<void> {
  await importModule(locate(target, workdir));
}

function splitReference(reference: string): { target: string; exportName: string | undefined } {
  const match = /^(.+):([\w$]+)$/.exec(reference);
  return match === null
    ? { target: reference, exportName: undefined }
    : { target: match[1] as string, exportName: match[2] as string };
}

function locate(target: string, workdir: string): string {
  const path = isAbsolute(target) ? target : resolve(workdir, target);
  const candidates = [
    path,
    ...EXTENSIONS.map((extension) => path + extension),
    ...EXTENSIONS.map((extension) => join(path, `index${extension}`)),
  ];
  const found = candidates.find((candidate) => existsSync(candidate) && statSync(candidate).isFile());
  if (found !== undefined) return found;
  try {
    return createRequire(join(workdir, 'package.json')).resolve(target);
  } catch (cause) {
    throw new CommandError(
      `No module "${target}" was found from ${workdir}. Expected -A with a file (./tasks or ./tasks.ts), a folder with an index, or a package name; add ":name" to pick an export.`,
      EXIT.config,
      { cause },
    );
  }
}

async function importModule(file: string): Promise<Record<string, unknown>> {
  const native = !TYPESCRIPT.has(extname(file)) || Boolean((process.features as { typescript?: unknown }).typescript);
  try {
    if (native) {
      try {
        return (await import(pathToFileURL(file).href)) as Record<string, unknown>;
      } catch (error) {
        if (!TYPESCRIPT.has(extname(file)) || !NEEDS_LOADER.has((error as NodeJS.ErrnoException).code ?? ''))
          throw error;
      }
    }
    const { createJiti } = await import('jiti');
    // The app's @lovage/core must be the one that this worker uses, so it is left to Node's own loader.
    const jiti = createJiti(pathToFileURL(file).href, { interopDefault: false, nativeModules: ['@lovage/core'] });
    return await jiti.import<Record<string, unknown>>(file);
  } catch (cause) {
    throw new CommandError(
      `The module ${file} could not be loaded: ${cause instanceof Error ? (cause.stack ?? cause.message) : String(cause)}`,
      EXIT.config,
      { cause },
    );
  }
}

function pickApp(module: Record<string, unknown>, exportName: string | undefined, reference: string): Lovage {
  // A CommonJS module has its exports under `default`.
  const exported = { ...(typeof module.default === 'object' ? (module.default as object) : {}), ...module } as Record<
    string,
    unknown
  >;
  if (exportName !== undefined) {
    const value = exported[exportName];
    if (isLovageApp(value)) return value;
    throw new CommandError(
      `"${exportName}" of "${reference}" is not a Lovage app. It exports: ${Object.keys(exported).join(', ') || 'nothing'}.`,
      EXIT.config,
    );
  }
  const apps = new Set(
    [exported.app, exported.celery, exported.default, ...Object.values(exported)].filter(isLovageApp),
  );
  const [first] = apps;
  const preferred = [exported.app, exported.celery, exported.default].find(isLovageApp);
  if (preferred !== undefined) return preferred;
  if (first !== undefined && apps.size === 1) return first;
  throw new CommandError(
    apps.size === 0
      ? `"${reference}" exports no Lovage app. Expected: export const app = new Lovage('name', { ... }).`
      : `"${reference}" exports ${apps.size} apps. Pick one with -A ${reference}:name.`,
    EXIT.config,
  );
}
