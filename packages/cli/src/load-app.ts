import { existsSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { extname, isAbsolute, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { pickApp, type Lovage } from '@lovage/core';
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
  const app = pick(module, exportName, reference);
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

function pick(module: Record<string, unknown>, exportName: string | undefined, reference: string): Lovage {
  try {
    return pickApp(module, exportName, reference);
  } catch (cause) {
    throw new CommandError((cause as Error).message, EXIT.config, { cause });
  }
}
