import type { TaskAnnotations } from './annotations.ts';
import { toSnakeCase } from './option-names.ts';
import type { TaskQueues } from './queues.ts';
import type { TaskRoutes } from './router.ts';
import {
  DEFAULT_RETRY_POLICY,
  aliasOf,
  amount,
  anything,
  brokerUrl,
  deliveryMode,
  dict,
  flag,
  integer,
  isRecord,
  name,
  nameOrNames,
  names,
  namesOrJson,
  nullable,
  oneOf,
  optional,
  rateLimit,
  retryPolicy,
  seconds,
  setting,
  shapeOf,
  text,
  timeZone,
  tls,
  type Setting,
} from './setting-kinds.ts';

const OTHER_STORE = { withoutEffect: 'There is no package for this result store.' };
const PYTHON_DAEMON = { withoutEffect: 'Leave it to the service manager (systemd, a container).' };
const PYTHON_LOGS = { withoutEffect: "Log lines are fields and a message; their form is the logger's." };
const exchangeType = oneOf('direct', 'topic', 'fanout', 'headers');
const queueType = oneOf('classic', 'quorum');

const GENERAL = {
  acceptContent: setting(
    names,
    ['json'],
    'Content types or serializer names that are decoded; others are refused before parsing.',
  ),
  resultAcceptContent: optional(names, 'The same for results. Default: `acceptContent`.'),
  enableUtc: setting(
    flag,
    true,
    'false: crontabs are read in local time where no `timezone` is given. Times are sent with their offset in any case.',
  ),
  timezone: optional(timeZone, 'Time zone of crontab schedules. Default: UTC.', { also: ['TIME_ZONE'] }),
  imports: setting(
    nameOrNames,
    [],
    'Modules that the worker imports before it starts, so that they register their tasks.',
  ),
  include: setting(nameOrNames, [], 'The same; imported after `imports`.'),
  maxMessageBytes: setting(
    integer(1),
    32 * 1024 * 1024,
    'The most bytes that a body may have, as it comes and after decompression. A larger one is not decoded.',
    { ours: true },
  ),
} as const;

const BROKER = {
  brokerUrl: setting(
    brokerUrl,
    'sqla+sqlite:///lovage.db',
    'Where messages go: one URL, or several as alternatives, as a list or joined by `;`. `broker` for short.',
    {
      secret: 'url',
      celeryDefault: '`amqp://guest@localhost//`; ours needs no server',
    },
  ),
  brokerReadUrl: optional(brokerUrl, 'For consuming. Default: `brokerUrl`.', { secret: 'url' }),
  brokerWriteUrl: optional(brokerUrl, 'For publishing. Default: `brokerUrl`.', { secret: 'url' }),
  brokerTransport: optional(name, 'Scheme of the URL that is made from `brokerHost` and its kin. Default: amqp.'),
  brokerHost: optional(name, 'Makes the URL together with the next four, when `brokerUrl` is not given.'),
  brokerPort: optional(integer(1, 65_535), 'See `brokerHost`.'),
  brokerUser: optional(name, 'See `brokerHost`.'),
  brokerPassword: optional(text, 'See `brokerHost`.', { secret: 'value' }),
  brokerVhost: optional(text, 'See `brokerHost`.'),
  brokerTransportOptions: setting(
    dict,
    {},
    'Options of the transport, camelCase or snake_case; each transport documents its own.',
  ),
  brokerConnectionTimeout: setting(seconds({ above: true }), 4, 'Seconds to wait for a connection.'),
  brokerConnectionRetry: setting(flag, true, 'Whether a worker connects again after a loss.'),
  brokerConnectionRetryOnStartup: optional(
    flag,
    'Whether a worker keeps trying when its first connection fails. Default: `brokerConnectionRetry`.',
  ),
  brokerConnectionMaxRetries: nullable(
    integer(0),
    null,
    'How often in a row connecting is tried again before a worker ends; null or 0: for ever.',
    { celeryDefault: '`100`; a worker then does not outlive a long outage' },
  ),
  brokerChannelErrorRetry: setting(flag, false, 'Whether a worker connects again after a channel error.', {
    withoutEffect: 'Every loss is treated alike; a mistake (wrong queue arguments) is reported at once.',
  }),
  brokerFailoverStrategy: optional(anything, 'How the next of several URLs is chosen.', {
    withoutEffect: 'The URLs are tried in turn.',
  }),
  brokerHeartbeat: setting(
    seconds(),
    20,
    'Seconds between heartbeats on AMQP, and liveness checks elsewhere; 0: none. A peer silent for two of them is lost.',
    {
      celeryDefault: '120; a frozen broker is then noticed after four minutes',
    },
  ),
  brokerHeartbeatCheckrate: setting(amount, 3, 'How often in one heartbeat a worker looks.', {
    withoutEffect: 'The client looks by itself.',
  }),
  brokerLoginMethod: optional(name, 'SASL mechanism.', {
    withoutEffect: 'The mechanism follows from URL and TLS options.',
  }),
  brokerNativeDelayedDeliveryQueueType: setting(
    queueType,
    'quorum',
    'Type of the queues that hold delayed messages on RabbitMQ.',
    { withoutEffect: 'Tasks with an ETA wait in the worker, on quorum queues too; `workerEtaTaskLimit` bounds them.' },
  ),
  brokerPoolLimit: nullable(integer(0), 10, 'Size of the connection pool.', {
    withoutEffect: 'One connection carries what a process publishes.',
  }),
  brokerPoolAcquireTimeout: optional(seconds(), 'Seconds to wait for a connection of the pool.', {
    withoutEffect: 'There is no pool; see `publishTimeoutSeconds`.',
  }),
  brokerUseSsl: setting(
    tls,
    false,
    "true, or TLS options under Celery's names (`ca_certs`, `certfile`, `keyfile`, `cert_reqs`) or Node's.",
    { secret: 'value' },
  ),
  publishTimeoutSeconds: setting(
    seconds({ above: true }),
    10,
    'After so many seconds a publish that the broker has not confirmed is rejected.',
    { ours: true },
  ),
  leaseSeconds: setting(
    seconds({ above: true }),
    30,
    'A message whose worker shows no life for so many seconds goes to another. A live worker renews it, however long its task runs.',
    { ours: true },
  ),
} as const;

const TASKS = {
  taskAcksLate: setting(
    flag,
    true,
    'Settle a message after its result is stored, so that a task survives its worker. Such a task may run twice.',
    {
      celeryDefault: '`false`; a worker that dies then loses what it was running',
    },
  ),
  taskAcksOnFailureOrTimeout: setting(flag, true, 'Settle late messages of failed tasks too; false rejects them.'),
  taskAcksOnFailure: optional(flag, 'The same for failures only. Default: `taskAcksOnFailureOrTimeout`.'),
  taskAcksOnTimeout: optional(flag, 'The same for timeouts only. Default: `taskAcksOnFailureOrTimeout`.'),
  taskRejectOnWorkerLost: optional(flag, 'Requeue the message of a task whose process died. Default: false.'),
  deliveryLimit: nullable(
    integer(1),
    5,
    'A message that was delivered more often goes to the dead-letter queue; null: never.',
    { ours: true },
  ),
  deadLetterQueue: nullable(
    shapeOf<string>(
      'a queue name in which "{queue}" stands for the queue that the message came from',
      (value) => typeof value === 'string' && value !== '',
      (text) => text,
    ),
    '{queue}.dead',
    'Where messages go that cannot be run; `{queue}` stands for their queue; null: they are dropped.',
    { ours: true },
  ),
  taskAlwaysEager: setting(flag, false, 'Run tasks where they are called, without a broker. For tests.'),
  taskEagerPropagates: setting(flag, false, "Let an eager task's error reach the caller.", {
    old: 'CELERY_EAGER_PROPAGATES_EXCEPTIONS',
  }),
  taskStoreEagerResult: setting(flag, false, 'Store results of eager tasks too.'),
  taskAnnotations: optional(
    shapeOf<TaskAnnotations>(
      'an object of task options by name, or a list of them',
      (value) => typeof value === 'object' && value !== null,
    ),
    'Task options over those that `app.task` was given, by task name; `*` stands for every task and wins, as in Celery.',
  ),
  taskCompression: optional(name, 'Compression of task messages: `zlib`, `bzip2`, `zstd` ...', {
    old: 'CELERY_MESSAGE_COMPRESSION',
  }),
  taskSerializer: setting(name, 'json', 'Serializer of task messages.', { old: 'CELERY_TASK_SERIALIZER' }),
  taskProtocol: setting(
    shapeOf<1 | 2>('1 or 2', (value) => value === 1 || value === 2),
    2,
    'Version of the message protocol that is written.',
    {
      old: 'CELERY_TASK_PROTOCOL',
      withoutEffect: 'Version 2 is written, which Celery reads since 3.1.25; both are read.',
    },
  ),
  taskQueues: optional(
    shapeOf<TaskQueues>(
      'a list of queue names and queues, or an object of queue options by name',
      (value) => Array.isArray(value) || isRecord(value),
      namesOrJson,
    ),
    'The queues: names, queue objects, or options by name. Default: only `taskDefaultQueue`.',
  ),
  taskRoutes: optional(
    shapeOf<TaskRoutes>(
      'a router or a list of routers',
      (value) => typeof value === 'function' || (typeof value === 'object' && value !== null),
    ),
    'Where tasks go: by name or pattern, by function, or several of these in order.',
  ),
  taskCreateMissingQueues: setting(
    flag,
    true,
    'Create a queue that is named but not in `taskQueues`; false: `QueueNotFoundError`.',
  ),
  taskCreateMissingQueueType: setting(queueType, 'classic', 'Type of such a queue.'),
  taskCreateMissingQueueExchangeType: optional(exchangeType, "Type of such a queue's exchange. Default: `direct`."),
  taskQueueMaxPriority: optional(
    integer(0, 255),
    '`x-max-priority` of queues that have none. RabbitMQ ignores priorities without it.',
  ),
  taskDefaultQueue: setting(name, 'celery', 'The queue of tasks without a route.'),
  taskDefaultQueueType: setting(queueType, 'classic', 'Type of the default queue, when `taskQueues` is not given.'),
  taskDefaultExchange: setting(name, 'celery', 'Exchange of queues that name none.', {
    defaultText: '`taskDefaultQueue`',
  }),
  taskDefaultExchangeType: setting(exchangeType, 'direct', 'Type of that exchange.'),
  taskDefaultRoutingKey: setting(name, 'celery', 'Routing key of queues that name none.', {
    defaultText: '`taskDefaultQueue`',
  }),
  taskDefaultDeliveryMode: setting(
    deliveryMode,
    2,
    '2 or `persistent`: messages survive the broker; 1 or `transient`: they may not.',
  ),
  taskDefaultRateLimit: optional(rateLimit, 'Rate limit of tasks that have none, per worker: `10/m`.'),
  taskDefaultPriority: optional(integer(0, 9), 'Priority of calls that have none.'),
  taskInheritParentPriority: setting(flag, false, 'A task sent by a task has its priority.'),
  taskIgnoreResult: setting(flag, false, 'Store no results.'),
  taskStoreErrorsEvenIfIgnored: setting(flag, false, 'Store errors of tasks whose results are ignored.'),
  taskTrackStarted: setting(flag, false, 'Store the state STARTED.'),
  taskRemoteTracebacks: setting(flag, false, "Raise errors with the worker's traceback.", {
    withoutEffect: "The worker's traceback is always in `AsyncResult`.",
  }),
  taskSendSentEvent: setting(flag, false, 'Send an event for each published task.', {
    old: 'CELERY_SEND_TASK_SENT_EVENT',
  }),
  taskPublishRetry: setting(flag, true, 'Publish again when the connection fails.', {
    old: 'CELERY_TASK_PUBLISH_RETRY',
  }),
  taskPublishRetryPolicy: setting(retryPolicy, DEFAULT_RETRY_POLICY, 'How often and how fast.', {
    old: 'CELERY_TASK_PUBLISH_RETRY_POLICY',
  }),
  taskTimeLimit: optional(seconds({ above: true }), 'Seconds after which a task is ended.', {
    old: 'CELERYD_TASK_TIME_LIMIT',
    also: ['CELERYD_TIME_LIMIT'],
  }),
  taskSoftTimeLimit: optional(seconds({ above: true }), 'Seconds after which a task is told to end.', {
    old: 'CELERYD_TASK_SOFT_TIME_LIMIT',
    also: ['CELERYD_SOFT_TIME_LIMIT'],
  }),
  taskAllowErrorCbOnChordHeader: setting(flag, false, "Put a chord's errback on its header tasks too."),
} as const;

const RESULTS = {
  resultBackend: optional(
    name,
    'URL of the result store; `backend` for short. Without one no result is kept, unless the broker is left out too.',
    {
      secret: 'url',
      defaultText: '`db+sqlite:///lovage.db` when no broker is given, else none',
    },
  ),
  resultBackendTransportOptions: setting(dict, {}, 'Options of the result store, camelCase or snake_case.'),
  resultExpires: nullable(seconds(), 86_400, 'Seconds that a result is kept; null or 0: for ever.', {
    old: 'CELERY_TASK_RESULT_EXPIRES',
  }),
  resultSerializer: setting(name, 'json', 'Serializer of results.'),
  resultCompression: optional(name, 'Compression of results.', {
    withoutEffect: 'Results are stored as they are. Celery does not read it either.',
  }),
  resultExtended: setting(flag, false, 'Store name, arguments, worker, retries and queue with each result.'),
  resultPersistent: optional(flag, 'Whether RPC results survive the broker. Default: false.'),
  resultCacheMax: setting(integer(-1), -1, 'How many results a client keeps.', {
    old: 'CELERY_MAX_CACHED_RESULTS',
    withoutEffect: 'A result keeps its own value only.',
  }),
  resultExchange: setting(name, 'celeryresults', 'Exchange of the older `amqp://` result store.'),
  resultExchangeType: setting(exchangeType, 'direct', 'Its type.'),
  resultChordRetryInterval: setting(
    seconds({ above: true }),
    1,
    'Seconds between two looks at a chord, on stores that cannot count.',
  ),
  resultChordJoinTimeout: setting(seconds({ above: true }), 3, "Seconds that collecting a chord's results may take.", {
    withoutEffect: 'The results are all there when they are collected.',
  }),
  resultBackendAlwaysRetry: setting(flag, false, 'Retry failed reads and writes of the store.', {
    withoutEffect: 'What can be retried is retried.',
  }),
  resultBackendMaxRetries: setting(amount, Number.POSITIVE_INFINITY, 'How often.', {
    withoutEffect: 'See `resultBackendAlwaysRetry`.',
  }),
  resultBackendBaseSleepBetweenRetriesMs: setting(integer(0), 10, 'The first wait.', {
    withoutEffect: 'See `resultBackendAlwaysRetry`.',
  }),
  resultBackendMaxSleepBetweenRetriesMs: setting(integer(0), 10_000, 'The longest wait.', {
    withoutEffect: 'See `resultBackendAlwaysRetry`.',
  }),
  resultBackendThreadSafe: setting(flag, false, 'Share the store between threads.', {
    withoutEffect: 'Threads share nothing here.',
  }),
} as const;

const WORKER = {
  workerPool: setting(
    aliasOf({
      async: 'async',
      eventlet: 'async',
      gevent: 'async',
      threads: 'threads',
      processes: 'processes',
      prefork: 'processes',
      solo: 'solo',
    }),
    'async',
    "Where tasks run: `async` (the event loop), `threads`, `processes`, `solo`. Celery's names are read: `eventlet` and `gevent` are `async`, `prefork` is `processes`.",
    { celeryDefault: '`prefork`' },
  ),
  workerConcurrency: setting(integer(1), 100, 'How many tasks run at once.', {
    celeryDefault: 'the number of CPUs',
    defaultText: '100 for `async`, 1 for `solo`, else the number of CPUs',
  }),
  workerPrefetchMultiplier: setting(
    amount,
    1,
    'Messages fetched ahead, for each task that may run at once; 0: no limit.',
    {
      celeryDefault: '4; a busy worker then keeps messages from idle ones',
    },
  ),
  workerEtaTaskLimit: nullable(integer(1), 10_000, 'How many tasks with a future ETA a worker holds; null: no limit.', {
    celeryDefault: 'no limit',
  }),
  workerDisablePrefetch: setting(flag, false, 'Fetch a message only when a task can start.'),
  workerEnablePrefetchCountReduction: setting(flag, true, 'Fetch less after a connection loss while old tasks run.', {
    withoutEffect: 'Running tasks always count.',
  }),
  workerShutdownTimeout: setting(
    seconds(),
    25,
    'Seconds that a warm shutdown gives running tasks before it returns their messages.',
    { ours: true },
  ),
  workerUnknownTaskRetries: setting(
    integer(0),
    5,
    'How often a message of an unknown task goes back for a worker that knows it, before it fails; 5 take about 90 seconds.',
    { ours: true, celeryDefault: '0: it fails at once' },
  ),
  workerSoftShutdownTimeout: setting(seconds(), 0, 'Seconds that a cold shutdown gives running tasks; 0: none.'),
  workerEnableSoftShutdownOnIdle: setting(flag, false, 'Wait that long even when nothing runs.', {
    withoutEffect: 'What an idle worker holds goes back to the broker at once.',
  }),
  workerCancelLongRunningTasksOnConnectionLoss: setting(
    flag,
    false,
    'Cancel late-settled tasks when the broker is lost.',
  ),
  workerDeduplicateSuccessfulTasks: setting(flag, false, 'Do not run a redelivered task whose result is SUCCESS.'),
  workerDetectQuorumQueues: setting(flag, true, 'Use delayed delivery of RabbitMQ when a queue is a quorum queue.', {
    withoutEffect: 'See `brokerNativeDelayedDeliveryQueueType`; prefetch is per consumer on every queue.',
  }),
  workerDirect: setting(flag, false, 'Give each worker a queue of its own, `<node>.dq2`.', {
    old: 'CELERY_WORKER_DIRECT',
  }),
  workerDisableRateLimits: setting(flag, false, 'Ignore rate limits.', { old: 'CELERY_DISABLE_RATE_LIMITS' }),
  workerEnableRemoteControl: setting(flag, true, 'Listen to remote control.', { old: 'CELERY_ENABLE_REMOTE_CONTROL' }),
  workerRemoteControlAllow: nullable(
    nameOrNames,
    null,
    'Remote control commands that are carried out, by name; `inspect` and `control` stand for all of their kind. Others answer an error. null: all.',
    { ours: true },
  ),
  workerSendTaskEvents: setting(flag, false, 'Send task events.', { old: 'CELERY_SEND_EVENTS' }),
  workerMaxTasksPerChild: optional(integer(1), 'Replace a child of `threads` and `processes` after so many tasks.'),
  workerMaxMemoryPerChild: optional(
    integer(1),
    'Replace a child that holds more KiB after a task: resident memory of a process, heap of a thread.',
  ),
  workerProcAliveTimeout: setting(
    seconds({ above: true }),
    4,
    'Seconds that a new child has until its first sign of life, before it loads the app.',
  ),
  workerLostWait: setting(seconds(), 10, "Seconds between a process' death and its task's failure.", {
    old: 'CELERYD_WORKER_LOST_WAIT',
    withoutEffect: 'What a lost process has said before is read within a second.',
  }),
  workerPoolPutlocks: setting(flag, true, 'A lock of the Python pool.', { withoutEffect: 'There is no such lock.' }),
  workerPoolRestarts: setting(flag, false, 'Allow the remote command `pool_restart`.'),
  workerAutoscaler: setting(text, 'celery.worker.autoscale:Autoscaler', 'A Python class.', {
    withoutEffect: 'It names Python code.',
  }),
  workerConsumer: setting(text, 'celery.worker.consumer:Consumer', 'A Python class.', {
    withoutEffect: 'It names Python code.',
  }),
  workerTimer: optional(text, 'A Python class.', { withoutEffect: 'It names Python code.' }),
  workerAgent: optional(text, 'A Python class.', { withoutEffect: 'It names Python code.' }),
  workerTimerPrecision: setting(seconds({ above: true }), 1, 'The most seconds that the ETA timer sleeps.', {
    withoutEffect: 'The timer sleeps until the next ETA.',
  }),
  workerStateDb: optional(text, 'File in which revoked ids and stamps survive a restart of the worker; JSON.'),
  workerHijackRootLogger: setting(flag, true, "Replace the handlers of Python's root logger.", PYTHON_LOGS),
  workerLogColor: optional(flag, 'Colours in logs.', PYTHON_LOGS),
  workerLogFormat: setting(
    text,
    '[%(asctime)s: %(levelname)s/%(processName)s] %(message)s',
    'Form of log lines.',
    PYTHON_LOGS,
  ),
  workerTaskLogFormat: setting(
    text,
    '[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s',
    'Form of task log lines.',
    PYTHON_LOGS,
  ),
  workerRedirectStdouts: setting(flag, true, 'Send stdout and stderr to the log.', {
    old: 'CELERY_REDIRECT_STDOUTS',
    ...PYTHON_LOGS,
  }),
  workerRedirectStdoutsLevel: setting(text, 'WARNING', 'At this level.', {
    old: 'CELERY_REDIRECT_STDOUTS_LEVEL',
    ...PYTHON_LOGS,
  }),
} as const;

const BEAT = {
  beatSchedule: setting(dict, {}, 'Periodic tasks by name.'),
  beatScheduler: setting(
    text,
    'celery.beat:PersistentScheduler',
    'A module whose default export gives periodic tasks that you keep yourself; the default adds none.',
  ),
  beatScheduleFilename: setting(
    text,
    'celerybeat-schedule',
    'Where it is kept when entries ran: a path, which becomes `PATH.sqlite`, or the URL of a result store that beats share.',
  ),
  beatSyncEvery: setting(integer(0), 0, 'Write that file after so many tasks.', {
    withoutEffect: 'It is written after every task.',
  }),
  beatMaxLoopInterval: setting(seconds(), 0, 'The most seconds between two looks at the schedule; 0: five.'),
  beatCronStartingDeadline: optional(integer(0), 'A crontab run that was missed by more seconds is skipped.'),
} as const;

const EVENTS_AND_CONTROL = {
  eventExchange: setting(name, 'celeryev', 'Exchange of events.'),
  eventSerializer: setting(name, 'json', 'Serializer of events.'),
  eventQueuePrefix: setting(name, 'celeryev', 'Prefix of event queues.'),
  eventQueueTtl: nullable(seconds(), 5, 'Seconds that an event waits in a queue; null: no limit.'),
  eventQueueExpires: nullable(
    seconds({ above: true }),
    60,
    'Seconds after which an unused event queue is removed; null: never.',
  ),
  eventQueueDurable: setting(flag, false, 'Declare event queues durable.'),
  eventQueueExclusive: setting(flag, false, 'Declare event queues exclusive.'),
  controlExchange: setting(name, 'celery', 'Prefix of the remote control exchanges: `celery.pidbox`.'),
  controlQueueTtl: nullable(seconds(), 300, 'Seconds that a command waits in a mailbox; null: no limit.'),
  controlQueueExpires: nullable(
    seconds({ above: true }),
    10,
    'Seconds after which an unused mailbox is removed; null: never.',
  ),
  controlQueueDurable: setting(flag, false, 'Declare mailboxes durable.'),
  controlQueueExclusive: setting(flag, false, 'Declare mailboxes exclusive.'),
} as const;

const RESULT_STORES = {
  redisHost: optional(name, 'Redis result store, when the URL names no host.'),
  redisPort: optional(integer(1, 65_535), 'Its port.'),
  redisDb: optional(integer(0), 'Its database.'),
  redisUsername: optional(name, 'Its user.'),
  redisPassword: optional(text, 'Its password.', { secret: 'value' }),
  redisMaxConnections: optional(integer(1), 'Size of its pool.', {
    withoutEffect: 'One connection carries all commands, a second one the subscriptions.',
  }),
  redisSocketTimeout: nullable(
    seconds({ above: true }),
    120,
    'Seconds without an answer after which it counts as lost; null: never.',
  ),
  redisSocketConnectTimeout: optional(seconds({ above: true }), 'Seconds to wait for its connection.'),
  redisSocketKeepalive: setting(flag, false, 'TCP keep-alive.', {
    withoutEffect: 'It is on; `socket_keepalive: false` in `resultBackendTransportOptions` turns it off.',
  }),
  redisRetryOnTimeout: setting(flag, false, 'Retry a command that timed out.', {
    withoutEffect: 'What can be retried is retried.',
  }),
  redisBackendUseSsl: optional(tls, "TLS options under Celery's names (`ssl_ca_certs` ...) or Node's.", {
    secret: 'value',
  }),
  redisBackendHealthCheckInterval: optional(seconds(), 'Seconds between health checks.'),
  redisBackendCredentialProvider: optional(anything, 'Gives user and password.', {
    secret: 'value',
    withoutEffect: 'It names Python code.',
  }),
  redisClientName: optional(text, 'Name shown by CLIENT LIST.'),
  databaseUrl: optional(text, 'URL of the SQL store, when `resultBackend` is just "database" or "db".', {
    old: 'CELERY_RESULT_DBURI',
    secret: 'url',
  }),
  databaseEngineOptions: setting(dict, { pool_pre_ping: true, pool_recycle: 3600 }, 'Options of SQLAlchemy.', {
    old: 'CELERY_RESULT_ENGINE_OPTIONS',
    withoutEffect: 'See `resultBackendTransportOptions`.',
  }),
  databaseEngineCallback: optional(anything, 'Called with the SQLAlchemy engine.', {
    withoutEffect: 'There is no such engine.',
  }),
  databaseShortLivedSessions: setting(flag, false, 'A session for each use.', {
    old: 'CELERY_RESULT_DB_SHORT_LIVED_SESSIONS',
    withoutEffect: 'Connections come from a pool.',
  }),
  databaseTableNames: optional(dict, 'Names of the tables: `{ task, group }`.', {
    old: 'CELERY_RESULT_DB_TABLENAMES',
    also: ['CELERY_RESULT_DB_TABLE_NAMES'],
  }),
  databaseTableSchemas: optional(dict, 'Schemas of the tables: `{ task, group }`.'),
  databaseCreateTablesAtSetup: setting(
    flag,
    true,
    'Create the tables when the store is opened, not when first written.',
    { withoutEffect: 'The store is opened, and its tables are made, when it is first used.' },
  ),
  mongodbBackendSettings: optional(
    dict,
    'MongoDB store: `database`, `taskmeta_collection`, `groupmeta_collection`, `options`.',
    { secret: 'value' },
  ),
  cacheBackend: optional(text, 'URL of the cache store, when `resultBackend` is just "cache".', { secret: 'url' }),
  cacheBackendOptions: setting(dict, {}, 'Options of the cache client.'),
  s3AccessKeyId: optional(text, 'S3 store: access key.', { secret: 'value' }),
  s3SecretAccessKey: optional(text, 'S3 store: secret key.', { secret: 'value' }),
  s3Bucket: optional(name, 'S3 store: bucket.'),
  s3BasePath: optional(text, 'S3 store: prefix of the keys.'),
  s3EndpointUrl: optional(text, 'S3 store: endpoint.', { secret: 'url' }),
  s3Region: optional(name, 'S3 store: region.'),
  dynamodbEndpointUrl: optional(text, 'DynamoDB store: endpoint.', { secret: 'url' }),
  couchbaseBackendSettings: optional(dict, 'Couchbase store.', { secret: 'value', ...OTHER_STORE }),
  arangodbBackendSettings: optional(dict, 'ArangoDB store.', { secret: 'value', ...OTHER_STORE }),
  elasticsearchTimeout: optional(seconds(), 'Elasticsearch store.', OTHER_STORE),
  elasticsearchMaxRetries: optional(integer(0), 'Elasticsearch store.', OTHER_STORE),
  elasticsearchRetryOnTimeout: optional(flag, 'Elasticsearch store.', OTHER_STORE),
  elasticsearchSaveMetaAsText: setting(flag, true, 'Elasticsearch store.', OTHER_STORE),
  cassandraServers: optional(names, 'Cassandra store.', OTHER_STORE),
  cassandraBundlePath: optional(text, 'Cassandra store.', OTHER_STORE),
  cassandraPort: optional(anything, 'Cassandra store.', OTHER_STORE),
  cassandraKeyspace: optional(text, 'Cassandra store.', OTHER_STORE),
  cassandraTable: optional(text, 'Cassandra store.', { also: ['CASSANDRA_COLUMN_FAMILY'], ...OTHER_STORE }),
  cassandraReadConsistency: optional(text, 'Cassandra store.', OTHER_STORE),
  cassandraWriteConsistency: optional(text, 'Cassandra store.', OTHER_STORE),
  cassandraEntryTtl: optional(seconds(), 'Cassandra store.', OTHER_STORE),
  cassandraAuthProvider: optional(text, 'Cassandra store.', OTHER_STORE),
  cassandraAuthKwargs: optional(anything, 'Cassandra store.', { secret: 'value', ...OTHER_STORE }),
  cassandraOptions: setting(dict, {}, 'Cassandra store.', OTHER_STORE),
  azureblockblobContainerName: setting(text, 'celery', 'Azure Block Blob store.', OTHER_STORE),
  azureblockblobBasePath: setting(text, '', 'Azure Block Blob store.', OTHER_STORE),
  azureblockblobRetryInitialBackoffSec: setting(amount, 2, 'Azure Block Blob store.', OTHER_STORE),
  azureblockblobRetryIncrementBase: setting(amount, 2, 'Azure Block Blob store.', OTHER_STORE),
  azureblockblobRetryMaxAttempts: setting(amount, 3, 'Azure Block Blob store.', OTHER_STORE),
  azureblockblobConnectionTimeout: setting(amount, 20, 'Azure Block Blob store.', OTHER_STORE),
  azureblockblobReadTimeout: setting(amount, 120, 'Azure Block Blob store.', OTHER_STORE),
  gcsBucket: optional(text, 'Google Cloud Storage store.', OTHER_STORE),
  gcsProject: optional(text, 'Google Cloud Storage store.', OTHER_STORE),
  gcsBasePath: setting(text, '', 'Google Cloud Storage store.', OTHER_STORE),
  gcsTtl: setting(seconds(), 0, 'Google Cloud Storage store.', OTHER_STORE),
  cosmosdbsqlDatabaseName: setting(text, 'celerydb', 'Cosmos DB store.', OTHER_STORE),
  cosmosdbsqlCollectionName: setting(text, 'celerycol', 'Cosmos DB store.', OTHER_STORE),
  cosmosdbsqlConsistencyLevel: setting(text, 'Session', 'Cosmos DB store.', OTHER_STORE),
  cosmosdbsqlMaxRetryAttempts: setting(amount, 9, 'Cosmos DB store.', OTHER_STORE),
  cosmosdbsqlMaxRetryWaitTime: setting(amount, 30, 'Cosmos DB store.', OTHER_STORE),
} as const;

const SECURITY = { withoutEffect: 'The `auth` serializer is not there: put TLS and credentials on the broker.' };

const SECURITY_AND_DAEMONS = {
  securityKey: optional(text, 'Private key file for signed messages.', { secret: 'value', ...SECURITY }),
  securityKeyPassword: optional(anything, 'Its password.', { secret: 'value', ...SECURITY }),
  securityCertificate: optional(text, 'Certificate file.', SECURITY),
  securityCertStore: optional(text, 'Folder of accepted certificates.', SECURITY),
  securityDigest: setting(text, 'sha256', 'Digest of signatures.', SECURITY),
  workerLogfile: optional(text, 'Log file of `lovage worker`, where `--logfile` names none.'),
  workerPidfile: optional(text, 'Process id file of `lovage worker`, where `--pidfile` names none.'),
  workerUid: optional(anything, 'User of the worker.', PYTHON_DAEMON),
  workerGid: optional(anything, 'Group of the worker.', PYTHON_DAEMON),
  workerUmask: optional(anything, 'File mode mask of the worker.', PYTHON_DAEMON),
  workerExecutable: optional(text, 'Python of the worker.', PYTHON_DAEMON),
  beatLogfile: optional(text, 'Log file of `lovage beat`, where `--logfile` names none.'),
  beatPidfile: optional(text, 'Process id file of `lovage beat`, where `--pidfile` names none.'),
  beatUid: optional(anything, 'User of beat.', PYTHON_DAEMON),
  beatGid: optional(anything, 'Group of beat.', PYTHON_DAEMON),
  beatUmask: optional(anything, 'File mode mask of beat.', PYTHON_DAEMON),
  beatExecutable: optional(text, 'Python of beat.', PYTHON_DAEMON),
  eventsLogfile: optional(text, 'Log file of the event monitor.', PYTHON_DAEMON),
  eventsPidfile: optional(text, 'Process id file of the event monitor.', PYTHON_DAEMON),
  eventsUid: optional(anything, 'User of the event monitor.', PYTHON_DAEMON),
  eventsGid: optional(anything, 'Group of the event monitor.', PYTHON_DAEMON),
  eventsUmask: optional(anything, 'File mode mask of the event monitor.', PYTHON_DAEMON),
  eventsExecutable: optional(text, 'Python of the event monitor.', PYTHON_DAEMON),
} as const;

type Table = typeof GENERAL &
  typeof BROKER &
  typeof TASKS &
  typeof RESULTS &
  typeof WORKER &
  typeof BEAT &
  typeof EVENTS_AND_CONTROL &
  typeof RESULT_STORES &
  typeof SECURITY_AND_DAEMONS;

export type SettingName = keyof Table;

/**
 * The settings of an app with every default filled in: what the library reads. Times are seconds unless the name says
 * otherwise. Source: celery/app/defaults.py, NAMESPACES.
 */
export type Settings = { readonly [N in SettingName]: Table[N] extends Setting<infer T, infer _> ? T : never };

type InputOf<N extends SettingName> = Table[N] extends Setting<infer _, infer I> ? I : never;

/** What may be given: any setting, and `broker` and `backend` for `brokerUrl` and `resultBackend`. */
export type SettingsInput = { readonly [N in SettingName]?: InputOf<N> } & {
  /** Short for `brokerUrl`. */
  readonly broker?: string | readonly string[];
  /** Short for `resultBackend`. */
  readonly backend?: string | null;
};

type Section = Readonly<Partial<Record<SettingName, Setting<unknown, unknown>>>>;

/** The table by section, in the order of the documentation. */
export const SETTING_SECTIONS: Readonly<Record<string, Section>> = {
  General: GENERAL,
  Broker: BROKER,
  Tasks: TASKS,
  Results: RESULTS,
  Worker: WORKER,
  Beat: BEAT,
  'Events and remote control': EVENTS_AND_CONTROL,
  'Result stores': RESULT_STORES,
  'Security and daemons': SECURITY_AND_DAEMONS,
};

/** Every setting by its name. */
export const SETTINGS: ReadonlyMap<SettingName, Setting<unknown, unknown>> = new Map(
  Object.values(SETTING_SECTIONS).flatMap((section) => Object.entries(section)) as [
    SettingName,
    Setting<unknown, unknown>,
  ][],
);

/** Celery's names of before 4.0, by the prefix of today's. Source: celery/app/defaults.py, `__old__`. */
const OLD_PREFIXES: readonly (readonly [string, string])[] = [
  ['beat_', 'CELERYBEAT_'],
  ['worker_', 'CELERYD_'],
  ['task_', 'CELERY_'],
  ...[
    'result_',
    'event_',
    'redis_',
    'mongodb_',
    'couchbase_',
    'arangodb_',
    'elasticsearch_',
    'security_',
    'cache_',
  ].map((prefix) => [prefix, `CELERY_${prefix.toUpperCase()}`] as const),
];
const OLD_GENERAL = ['accept_content', 'imports', 'include', 'timezone'];

/** The upper-case name that Celery had before 4.0; undefined for settings that are ours. */
export function oldSettingName(name: SettingName): string | undefined {
  const { old, ours } = SETTINGS.get(name) as Setting<unknown>;
  if (ours) return undefined;
  return old ?? oldNameByRule(name);
}

function oldNameByRule(name: SettingName): string {
  const snake = toSnakeCase(name);
  if (OLD_GENERAL.includes(snake)) return `CELERY_${snake.toUpperCase()}`;
  if (snake === 'result_accept_content') return 'RESULT_ACCEPT_CONTENT';
  for (const [prefix, old] of OLD_PREFIXES) {
    if (snake.startsWith(prefix)) return old + snake.slice(prefix.length).toUpperCase();
  }
  return snake.toUpperCase();
}

/**
 * Every spelling by which a setting is known, without a namespace: camelCase, snake_case, the old upper-case name, the
 * old name that the rule would give, today's name in upper case after `CELERY_`, and what Celery's documentation
 * prints though its code does not read it.
 */
export const SETTING_SPELLINGS: ReadonlyMap<string, SettingName> = new Map([
  ['broker', 'brokerUrl'],
  ['backend', 'resultBackend'],
  ...[...SETTINGS].flatMap(([name, { old, also = [], ours }]) => {
    const snake = toSnakeCase(name);
    const foreign = ours
      ? []
      : [...(old === undefined ? [] : [old]), oldNameByRule(name), `CELERY_${snake.toUpperCase()}`, ...also];
    return [name, snake, ...foreign].map((spelling) => [spelling, name] as const);
  }),
]);
