import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { LovageConfig } from '@lovage/core';
import { importModule, MODULE_EXTENSIONS } from '@lovage/core/transport';
import { CommandError, EXIT } from './exit-codes.ts';

const NAME = 'lovage.config';

/** A config file and what it says. */
export interface LoadedConfig {
  readonly file: string;
  readonly folder: string;
  readonly config: LovageConfig;
}

/**
 * The config that `--config` names, else `lovage.config.ts` (`.mts .cts .js .mjs .cjs`) of the folder. undefined when there
 * is none and none was asked for.
 */
export async function loadConfig(folder: string, given: string | undefined): Promise<LoadedConfig | undefined> {
  const file = given === undefined ? findConfig(folder) : resolve(folder, given);
  if (file === undefined) return undefined;
  if (!existsSync(file)) {
    throw new CommandError(`The config file ${file} of --config is not there.`, EXIT.config);
  }
  const exported = await importConfig(file);
  const config = exported['default'] ?? exported;
  if (typeof config !== 'object' || config === null || Array.isArray(config)) {
    throw new CommandError(
      `${file} exports ${typeof config === 'object' ? 'no object' : `a ${typeof config}`} as its default. Expected an object of settings: export default defineConfig({ ... }).`,
      EXIT.config,
    );
  }
  // What it says is checked by those who read it.
  return { file, folder: dirname(file), config: config as LovageConfig };
}

function findConfig(folder: string): string | undefined {
  return MODULE_EXTENSIONS.map((extension) => join(folder, NAME + extension)).find((file) => existsSync(file));
}

async function importConfig(file: string): Promise<Readonly<Record<string, unknown>>> {
  try {
    return await importModule(file);
  } catch (cause) {
    throw new CommandError(
      `The config file ${file} could not be loaded: ${cause instanceof Error ? (cause.stack ?? cause.message) : String(cause)}`,
      EXIT.config,
      { cause },
    );
  }
}
