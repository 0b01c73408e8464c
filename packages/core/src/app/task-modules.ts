import { realpathSync } from 'node:fs';
import { dirname, isAbsolute, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ConfigError } from '../errors.ts';
import { compiledName, importModule, locateModule, packageFolder } from '../internal/module-files.ts';
import { knownApps, refuseRivals } from './apps.ts';
import type { Lovage } from './lovage.ts';

/** Patterns that were given together. */
export interface Discovery {
  readonly patterns: readonly string[];
  /** The file that gave them; undefined: the working directory stands for it. */
  readonly from: string | undefined;
  readonly optional: boolean;
}

/** Imports what registers tasks: what was to be discovered, then the settings `imports` and `include`, each once. */
export class TaskModules {
  readonly #app: Lovage;
  #discoveries: Discovery[] = [];
  #hasImports = false;
  #importing: Promise<void> = Promise.resolve();

  constructor(app: Lovage) {
    this.#app = app;
  }

  discover(discovery: Discovery): void {
    for (const pattern of discovery.patterns) {
      if (typeof pattern !== 'string' || pattern === '')
        throw new ConfigError(`autodiscoverTasks() was given ${JSON.stringify(pattern)}. Expected patterns of files.`);
    }
    this.#discoveries.push(discovery);
  }

  /** Rejects with `ConfigError` that names the file. What failed is tried again by the next call. */
  importAll(): Promise<void> {
    const next = this.#importing.then(
      () => this.#importAll(),
      () => this.#importAll(),
    );
    next.catch(() => {}); // whoever asked has the error
    return (this.#importing = next);
  }

  async #importAll(): Promise<void> {
    const before = new Set(knownApps());
    const { imports, include } = this.#app.settings;
    const named = this.#hasImports ? [] : [...imports, ...include];
    for (let next = this.#discoveries[0]; next !== undefined; next = this.#discoveries[0]) {
      const files = await findFiles(next);
      for (const [file, pattern] of files) await importTasks(file, `found by "${pattern}"`);
      // Only now: what fails is found again.
      this.#discoveries.shift();
    }
    for (const name of named) {
      const file = locateModule(name, process.cwd()) ?? this.#besideApp(name);
      if (file === undefined) throw notFound(name);
      await importTasks(file, 'named by the setting imports or include');
    }
    this.#hasImports = true;
    this.#refuseTwins(before);
    refuseRivals();
  }

  #besideApp(name: string): string | undefined {
    const { resolveFrom } = this.#app;
    if (resolveFrom === undefined) return undefined;
    const place = resolveFrom.startsWith('file:') ? dirname(fileURLToPath(resolveFrom)) : resolveFrom;
    return locateModule(name, place);
  }

  /** Tasks that register with a second copy of the app are tasks that this one does not know. */
  #refuseTwins(before: ReadonlySet<Lovage>): void {
    const { name } = this.#app;
    const twin = knownApps().find((other) => other !== this.#app && other.name === name && !before.has(other));
    if (twin === undefined) return;
    throw new ConfigError(
      `A second app "${name}" was made while the tasks of the first were imported: the module that makes it was loaded twice, once as TypeScript and once compiled, or once by Node and once by a loader because a task file has TypeScript that Node cannot run by itself (an enum, a namespace). Expected task files to load the app as the program does.`,
    );
  }
}

function notFound(name: string): Error {
  const asPath = /^[\w]+(?:\.[\w]+)+$/.test(name)
    ? ` Python's "${name}" is "./${name.replaceAll('.', '/')}" here.`
    : '';
  return new ConfigError(
    `No module "${name}" of the settings imports and include was found from ${process.cwd()}. Expected a file, with or without its extension, or a package.${asPath}`,
  );
}

async function importTasks(file: string, why: string): Promise<void> {
  try {
    await importModule(file);
  } catch (cause) {
    const isUnknown = (cause as NodeJS.ErrnoException | undefined)?.code === 'ERR_UNKNOWN_FILE_EXTENSION';
    const hint = isUnknown
      ? ' This Node does not load TypeScript: start with the lovage command or a loader such as tsx, or compile it first.'
      : '';
    throw new ConfigError(
      `The task module ${file}, ${why}, could not be loaded: ${cause instanceof Error ? (cause.stack ?? cause.message) : String(cause)}${hint}`,
      { cause, facts: { file } },
    );
  }
}

/** The files, each with the pattern that found it, in an order that is the same everywhere. */
async function findFiles({ patterns, from, optional }: Discovery): Promise<ReadonlyMap<string, string>> {
  const { glob, escapePath } = await import('tinyglobby');
  const root = (from === undefined ? undefined : packageFolder(from)) ?? process.cwd();
  const rooted = patterns.map((given) => {
    const isNegative = given.startsWith('!');
    const pattern = isNegative ? given.slice(1) : given;
    const place =
      /^\.\.?\//.test(pattern) && from !== undefined ? escapePath(posix(relative(root, dirname(from)))) : '';
    const absolute = isAbsolute(pattern) ? posix(relative(root, pattern)) : joinPattern(place, pattern);
    return { given, isNegative, variants: variantsOf(absolute, from, root) };
  });
  const found = new Map<string, string>();
  for (const { given, isNegative, variants } of rooted) {
    if (isNegative) continue;
    let files: readonly string[] = [];
    for (let index = 0; index < variants.length && files.length === 0; index++) {
      const ignore = rooted.flatMap((other) => (other.isNegative ? other.variants : []));
      files = await glob(variants[index] as string, {
        cwd: root,
        absolute: true,
        expandDirectories: false,
        ignore: ['**/node_modules/**', '**/*.d.{ts,mts,cts}', ...ignore],
      });
    }
    if (files.length === 0 && !optional) {
      throw new ConfigError(
        `No file of tasks matches "${given}". Looked for ${variants.map((variant) => `"${variant}"`).join(', then ')} in ${root}.`,
      );
    }
    for (const file of files.map((name) => realpathSync(name)).sort()) if (!found.has(file)) found.set(file, given);
  }
  return found;
}

function posix(path: string): string {
  return sep === '/' ? path : path.replaceAll(sep, '/');
}

function joinPattern(place: string, pattern: string): string {
  let folders = place === '' ? [] : place.split('/');
  let rest = pattern;
  for (let match = /^(\.\.?)\/+/.exec(rest); match !== null; match = /^(\.\.?)\/+/.exec(rest)) {
    rest = rest.slice(match[0].length);
    if (match[1] === '..')
      folders = folders.at(-1) === undefined || folders.at(-1) === '..' ? [...folders, '..'] : folders.slice(0, -1);
  }
  return [...folders, rest].join('/');
}

/**
 * What a pattern may mean, in the order in which it is tried. The same line of code runs as `src/app.ts` and, compiled,
 * as `dist/app.js`, where `src/**\/tasks.ts` has become `dist/**\/tasks.js`, or `dist/src/**\/tasks.js`.
 */
function variantsOf(pattern: string, from: string | undefined, root: string): readonly string[] {
  if (from === undefined || compiledName(from) !== undefined) return [pattern];
  const compiled = compiledName(pattern);
  if (compiled === undefined) return [pattern];
  const [output, ...deeper] = posix(relative(root, from)).split('/');
  const [source, ...rest] = compiled.split('/');
  const isOutside = deeper.length > 0 && source !== output && output !== '..' && rest.length > 0;
  const moved = isOutside ? [`${output}/${compiled}`, `${output}/${rest.join('/')}`] : [];
  return [...moved, compiled, pattern];
}
