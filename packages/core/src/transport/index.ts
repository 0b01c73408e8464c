export * from '../errors.ts';
export type { Logger, LogFields } from '../internal/log.ts';
export { silentLogger } from '../internal/log.ts';
export { anySignal } from '../internal/any-signal.ts';
export { inTime, type TimeLimit } from '../internal/deadline.ts';
export { importInstalled } from '../internal/installed-package.ts';
export {
  importModule,
  locateModule,
  MODULE_EXTENSIONS,
  packageName,
  useModuleImporter,
  type ModuleExports,
  type ModuleImporter,
} from '../internal/module-files.ts';
export { nearestName } from '../internal/nearest-name.ts';
export { reasonOf } from '../internal/reason.ts';
export { atTurnEnd } from '../internal/turn-end.ts';
export { isSurelyDead, processIdentity } from '../internal/process-identity.ts';
export type * from '../virtual/driver.ts';
export {
  decodeEnvelope,
  newDeliveryTag,
  openEnvelope,
  priorityOf,
  sealEnvelope,
  type OpenedEnvelope,
} from '../virtual/envelope.ts';
export { builtModule, type LeaseKeeper, type OpenLeaseKeeper } from '../virtual/lease-keeper.ts';
export { matchesTopic, topicPattern } from '../virtual/routing.ts';
export { HerdBrake, WakeUps } from '../virtual/wake-ups.ts';
export { virtualTransport, type VirtualTransportDefinition } from '../virtual/virtual-transport.ts';
export type * from './contract.ts';
export type * from './message.ts';
export type * from './topology.ts';
export type { LineProtocol } from './line-reader.ts';
export { openPipelinedLink, type PipelinedLink, type PipelinedLinkOptions } from './pipelined-link.ts';
export { resolveTransport, type ResolveTransportOptions } from './resolve.ts';
export {
  ConnectionSupervisor,
  type ConnectionSetup,
  type ConnectionSupervisorOptions,
  type ReconnectSchedule,
  type SupervisorClock,
  type SupervisorState,
  type SupervisorStatus,
} from './supervisor.ts';
export { BrokerUrl, maskUrl, parseBrokerUrls } from './url.ts';
