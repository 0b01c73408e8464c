export * from './errors.ts';
export type { Logger, LogFields } from './internal/log.ts';
