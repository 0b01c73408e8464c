import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { CommandError, EXIT } from '../exit-codes.ts';
import type { Manifest } from './files.ts';

/** What became of a file. */
export type Outcome = 'written' | 'changed' | 'kept' | 'same';

/** What to do with a file that is there and says something else. */
export type MayOverwrite = (path: string) => boolean | Promise<boolean>;

/** Writes a file; one that is there is overwritten only if `mayOverwrite` says so. */
export async function writeProjectFile(
  folder: string,
  path: string,
  text: string,
  mayOverwrite: MayOverwrite,
): Promise<Outcome> {
  const file = join(folder, path);
  if (!existsSync(file)) {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
    return 'written';
  }
  const found = readFileSync(file, 'utf8');
  if (found === text) return 'same';
  if (path === '.gitignore') return addLines(file, found, text);
  if (!(await mayOverwrite(path))) return 'kept';
  writeFileSync(file, text);
  return 'changed';
}

function addLines(file: string, found: string, text: string): Outcome {
  const has = new Set(found.split(/\r?\n/).map((line) => line.trim()));
  const missing = text.split('\n').filter((line) => line !== '' && !has.has(line));
  if (missing.every((line) => line.startsWith('#'))) return 'same';
  writeFileSync(file, `${found}${found === '' || found.endsWith('\n') ? '' : '\n'}${missing.join('\n')}\n`);
  return 'changed';
}

/** Makes package.json, or adds to the one that is there what it lacks: nothing in it is replaced. */
export function writeManifest(
  folder: string,
  name: string,
  parts: Manifest,
): { outcome: Outcome; kept: readonly string[] } {
  const file = join(folder, 'package.json');
  if (!existsSync(file)) {
    writeFileSync(file, toJson({ name, version: '0.1.0', private: true, type: 'module', ...parts }));
    return { outcome: 'written', kept: [] };
  }
  const text = readFileSync(file, 'utf8');
  const found = readManifest(file, text);
  const kept: string[] = [];
  const merged = { ...found };
  for (const [part, wanted] of Object.entries(parts) as [keyof Manifest, Readonly<Record<string, string>>][]) {
    const there = (found[part] ?? {}) as Readonly<Record<string, string>>;
    if (part === 'scripts')
      kept.push(...Object.keys(wanted).filter((key) => there[key] !== undefined && there[key] !== wanted[key]));
    // A package that is a dependency already is not made one of development.
    const other = (part === 'devDependencies' ? found['dependencies'] : {}) as
      | Readonly<Record<string, string>>
      | undefined;
    const missing = Object.entries(wanted).filter(([key]) => there[key] === undefined && other?.[key] === undefined);
    if (missing.length > 0) merged[part] = { ...there, ...Object.fromEntries(missing) };
  }
  const next = toJson(merged, /^([ \t]+)/m.exec(text)?.[1]);
  if (next === text) return { outcome: 'same', kept };
  writeFileSync(file, next);
  return { outcome: 'changed', kept };
}

function readManifest(file: string, text: string): Record<string, unknown> {
  try {
    const found: unknown = JSON.parse(text);
    if (typeof found === 'object' && found !== null && !Array.isArray(found)) return found as Record<string, unknown>;
  } catch {
    // told below
  }
  throw new CommandError(`${file} is no JSON object. Mend or remove it; nothing was written.`, EXIT.failed);
}

function toJson(value: object, indent = '  '): string {
  return `${JSON.stringify(value, undefined, indent)}\n`;
}
