/** What an application imports. Adapters and the worker use `/transport`, `/backend`, `/protocol` and `/memory` too. */
export { isLovageApp, Lovage } from './app/lovage.ts';
export type {
  AutodiscoverOptions,
  ConfigFromOptions,
  ContinuationOptions,
  LovageOptions,
  RemoteTask,
  SendTaskOptions,
  TaskWrapper,
} from './app/lovage.ts';
export { defineConfig } from './app/define-config.ts';
export type { AnnotationMap, AnnotationObject, AnnotationOptions, TaskAnnotations } from './app/annotations.ts';
export type { LovageConfig } from './app/define-config.ts';
export { Signals } from './app/signals.ts';
export type {
  PublishSignal,
  RunSignal,
  SignalHandler,
  SignalMap,
  SignalName,
  WorkerSignal,
} from './app/signals.ts';
export { currentApp, loadedCopies } from './app/apps.ts';
export { sharedTask } from './app/shared-task.ts';
export { pickApp } from './app/pick-app.ts';
export { currentTask } from './app/current-task.ts';
export type { ApplyOptions, RetryPolicy, SignatureLike } from './app/option-names.ts';
export { Producer } from './app/producer.ts';
export type { Destination, PublishOptions } from './app/producer.ts';
export { broadcastQueue, Queues, workerDirectQueue } from './app/queues.ts';
export type { NamedQueueOptions, QueueDefinition, QueueOptions, QueueSelection, TaskQueues } from './app/queues.ts';
export type { PeriodicOptions, PeriodicTask } from './app/periodic-task.ts';
export type { TaskRegistry } from './app/registry.ts';
export type { Route, RouteFunction, RouteValue, TaskRouter, TaskRoutes } from './app/router.ts';
export { defaultConcurrency, describeSettings, isSettingGiven, settingsWithoutEffect } from './app/settings.ts';
export type { SettingName, Settings, SettingsInput } from './app/settings-table.ts';
export type { DeliveryInfo, RequestInfo, RetryOptions, TaskContext } from './app/task-context.ts';
export { Task } from './app/task.ts';
export type {
  AnyTask,
  AutoRetryOptions,
  FailureInfo,
  ResolvedTaskOptions,
  RetryMatcher,
  TaskHooks,
  TaskOptions,
} from './app/task.ts';
export type { LogicalClock } from './app/clock.ts';
export type { SignatureDict } from './canvas/signature-dict.ts';
export { chain, chord, group } from './canvas/canvas.ts';
export type {
  Accepts,
  CannotTake,
  Chain,
  Chord,
  Group,
  ImmutableSignature,
  SomeSignature,
} from './canvas/canvas-types.ts';
export { Signature } from './canvas/signature.ts';
export { CONTROL_COMMANDS, Control, findCommand, Inspect } from './control/index.ts';
export type {
  Answer,
  ArgumentType,
  BroadcastOptions,
  CommandInfo,
  ControlOptions,
  HelloReply,
  InspectOptions,
  OkOrError,
  QueueReply,
  Replies,
  RequestReply,
  RevokeCommandOptions,
  ScheduledReply,
  StatsReply,
} from './control/index.ts';
export { ClusterState, ClusterTask, ClusterWorker, Events } from './events/index.ts';
export type { ClusterStateOptions, EventHandler, ReceivedEvent, ReceiveOptions } from './events/index.ts';
export type { StampingVisitor, StampOptions, Stamps } from './canvas/stamping.ts';
export * from './errors.ts';
export type { Logger, LogFields } from './internal/log.ts';
export { silentLogger } from './internal/log.ts';
export { nearestName } from './internal/nearest-name.ts';
export { AsyncResult } from './result/async-result.ts';
export type { GetOptions, RevokeOptions } from './result/async-result.ts';
export { EagerResult } from './result/eager-result.ts';
export { GroupResult } from './result/group-result.ts';
export { EXCEPTION_STATES, PROPAGATE_STATES, READY_STATES } from './result/states.ts';
export { TaskFailedError } from './protocol/exception-info.ts';
export {
  ChordError,
  Ignore,
  MaxRetriesExceededError,
  NotRegistered,
  Reject,
  Retry,
  SoftTimeLimitExceeded,
  TaskRevokedError,
  TimeLimitExceeded,
  WorkerLostError,
} from './protocol/task-errors.ts';
export type { ExceptionInfo, TaskMeta, TaskState } from './protocol/task-meta.ts';
export { Decimal, PlainDate, PlainTime, Uuid } from './serialization/python-values.ts';
export type { Serializer, SerializationLimits } from './serialization/registry.ts';
export { Crontab, crontab, every, Interval, nextOnWallClock, toSchedule, Zone } from './schedule/index.ts';
export type {
  CrontabField,
  CrontabOptions,
  IntervalOptions,
  Schedule,
  ScheduleContext,
  ScheduleInput,
} from './schedule/index.ts';
