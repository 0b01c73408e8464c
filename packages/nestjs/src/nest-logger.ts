import type { LogFields, Logger } from '@lovage/core';
import { Logger as NestLogger, type LogLevel } from '@nestjs/common';

/** Lovage's log in Nest's, under the context `Lovage`. */
export function nestLogger(): Logger {
  const log = new NestLogger('Lovage');
  const logger: Logger = {
    debug: (fields, message) => log.debug(withFields(message, fields)),
    info: (fields, message) => log.log(withFields(message, fields)),
    warn: (fields, message) => log.warn(withFields(message, fields)),
    error: ({ err, ...fields }, message) =>
      err instanceof Error
        ? log.error(withFields(`${message} ${err.message}`, fields), err.stack)
        : log.error(withFields(message, err === undefined ? fields : { ...fields, err })),
  };
  // Newer ones of Nest can tell; lines of each task need not be made then when nobody sees them.
  if (!('isLevelEnabled' in NestLogger)) return logger;
  return Object.assign(logger, {
    isLevelEnabled: (level: string) => NestLogger.isLevelEnabled((level === 'info' ? 'log' : level) as LogLevel),
  });
}

function withFields(message: string, fields: LogFields): string {
  const shown = Object.entries(fields).map(([name, value]) => `${name}=${show(value)}`);
  return shown.length === 0 ? message : `${message} ${shown.join(' ')}`;
}

function show(value: unknown): string {
  if (value instanceof Error) return value.message;
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value));
}
