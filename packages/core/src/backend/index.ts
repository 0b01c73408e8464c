export * from '../errors.ts';
export type { Logger, LogFields } from '../internal/log.ts';
export { silentLogger } from '../internal/log.ts';
export type * from '../protocol/task-meta.ts';
export { BackendUrl, maskUrl } from '../transport/url.ts';
export type * from './contract.ts';
export type * from './key-value-store.ts';
export { Decimal, CalendarDate, TimeOfDay, Uuid } from '../serialization/json-types.ts';
