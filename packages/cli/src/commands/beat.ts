import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import { ignoreClosedPipes } from '../closed-pipes.ts';
import { globalOptions, openApp } from '../context.ts';
import { addDaemonOptions, daemonize, type DaemonOptions, reportStarted } from '../daemon.ts';
import { loadScheduler } from '../load-scheduler.ts';
import { LOG_LEVELS } from '../logging.ts';
import { secondsAbove0 } from '../option-values.ts';
import { takePidfile } from '../pidfile.ts';
import { logLevel, setUpLogging } from '../set-up-logging.ts';

interface BeatCommandOptions extends DaemonOptions {
  readonly loglevel: string;
  readonly logfile?: string;
  readonly pidfile?: string;
  readonly schedule?: string;
  readonly scheduler?: string;
  readonly maxInterval?: number;
  readonly lease?: number;
}

/** `lovage beat`: sends periodic tasks until a signal says stop. */
export function beatCommand(): Command {
  const command = new Command('beat')
    .description('Send periodic tasks at their times; of several on one schedule one leads')
    .argument('[settings...]', 'settings over all others, NAME=VALUE: beat.max_loop_interval=30')
    .addOption(new Option('-l, --loglevel <level>', LOG_LEVELS.join(', ')).default('warning').argParser(logLevel))
    .option('-f, --logfile <file>', 'write the log to this file')
    .option('--pidfile <file>', 'write the process id to this file; refuse to start when its process runs')
    .option('-s, --schedule <place>', 'where the schedule is kept: a path, which becomes PATH.sqlite, or a URL')
    .option('--max-interval <seconds>', 'between two looks for changes at most (default: 5)', secondsAbove0)
    .option('--lease <seconds>', 'a leader that is silent for so long is replaced (default: 15)', secondsAbove0)
    .option(
      '-S, --scheduler <module>',
      'its default export gives periodic tasks that you keep yourself, in a table for example',
    )
    .addHelpText(
      'after',
      `
Examples:
  lovage -A ./tasks beat -l info
  lovage -A ./tasks beat -s redis://localhost/2     any number of these: one leads, another takes over
  lovage -A ./tasks beat -S ./schedules.ts          asked again at each --max-interval

A worker can run one too: lovage -A ./tasks worker -B`,
    )
    .action(run);
  return addDaemonOptions(command, '--detach');
}

async function run(given: readonly string[], options: BeatCommandOptions, command: Command): Promise<void> {
  const globals = globalOptions(command);
  if (given.length > 0) {
    const { applyCommandLineSettings } = await import('../command-line-settings.ts');
    applyCommandLineSettings(given, 'beat');
  }
  if (await daemonize(options, options.logfile, globals.workdir)) return;
  ignoreClosedPipes();
  const app = await openApp(globals, { needsTasks: true });
  try {
    await app.loadTransports();
    const { beatLogfile, beatPidfile } = app.settings;
    const logger = setUpLogging(app, { level: options.loglevel, logfile: options.logfile ?? beatLogfile }, globals);
    const { Beat } = await import('@lovage/beat');
    const scheduler = await loadScheduler(app, options.scheduler);
    const beat = new Beat(app, {
      logger,
      ...(scheduler === undefined ? {} : { scheduler }),
      ...(options.schedule === undefined ? {} : { schedule: options.schedule }),
      ...(options.maxInterval === undefined ? {} : { maxInterval: options.maxInterval }),
      ...(options.lease === undefined ? {} : { leaseSeconds: options.lease }),
    });
    const pidfile = options.pidfile ?? beatPidfile;
    let removePidfile: (() => void) | undefined;
    const stop = (): void => void beat.stop();
    const signals = ['SIGTERM', 'SIGINT', 'SIGQUIT'] as const;
    for (const signal of signals) process.once(signal, stop);
    try {
      if (pidfile !== undefined) removePidfile = takePidfile(resolve(pidfile));
      reportStarted();
      await beat.start();
      await beat.done;
    } finally {
      for (const signal of signals) process.off(signal, stop);
      removePidfile?.();
    }
  } finally {
    await app.close();
  }
}
