import { dirname } from 'node:path';
import { ConfigError } from '../errors.ts';
import { importModule, locateModule, packageFolder } from '../internal/module-files.ts';

/** Settings that a module holds. */
export interface ConfigModule {
  readonly file: string;
  /** Its exports, or the one that `:name` picked. */
  readonly values: object;
}

/**
 * Imports the module of settings that a text names: `./settings.ts`, from the folder of the file `from`; `settings.ts`,
 * from the folder of that file's package, else the package of that name; `./settings.ts:development`, one export.
 * Without `from` both begin at the working directory. Rejects with `ConfigError`.
 */
export async function importConfig(reference: string, from: string | undefined): Promise<ConfigModule> {
  const [, target = reference, name] = /^(.+):([\w$]+)$/.exec(reference) ?? [];
  const isBeside = /^\.\.?\//.test(target);
  const folder = (from === undefined ? undefined : isBeside ? dirname(from) : packageFolder(from)) ?? process.cwd();
  const file = locateModule(target, folder);
  if (file === undefined) {
    throw new ConfigError(
      `No module of settings "${target}" was found from ${folder}. Expected a file, with or without its extension, or a package; add ":name" to pick an export.`,
    );
  }
  const values = await importSettings(file);
  if (name === undefined) return { file, values };
  const picked = values[name];
  if (typeof picked !== 'object' || picked === null) {
    throw new ConfigError(
      `"${name}" of ${file} holds no settings. It exports: ${Object.keys(values).join(', ') || 'nothing'}.`,
    );
  }
  return { file, values: picked };
}

async function importSettings(file: string): Promise<Readonly<Record<string, unknown>>> {
  try {
    return await importModule(file);
  } catch (cause) {
    throw new ConfigError(
      `The module of settings ${file} could not be loaded: ${cause instanceof Error ? (cause.stack ?? cause.message) : String(cause)}`,
      { cause, facts: { file } },
    );
  }
}
