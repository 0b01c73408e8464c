import type { Logger } from '@lovage/core';

/** False when lines of the level go nowhere, so that they need not be made. pino has the method. */
export function canLog(logger: Logger, level: 'debug' | 'info'): boolean {
  return (logger as LevelAware).isLevelEnabled?.(level) ?? true;
}

interface LevelAware extends Logger {
  isLevelEnabled?(level: string): boolean;
}
