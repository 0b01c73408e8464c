import { constants, copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, extname, join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { globalOptions } from '../context.ts';
import { CommandError, EXIT } from '../exit-codes.ts';
import type { UpgradedSettings } from '../upgrade/upgraded-settings.ts';

interface UpgradeOptions {
  readonly django: boolean;
  readonly check?: boolean;
  readonly output?: string;
  readonly force?: boolean;
  readonly backup: boolean;
  readonly json?: boolean;
}

/** `lovage upgrade settings FILE`: rewrites old settings, Python's too, into `lovage.config.ts`. */
export function upgradeCommand(): Command {
  const group = new Command('upgrade').description('Rewrite what an older version, or Celery, has written');
  group
    .command('settings')
    .description('Rewrite a Python or old-style settings file into lovage.config.ts')
    .argument('<file>', 'celeryconfig.py, settings.py of Django, or a TypeScript or JavaScript module')
    .option('--django', 'only names that begin with CELERY or BROKER are settings', false)
    .option('--check', 'write nothing; exit code 1 when something is left for a person')
    .option('-o, --output <file>', 'write to this file; "-": to standard output (default: lovage.config.ts beside it)')
    .option('--force', 'write over a file that is there; it is kept as FILE.orig, FILE.orig.1 ...')
    .option('--no-backup', 'with --force: do not keep it')
    .addOption(new Option('--compat', "Celery's switch for names that Celery 3 reads too").hideHelp())
    .option('-j, --json', 'print JSON')
    .addHelpText(
      'after',
      `
The old file is parsed, never run, and stays as it is. Literals, names defined in it, environment variables, timedelta,
crontab, solar, Queue, Exchange and Broadcast are understood; anything else becomes a TODO comment with the line it
comes from, and a setting that changes nothing here a comment with the reason.

Examples:
  lovage upgrade settings celeryconfig.py
  lovage upgrade settings shop/settings.py --django -o lovage.config.ts
  lovage upgrade settings celeryconfig.py --check --json`,
    )
    .action(run);
  return group;
}

async function run(given: string, options: UpgradeOptions, command: Command): Promise<void> {
  const { workdir = '.' } = globalOptions(command);
  const file = resolve(workdir, given);
  const source = read(file);
  const settings = await upgraded(file, source, options.django);
  if (settings.settings.length === 0 && settings.todos.length === 0) {
    throw new CommandError(`${given} has no settings of Celery or Lovage.`, EXIT.failed);
  }
  const { renderConfig } = await import('../upgrade/config-file.ts');
  const text = renderConfig(settings, basename(file));
  const { check = false, json = false } = options;
  const output = options.output ?? join(dirname(file), 'lovage.config.ts');
  if (!check && output === '-') {
    process.stdout.write(text);
    return;
  }
  const target = resolve(workdir, output);
  const backup = check ? undefined : write(target, text, options);
  await show(settings, { json, check, target, backup });
  if (check && settings.todos.length > 0) process.exitCode = EXIT.failed;
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    throw new CommandError(`The file ${file} cannot be read: ${(cause as Error).message}`, EXIT.failed, { cause });
  }
}

async function upgraded(file: string, source: string, django: boolean): Promise<UpgradedSettings> {
  if (extname(file) === '.py') {
    const { readPythonSettings } = await import('../upgrade/python-settings.ts');
    return readPythonSettings(source, { django });
  }
  if (/^\.[cm]?[jt]s$/.test(extname(file))) {
    const [{ refuseSyntaxErrors }, { readScriptSettings }] = await Promise.all([
      import('../upgrade/script-syntax.ts'),
      import('../upgrade/script-settings.ts'),
    ]);
    await refuseSyntaxErrors(source, file);
    return readScriptSettings(source);
  }
  throw new CommandError(`${file} is no settings file that is known. Expected .py, .ts or .js.`, EXIT.usage);
}

/** Gives the file in which what was there is kept. */
function write(target: string, text: string, { force = false, backup }: UpgradeOptions): string | undefined {
  const isThere = existsSync(target);
  if (isThere && !force) {
    throw new CommandError(`${target} is there already. Give another file with -o, or --force.`, EXIT.failed);
  }
  const kept = isThere && backup ? freeName(`${target}.orig`) : undefined;
  try {
    if (kept !== undefined) copyFileSync(target, kept, constants.COPYFILE_EXCL);
    mkdirSync(dirname(target), { recursive: true });
    writeFileSync(target, text);
  } catch (cause) {
    throw new CommandError(`${target} cannot be written: ${(cause as Error).message}`, EXIT.failed, { cause });
  }
  return kept;
}

/** What was kept before stays: it may be the only original. */
function freeName(file: string): string {
  let name = file;
  for (let count = 1; existsSync(name); count++) name = `${file}.${count}`;
  return name;
}

interface Shown {
  readonly json: boolean;
  readonly check: boolean;
  readonly target: string;
  readonly backup: string | undefined;
}

async function show(
  { settings, todos, notes }: UpgradedSettings,
  { json, check, target, backup }: Shown,
): Promise<void> {
  const { withoutEffect } = await import('../upgrade/upgraded-settings.ts');
  const idle = settings.filter(({ name }) => withoutEffect(name) !== undefined);
  if (json) {
    const rows = settings.map(({ line, key, name }) => ({
      line,
      from: key,
      to: name,
      effect: withoutEffect(name) === undefined,
    }));
    process.stdout.write(
      `${JSON.stringify({ written: check ? null : target, backup: backup ?? null, settings: rows, todo: todos, notes })}\n`,
    );
    return;
  }
  const lines = [
    ...(backup === undefined ? [] : [`Kept what was there as ${backup}.`]),
    check ? `${settings.length} settings can be rewritten.` : `Wrote ${settings.length} settings to ${target}.`,
    ...idle.map(({ line, key, name }) => `  line ${line}: ${key} changes nothing here: ${withoutEffect(name)}`),
    ...todos.map(({ line, reason }) => `  line ${line}: to do: ${reason}`),
    ...notes.map((note) => `  ${note}`),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}
