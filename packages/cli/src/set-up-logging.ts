import { silentLogger, type Logger, type Lovage } from '@lovage/core';
import { configOf, wantsColour, type GlobalOptions } from './context.ts';
import { CommandError, EXIT } from './exit-codes.ts';
import { createLogger, LOG_LEVELS } from './logging.ts';

/** A handler of the signal `setupLogging` takes the place of the command's own log. */
export function setUpLogging(
  app: Lovage,
  { level, logfile }: { readonly level: string; readonly logfile: string | undefined },
  globals: GlobalOptions,
): Logger {
  if (app.signals.has('setupLogging')) {
    app.signals.emit('setupLogging', () => ({ app, level, logfile }));
    return app.logger;
  }
  const isTerminal = process.stderr.isTTY === true;
  const logger = createLogger({
    level,
    format: globals.logFormat ?? (isTerminal && logfile === undefined ? 'line' : 'json'),
    colour: logfile === undefined && wantsColour(globals, process.stderr),
    logfile,
  });
  if (app.logger === silentLogger) app.logger = logger;
  warnOfSplit(app, logger);
  return logger;
}

/** Settings that say nothing to a program that only sends. */
const OF_WORKERS = /^(?:worker|beat|control|event|imports$|include$)/;

/** A program that sends to another broker than its workers read from is a long search for the mistake. */
function warnOfSplit(app: Lovage, logger: Logger): void {
  const { settingsOfCommand = [], configFile } = configOf(app) ?? {};
  const split = settingsOfCommand.filter((name) => !OF_WORKERS.test(name));
  if (split.length === 0) return;
  logger.warn(
    { settings: split.join(', '), config: configFile },
    `Other programs with the app "${app.name}" do not have these settings. Give them to the app: new Lovage("${app.name}", config).`,
  );
}

/** An option's log level, any case. */
export function logLevel(text: string): string {
  const level = text.toLowerCase();
  if ((LOG_LEVELS as readonly string[]).includes(level)) return level;
  throw new CommandError(`"${text}" is no log level. Expected one of: ${LOG_LEVELS.join(', ')}.`, EXIT.usage);
}
