import { resolve } from 'node:path';
import type { Lovage } from '@lovage/core';
import type { Command } from 'commander';
import { CommandError, EXIT } from './exit-codes.ts';
import { loadProject, type LoadedProject, type Project } from './load-app.ts';
import { createLogger, type LogFormat } from './logging.ts';
import { overrideSetting } from './override-setting.ts';

export { wantsColour } from './colour.ts';

/** Options that stand before the command, as in Celery. Each is read from the environment too. */
export interface GlobalOptions {
  readonly app?: string;
  readonly config?: string;
  readonly broker?: string;
  readonly resultBackend?: string;
  readonly workdir?: string;
  readonly color: boolean;
  readonly quiet?: boolean;
  readonly logFormat?: LogFormat;
}

export function globalOptions(command: Command): GlobalOptions {
  return command.optsWithGlobals<GlobalOptions>();
}

interface OpenOptions {
  /** The command makes no sense without the app's own tasks. */
  readonly needsTasks?: boolean;
  /** More modules of tasks. */
  readonly include?: readonly string[];
}

/**
 * The app of `-A` or of the config file with its tasks, or without either a bare app on `-b` and `--result-backend`:
 * enough for `call`, `result`, `purge`.
 */
export async function openApp(options: GlobalOptions, open: OpenOptions = {}): Promise<Lovage> {
  const workdir = resolve(options.workdir ?? '.');
  // Set before the app is read, as in Celery: they win over its own settings.
  if (options.broker !== undefined) overrideSetting('brokerUrl', options.broker);
  if (options.resultBackend !== undefined) overrideSetting('resultBackend', options.resultBackend);
  if (options.workdir !== undefined) changeFolder(workdir);
  const project = await loadProject(projectOf(options, open.include));
  if (project !== undefined) {
    opened.set(project.app, project);
    return project.app;
  }
  if (open.needsTasks === true) {
    throw new CommandError(
      'Which app? Give its module with -A, for example: lovage -A ./tasks worker, or name it in lovage.config.ts',
      EXIT.usage,
    );
  }
  if (options.broker === undefined && process.env.CELERY_BROKER_URL === undefined) {
    throw new CommandError(
      'Which broker? Give the app with -A ./tasks, or a URL with -b redis://localhost',
      EXIT.usage,
    );
  }
  const { Lovage: App } = await import('@lovage/core');
  // What goes wrong is told once, by the error that ends the command.
  return new App('lovage-command', { logger: createLogger({ level: 'critical', format: 'line', colour: false }) });
}

/** What the command was told of its app. After {@link openApp}, which goes to the folder of `--workdir`. */
export function projectOf({ app, config }: GlobalOptions, include: readonly string[] = []): Project {
  // An empty variable is none.
  return { workdir: process.cwd(), app: app || undefined, config: config || undefined, include };
}

const opened = new WeakMap<Lovage, LoadedProject>();

/** The config file of an app and those of its settings which the app itself does not take. */
export function configOf(app: Lovage): Omit<LoadedProject, 'app'> | undefined {
  return opened.get(app);
}

/** For `--workdir`. */
export function changeFolder(folder: string): void {
  try {
    process.chdir(folder);
  } catch (cause) {
    throw new CommandError(`The folder ${folder} of --workdir cannot be entered.`, EXIT.usage, { cause });
  }
}

/** Prints a value for people, or as one JSON document with `--json`. */
export function print(value: unknown, json: boolean, text: string): void {
  process.stdout.write(json ? `${JSON.stringify(value)}\n` : `${text}\n`);
}
