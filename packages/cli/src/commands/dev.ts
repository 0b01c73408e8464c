import { styleText } from 'node:util';
import { fileURLToPath } from 'node:url';
import { Command, Option } from 'commander';
import { wantsColour } from '../colour.ts';
import { changeFolder, globalOptions, type GlobalOptions } from '../context.ts';
import { EXIT } from '../exit-codes.ts';
import { LOG_LEVELS } from '../logging.ts';
import { logLevel } from '../set-up-logging.ts';
import { list } from './purge.ts';

interface DevOptions {
  readonly loglevel: string;
  readonly beat: boolean;
  readonly watch: readonly string[];
  readonly poll?: boolean;
}

/** `lovage dev`: worker and beat, started again when a file changes. */
export function devCommand(): Command {
  return new Command('dev')
    .description('Run a worker and a beat, and start them again when a file of the project changes')
    .argument('[worker-options...]', 'options of "lovage worker", after --')
    .addOption(new Option('-l, --loglevel <level>', LOG_LEVELS.join(', ')).default('info').argParser(logLevel))
    .option('--no-beat', 'send no periodic tasks')
    .option('-w, --watch <paths>', 'files and folders to watch besides this one, separated by commas', list, [])
    .option('--poll', 'look at files again and again: for network shares and mounts that tell of no change')
    .addHelpText(
      'after',
      `
What is watched: modules, JSON, YAML and .env below this folder, without node_modules. A changed file sends SIGTERM to the
worker, which ends what it runs first. When the app cannot be loaded, the error is shown and the next change is waited for.

Examples:
  lovage dev                                 the app that lovage.config.ts names
  lovage -A ./tasks dev -l debug
  lovage dev -- -c 4 -P threads -Q mail      with options of lovage worker`,
    )
    .action(run);
}

async function run(workerOptions: readonly string[], options: DevOptions, command: Command): Promise<void> {
  const globals = globalOptions(command);
  if (globals.workdir !== undefined) changeFolder(globals.workdir);
  const [{ Runner }, { watch }] = await Promise.all([import('../dev/runner.ts'), import('../dev/watch.ts')]);
  const isColoured = wantsColour(globals, process.stderr);
  const say = (text: string): void => {
    if (globals.quiet !== true)
      process.stderr.write(`${isColoured ? styleText(['magenta', 'bold'], 'dev') : 'dev'} ${text}\n`);
  };
  let giveUp: () => void = () => undefined;
  const over = new Promise<void>((resolve) => {
    giveUp = resolve;
  });
  const runner = new Runner({
    args: workerArgs(globals, options, workerOptions),
    onStart: (isRestart) => {
      if (!isRestart) say(`starting; watching ${process.cwd()}`);
    },
    onEnd: (code, signal) => {
      // No app was named, or an option is wrong: no change of a file helps.
      if (code === EXIT.usage) {
        process.exitCode = EXIT.usage;
        return giveUp();
      }
      say(`the worker ended with ${signal ?? code}; waiting for a change`);
    },
  });
  const watcher = await watch({
    folder: process.cwd(),
    more: options.watch,
    poll: options.poll === true,
    onChange: (files) => {
      const [first = '', ...others] = files;
      say(`${first}${others.length === 0 ? '' : ` and ${others.length} more`} changed; starting again`);
      runner.restart();
    },
  });
  // Celery's ladder: end what runs, stop at once, kill.
  const ladder = ['SIGTERM', 'SIGQUIT', 'SIGKILL'] as const;
  let asked = 0;
  const stop = (): void => {
    const signal = ladder[Math.min(asked++, ladder.length - 1)] as NodeJS.Signals;
    if (signal === 'SIGTERM') say('stopping; once more to stop at once');
    void runner.stop(signal).then(giveUp);
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGQUIT', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, stop);
  try {
    runner.restart();
    await over;
  } finally {
    for (const signal of signals) process.off(signal, stop);
    await watcher.close();
  }
}

function workerArgs(
  { app, config, broker, resultBackend, color, logFormat }: GlobalOptions,
  { loglevel, beat }: DevOptions,
  workerOptions: readonly string[],
): readonly string[] {
  const given = { '--app': app, '--config': config, '--broker': broker, '--result-backend': resultBackend };
  return [
    fileURLToPath(new URL('../bin.js', import.meta.url)),
    ...Object.entries(given).flatMap(([name, value]) => (value === undefined ? [] : [name, value])),
    ...(color ? [] : ['--no-color']),
    '--log-format',
    logFormat ?? 'pretty',
    'worker',
    '--loglevel',
    loglevel,
    ...(beat ? ['--beat'] : []),
    '--stop-with-parent',
    ...workerOptions,
  ];
}
