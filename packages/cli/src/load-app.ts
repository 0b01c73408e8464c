import { basename, extname, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Lovage, pickApp } from '@lovage/core';
import { importModule, locateModule, packageName, useModuleImporter, type ModuleExports } from '@lovage/core/transport';
import type { Jiti } from 'jiti';
import { CommandError, EXIT } from './exit-codes.ts';
import { loadConfig, type LoadedConfig } from './load-config.ts';

const TYPESCRIPT = new Set(['.ts', '.mts', '.cts']);

/** Errors of Node that mean: this file needs a real TypeScript loader. */
const NEEDS_LOADER = new Set([
  'ERR_UNKNOWN_FILE_EXTENSION',
  'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX',
  'ERR_MODULE_NOT_FOUND',
]);

/** Where a command's app comes from. Plain values: they cross to the children of a worker's pool. */
export interface Project {
  readonly workdir: string;
  /** As given to `-A`. */
  readonly app: string | undefined;
  /** As given to `--config`. */
  readonly config: string | undefined;
  /** As given to `--include`: more modules of tasks. */
  readonly include?: readonly string[];
}

/** The app of a project with its tasks. */
export interface LoadedProject {
  readonly app: Lovage;
  /** Settings of the config file that the app itself does not take. */
  readonly settingsOfCommand: readonly string[];
  readonly configFile: string | undefined;
}

useModuleImporter(importAny);

/**
 * The app that `-A` names, else the one that the config file names; where that names none, an app made of the config. The
 * config's settings are under the app's own, and its task files are imported with the app's. undefined when there is
 * neither an app nor a config.
 */
export async function loadProject(project: Project): Promise<LoadedProject | undefined> {
  const { workdir, include = [] } = project;
  const loaded = await loadConfig(workdir, project.config);
  const app = await openProject(project, loaded);
  if (app === undefined) return undefined;
  app.setDefault();
  const settingsOfCommand = loaded === undefined ? [] : app.addDefaults(loaded.config, loaded.file);
  for (const target of include) await importTasks(target, workdir);
  await app.importTasks();
  return { app, settingsOfCommand, configFile: loaded?.file };
}

async function openProject({ app, workdir }: Project, loaded: LoadedConfig | undefined): Promise<Lovage | undefined> {
  if (app !== undefined) return loadApp(app, workdir);
  if (loaded === undefined) return undefined;
  if (loaded.config.app !== undefined) return loadApp(loaded.config.app, loaded.folder);
  const name = loaded.config.name ?? packageName(loaded.folder) ?? basename(loaded.folder);
  return new Lovage(name, { resolveFrom: pathToFileURL(loaded.file).href });
}

/**
 * Imports the app that `-A` names: a file with or without its extension, a folder with an index, or a package;
 * `:name` picks an export. TypeScript needs no build step.
 */
export async function loadApp(reference: string, workdir: string): Promise<Lovage> {
  const { target, exportName } = splitReference(reference);
  const file = locate(target, workdir, '-A');
  const module = await importFile(file);
  const app = pick(module, exportName, reference);
  // Its transports are installed beside it, wherever the command was started.
  app.resolveFrom ??= pathToFileURL(file).href;
  return app;
}

async function importTasks(target: string, workdir: string): Promise<void> {
  await importFile(locate(target, workdir, '--include'));
}

/** Imports a value: the default export of a module, or the one that `:name` picks. `option` is for the error. */
export async function importExport(reference: string, workdir: string, option: string): Promise<unknown> {
  const { target, exportName = 'default' } = splitReference(reference);
  return (await importFile(locate(target, workdir, option)))[exportName];
}

function splitReference(reference: string): { target: string; exportName: string | undefined } {
  const match = /^(.+):([\w$]+)$/.exec(reference);
  return match === null
    ? { target: reference, exportName: undefined }
    : { target: match[1] as string, exportName: match[2] as string };
}

function locate(target: string, workdir: string, option: string): string {
  const file = locateModule(target, resolve(workdir));
  if (file !== undefined) return file;
  throw new CommandError(
    `No module "${target}" was found from ${workdir}. Expected ${option} with a file (./tasks or ./tasks.ts), a folder with an index, or a package name${option === '--include' ? '' : '; add ":name" to pick an export'}.`,
    EXIT.config,
  );
}

let jiti: Promise<Jiti> | undefined;

/** One loader for all files, so that each module is there once. */
function openJiti(): Promise<Jiti> {
  return (jiti ??= import('jiti').then(({ createJiti }) =>
    // The app's @lovage/core must be the one that this worker uses, so it is left to Node's own loader.
    createJiti(import.meta.url, { interopDefault: false, nativeModules: ['@lovage/core'] }),
  ));
}

async function importAny(file: string): Promise<ModuleExports> {
  const isTypeScript = TYPESCRIPT.has(extname(file));
  if (!isTypeScript || Boolean((process.features as { typescript?: unknown }).typescript)) {
    try {
      return (await import(pathToFileURL(file).href)) as ModuleExports;
    } catch (error) {
      if (!isTypeScript || !NEEDS_LOADER.has((error as NodeJS.ErrnoException).code ?? '')) throw error;
    }
  }
  return await (await openJiti()).import<ModuleExports>(file);
}

async function importFile(file: string): Promise<ModuleExports> {
  try {
    return await importModule(file);
  } catch (cause) {
    throw new CommandError(
      `The module ${file} could not be loaded: ${cause instanceof Error ? (cause.stack ?? cause.message) : String(cause)}`,
      EXIT.config,
      { cause },
    );
  }
}

function pick(module: ModuleExports, exportName: string | undefined, reference: string): Lovage {
  try {
    return pickApp(module, exportName, reference);
  } catch (cause) {
    throw new CommandError((cause as Error).message, EXIT.config, { cause });
  }
}
