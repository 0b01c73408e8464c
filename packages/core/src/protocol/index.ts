export type { SignatureDict } from '../canvas/signature-dict.ts';
export { endUnrun, readsResults, returnChordPart } from '../canvas/chord-join.ts';
export type { ReturnedPart } from '../canvas/chord-join.ts';
export { callErrbacks } from '../canvas/errbacks.ts';
export type { FailedTask } from '../canvas/errbacks.ts';
export { groupOf, readFields } from '../canvas/fields.ts';
export { accumulated } from '../canvas/replacement.ts';
export { matchesAny } from '../retry/matchers.ts';
export { retryDelaySeconds } from '../retry/backoff.ts';
export type { BackoffOptions } from '../retry/backoff.ts';
export { decodeJson, decodeOwnJson, encodeJson } from '../serialization/json.ts';
export { Decimal, PlainDate, PlainTime, Uuid } from '../serialization/python-values.ts';
export { DEFAULT_LIMITS, SerializerRegistry } from '../serialization/registry.ts';
export type {
  EncodedBody,
  SerializationLimits,
  SerializationNeeds,
  Serializer,
  SerializerRegistryOptions,
} from '../serialization/registry.ts';
export { decodeTaskBody, decodeTaskHeaders } from './decode.ts';
export { describeError, readExceptionInfo, RemoteError, taskFailure, TaskFailedError } from './exception-info.ts';
export type { DescribedError } from './exception-info.ts';
export { readTaskMeta } from './read-task-meta.ts';
export { reprArgs, reprKwargs, reprResult, safeRepr } from './repr.ts';
export { fromResultTuple, toResultTuple } from './result-tuple.ts';
export type { ResultReference, ResultTuple } from './result-tuple.ts';
export * from './task-errors.ts';
export type * from './task-message.ts';
export type * from './task-meta.ts';
export { formatTime, parseTime } from './time.ts';
export { isTaskId, isTaskName } from './names.ts';
export { INSTANT_HEADER, PERIODIC_NAME_HEADER } from './periodic-headers.ts';
export { ONCE_HEADER } from './once-header.ts';
export { encodeTask } from './v2.ts';
export type { TaskDraft } from './v2.ts';
export {
  controlExchange,
  decodeCommand,
  encodeReply,
  isAddressedTo,
  mailboxTopology,
  replyExchange,
} from './pidbox.ts';
export type { ControlCommand, PidboxSettings, ReplyAddress } from './pidbox.ts';
export { EventReceiver, EventSender, schemeOf } from '../events/index.ts';
export { eventExchange, eventQueueTopology, softwareInfo } from './events.ts';
export type { EventMessage, EventSettings, SoftwareInfo } from './events.ts';
