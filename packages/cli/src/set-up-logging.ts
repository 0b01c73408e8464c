import { silentLogger, type Logger, type Lovage } from '@lovage/core';
import { wantsColour, type GlobalOptions } from './context.ts';
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
  return logger;
}

/** An option's log level, any case. */
export function logLevel(text: string): string {
  const level = text.toLowerCase();
  if ((LOG_LEVELS as readonly string[]).includes(level)) return level;
  throw new CommandError(`"${text}" is no log level. Expected one of: ${LOG_LEVELS.join(', ')}.`, EXIT.usage);
}
