import { ConfigError } from '../errors.ts';
import { callingFile } from '../internal/calling-file.ts';
import type { SettingsInput } from './settings-table.ts';

/**
 * What `lovage.config.ts` says: settings, and where the app and its tasks are. Old upper-case names of settings
 * (`CELERYD_CONCURRENCY`, `BROKER_URL`) are read as well.
 */
export interface LovageConfig extends SettingsInput {
  /** For the command line: the module that exports the app, as `-A` takes it; its folder is that of the config file. */
  readonly app?: string;
  /** For the command line, where `app` is not given: the name of the app that it makes. Default: the package's. */
  readonly name?: string;
  /** Files that register tasks, as `app.autodiscoverTasks` takes them; relative to the folder of the config file. */
  readonly tasks?: string | readonly string[];
  readonly [old: `CELERY${Uppercase<string>}` | `BROKER_${Uppercase<string>}`]: unknown;
}

/** See {@link configParts}. */
export interface ConfigParts {
  readonly app: string | undefined;
  readonly name: string | undefined;
  readonly tasks: readonly string[];
}

const FILE = Symbol.for('@lovage/config-file');

/**
 * Gives a config its types, for the default export of `lovage.config.ts`. The command line finds that file in the
 * folder in which it is started; an app takes the same object: `new Lovage('shop', config)`.
 *
 * @example
 * export default defineConfig({ broker: 'redis://localhost', app: './src/app.ts', tasks: 'src/**\/tasks.ts' })
 */
export function defineConfig(config: LovageConfig): LovageConfig {
  // Where `tasks` starts from; not a key of its own, since every key is read as a setting.
  Object.defineProperty(config, FILE, { value: callingFile(defineConfig), configurable: true });
  return config;
}

/** The file in which {@link defineConfig} was called for this object. */
export function configFile(config: object): string | undefined {
  return (config as { [FILE]?: string })[FILE];
}

/** Keys of a {@link LovageConfig} that are no settings. */
export const CONFIG_PARTS: ReadonlySet<string> = new Set<keyof ConfigParts>(['app', 'name', 'tasks']);

/** What is no setting in a {@link LovageConfig}. Throws `ConfigError` for a wrong part. */
export function configParts(config: object): ConfigParts {
  const { app, name, tasks } = config as Readonly<Record<string, unknown>>;
  for (const [key, value] of Object.entries({ app, name })) {
    if (value !== undefined && (typeof value !== 'string' || value === ''))
      throw new ConfigError(`A config has a wrong "${key}". Expected a text that is not empty.`);
  }
  const list = typeof tasks === 'string' ? [tasks] : (tasks ?? []);
  if (!Array.isArray(list) || !list.every((pattern) => typeof pattern === 'string' && pattern !== '')) {
    throw new ConfigError(
      'A config has wrong "tasks". Expected a pattern of files, such as "src/**/tasks.ts", or several.',
    );
  }
  return { app: app as string | undefined, name: name as string | undefined, tasks: list as string[] };
}
