import { existsSync, mkdirSync, statSync } from 'node:fs';
import { basename, relative, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { wantsColour } from '../colour.ts';
import { globalOptions } from '../context.ts';
import { CommandError, EXIT } from '../exit-codes.ts';
import { BROKERS, findBroker, type BrokerChoice } from '../init/brokers.ts';
import { manifestParts, projectFiles } from '../init/files.ts';
import { PACKAGE_MANAGERS, type PackageManager } from '../init/package-manager.ts';
import { type MayOverwrite, type Outcome, writeManifest, writeProjectFile } from '../init/write.ts';
import { packageVersion } from '../version.ts';

interface InitOptions {
  readonly yes?: boolean;
  readonly force?: boolean;
  readonly install: boolean;
  readonly packageManager?: PackageManager;
  readonly json?: boolean;
}

/** `lovage init [FOLDER]`: a new project, or tasks for one that is there. */
export function initCommand(): Command {
  return new Command('init')
    .description('Make a new project, or give tasks to one that is there: config, tasks, scripts, packages')
    .argument('[folder]', 'where; it is made if it is not there (default: this one)')
    .option('-y, --yes', 'ask nothing: SQLite, unless --broker says another')
    .option('--force', 'overwrite files that are there')
    .option('--no-install', 'write files only')
    .addOption(
      new Option('--package-manager <name>', 'default: the one of the folder, else the one that runs this').choices(
        PACKAGE_MANAGERS,
      ),
    )
    .option('-j, --json', 'print what was done as JSON; asks nothing, as --yes')
    .addHelpText(
      'after',
      `
--broker takes a URL, or one of: ${BROKERS.map(({ name }) => name).join(', ')}.
Only the packages of that broker are installed. Files that are there are kept, unless you say otherwise; package.json and
.gitignore get what they lack.

Examples:
  npx lovage init                                  in this folder; asks which broker
  lovage init shop --yes                           in the folder shop, on SQLite: no server is needed
  lovage init shop --broker redis
  lovage init --broker amqp://ada@queue.example.org --package-manager pnpm`,
    )
    .action(run);
}

async function run(given: string | undefined, options: InitOptions, command: Command): Promise<void> {
  const globals = globalOptions(command);
  const folder = resolve(globals.workdir ?? '.', given ?? '.');
  if (existsSync(folder) && !statSync(folder).isDirectory())
    throw new CommandError(`${folder} is a file. Expected a folder.`, EXIT.usage);
  const asks =
    options.yes !== true && options.json !== true && process.stdin.isTTY === true && process.stdout.isTTY === true;
  const choice = await chooseBroker(globals.broker, asks, options);
  const { commandLine, findPackageManager, install } = await import('../init/package-manager.ts');
  const { maskUrl } = await import('@lovage/core/transport');
  mkdirSync(folder, { recursive: true });
  const manager = options.packageManager ?? (await findPackageManager(folder));
  const plan = {
    name: projectName(folder),
    choice,
    resultBackend: globals.resultBackend,
    version: packageVersion(),
    exec: (...words: readonly string[]) => commandLine(manager, 'execute-local', words),
    runScript: (name: string) => commandLine(manager, 'run', [name]),
  };
  const mayOverwrite = overwriting(options, asks);
  const files: Record<string, Outcome> = {};
  const { outcome, kept } = writeManifest(folder, plan.name, manifestParts(plan));
  files['package.json'] = outcome;
  for (const [path, text] of projectFiles(plan)) files[path] = await writeProjectFile(folder, path, text, mayOverwrite);
  const say = options.json === true ? () => undefined : (text: string) => process.stdout.write(`${text}\n`);
  for (const [path, what] of Object.entries(files)) say(`${WORDS[what]}  ${path}`);
  if (kept.length > 0) say(`Scripts of package.json that were there are kept: ${kept.join(', ')}`);
  if (Object.values(files).includes('kept')) say('What is kept may name another broker; --force overwrites it.');
  const step = commandLine(manager, 'install', []);
  if (options.install) {
    say(`\nInstalling: ${step} ...`);
    await install(manager, folder);
  }
  const next = [
    ...(folder === process.cwd() ? [] : [`cd ${relative(process.cwd(), folder)}`]),
    ...(choice.server === undefined ? [] : [choice.server]),
    ...(options.install ? [] : [step]),
    plan.runScript('dev'),
    plan.exec('lovage', 'call', 'tasks.add', '-a', "'[2, 2]'", '--wait'),
  ];
  if (options.json === true) {
    process.stdout.write(
      `${JSON.stringify({ folder, broker: maskUrl(choice.broker), packageManager: manager, files, next })}\n`,
    );
    return;
  }
  const cyan = wantsColour(globals, process.stdout)
    ? (text: string) => `\u001B[36m${text}\u001B[39m`
    : (text: string) => text;
  const last = next.pop() as string;
  say(
    `\nReady. Next:\n${next.map((line) => `  ${cyan(line)}`).join('\n')}\nand in another terminal, for the answer 4:\n  ${cyan(last)}`,
  );
  if (/:\/\/[^/@]*:[^/@]+@/.test(globals.broker ?? ''))
    say('\nlovage.config.ts has the password of the broker: keep it out of version control, or set LOVAGE_BROKER_URL.');
}

const WORDS: Readonly<Record<Outcome, string>> = {
  written: '  written',
  changed: '  changed',
  kept: '     kept',
  same: 'unchanged',
};

async function chooseBroker(
  given: string | undefined,
  asks: boolean,
  { yes, json }: InitOptions,
): Promise<BrokerChoice> {
  if (given !== undefined) {
    const found = findBroker(given);
    if (found !== undefined) return found;
    const [{ nearestName }, { maskUrl }] = await Promise.all([
      import('@lovage/core'),
      import('@lovage/core/transport'),
    ]);
    const names = BROKERS.map(({ name }) => name);
    throw new CommandError(
      `"${maskUrl(given)}" is no broker that a project can begin with. Expected one of: ${names.join(', ')}, or a URL.${nearestName(given, names)}`,
      EXIT.usage,
    );
  }
  if (!asks && yes !== true && json !== true) {
    throw new CommandError(
      'Which broker? There is no terminal to ask at: give --broker redis, or --yes for SQLite.',
      EXIT.usage,
    );
  }
  const first = BROKERS[0] as BrokerChoice;
  if (!asks) return first;
  const { select } = await import('@clack/prompts');
  return answered(
    await select({
      message: 'Which broker carries the messages? Changing it later is changing a URL.',
      options: BROKERS.map((choice) => ({ value: choice, label: choice.label, hint: choice.hint })),
      initialValue: first,
    }),
  );
}

function overwriting({ force }: InitOptions, asks: boolean): MayOverwrite {
  if (force === true) return () => true;
  if (!asks) return () => false;
  return async (path) => {
    const { confirm } = await import('@clack/prompts');
    return answered(await confirm({ message: `${path} is there. Overwrite it?`, initialValue: false }));
  };
}

/** Ctrl+C at a question ends the command. */
function answered<T>(answer: T): Exclude<T, symbol> {
  if (typeof answer === 'symbol') throw new CommandError('Ended by you.', EXIT.failed);
  // What is no symbol is an answer; the compiler does not narrow a type parameter.
  return answer as Exclude<T, symbol>;
}

/** A name that npm takes, from that of the folder. */
function projectName(folder: string): string {
  const name = basename(folder)
    .toLowerCase()
    .replace(/[^a-z\d._~-]+/g, '-')
    .replace(/^[._-]+|-+$/g, '');
  return name === '' ? 'tasks' : name;
}
