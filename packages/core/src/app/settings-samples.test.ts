import { expect, test } from 'vitest';
import { crontab } from '../schedule/crontab.ts';
import { toSchedule } from '../schedule/index.ts';
import { Lovage } from './lovage.ts';

// Two settings.py of projects of different age, as they are written here.

const SCHEDULE = {
  'every-30-seconds': { task: 'tasks.clean', schedule: 30, args: [16, 16] },
  'at-night': {
    task: 'tasks.report',
    schedule: crontab({ minute: 0, hour: '*/3,10-19' }),
    kwargs: { kind: 'sales' },
    options: { queue: 'reports', expires: 600 },
  },
};

const TODAY = {
  brokerUrl: 'redis://127.0.0.1:6379/6',
  resultBackend: 'redis://127.0.0.1:6379/5',
  taskSerializer: 'msgpack',
  resultSerializer: 'json',
  resultExpires: 60 * 60 * 24,
  acceptContent: ['json', 'msgpack'],
  timezone: 'Asia/Shanghai',
  enableUtc: true,
  workerConcurrency: 20,
  workerPrefetchMultiplier: 4,
  workerMaxTasksPerChild: 200,
  taskTimeLimit: 60,
  taskSoftTimeLimit: 50,
  taskDefaultQueue: 'default',
  taskDefaultExchange: 'tasks',
  taskDefaultExchangeType: 'topic',
  taskDefaultRoutingKey: 'task.default',
  taskQueues: {
    default: { bindingKey: 'task.#' },
    feeds: { exchange: 'feeds', exchangeType: 'topic', bindingKey: 'feed.#' },
    images: {
      exchange: 'images',
      exchangeType: 'direct',
      routingKey: 'image.compress',
      queueArguments: { 'x-max-priority': 5 },
    },
  },
  taskRoutes: { 'feeds.tasks.*': { queue: 'feeds', routingKey: 'feed.import' } },
  taskAnnotations: { 'tasks.add': { rateLimit: '10/s' } },
  brokerTransportOptions: { visibility_timeout: 3600 },
  beatSchedule: SCHEDULE,
} as const;

const OLD = {
  BROKER_URL: 'redis://127.0.0.1:6379/6',
  CELERY_RESULT_BACKEND: 'redis://127.0.0.1:6379/5',
  CELERY_TASK_SERIALIZER: 'msgpack',
  CELERY_RESULT_SERIALIZER: 'json',
  CELERY_TASK_RESULT_EXPIRES: 60 * 60 * 24,
  CELERY_ACCEPT_CONTENT: ['json', 'msgpack'],
  CELERY_TIMEZONE: 'Asia/Shanghai',
  CELERY_ENABLE_UTC: true,
  CELERYD_CONCURRENCY: 20,
  CELERYD_PREFETCH_MULTIPLIER: 4,
  CELERYD_MAX_TASKS_PER_CHILD: 200,
  CELERYD_TASK_TIME_LIMIT: 60,
  CELERYD_TASK_SOFT_TIME_LIMIT: 50,
  CELERY_DEFAULT_QUEUE: 'default',
  CELERY_DEFAULT_EXCHANGE: 'tasks',
  CELERY_DEFAULT_EXCHANGE_TYPE: 'topic',
  CELERY_DEFAULT_ROUTING_KEY: 'task.default',
  CELERY_QUEUES: {
    default: { binding_key: 'task.#' },
    feeds: { exchange: 'feeds', exchange_type: 'topic', binding_key: 'feed.#' },
    images: {
      exchange: 'images',
      exchange_type: 'direct',
      routing_key: 'image.compress',
      queue_arguments: { 'x-max-priority': 5 },
    },
  },
  CELERY_ROUTES: { 'feeds.tasks.*': { queue: 'feeds', routing_key: 'feed.import' } },
  CELERY_ANNOTATIONS: { 'tasks.add': { rate_limit: '10/s' } },
  BROKER_TRANSPORT_OPTIONS: { visibility_timeout: 3600 },
  CELERYBEAT_SCHEDULE: SCHEDULE,
};

const SNAKE = Object.fromEntries(
  Object.entries(TODAY).map(([name, value]) => [name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), value]),
);
const NAMESPACED = Object.fromEntries(
  Object.entries(SNAKE).map(([name, value]) => [`CELERY_${name.toUpperCase()}`, value]),
);

test.each([
  ['in camelCase', new Lovage('a', TODAY)],
  ['in snake_case', new Lovage('a').configFrom(SNAKE)],
  ['in old upper case', new Lovage('a').configFrom(OLD)],
  [
    'in old upper case, under the namespace',
    new Lovage('a').configFrom({ ...OLD, DEBUG: true }, { namespace: 'CELERY' }),
  ],
  [
    'in new upper case, under the namespace',
    new Lovage('a').configFrom({ ...NAMESPACED, DEBUG: true }, { namespace: 'CELERY' }),
  ],
])('a whole settings file %s', (_, app) => {
  const { taskQueues: _q, taskRoutes: _r, taskAnnotations: _a, ...plain } = TODAY;
  expect(app.settings).toMatchObject(plain);
  const queues = app.queues
    .all()
    .map(({ name, exchange, routingKey, queue }) => [name, exchange.name, exchange.type, routingKey, queue.arguments]);
  expect(queues).toEqual([
    // As Celery reads a mapping: an exchange that is not named is the default one.
    ['default', 'tasks', 'topic', 'task.#', undefined],
    ['feeds', 'feeds', 'topic', 'feed.#', undefined],
    ['images', 'images', 'direct', 'image.compress', { 'x-max-priority': 5 }],
  ]);
  expect(app.router.route('feeds.tasks.fetch')).toMatchObject({ exchange: 'feeds', routingKey: 'feed.import' });
  expect(app.router.route('tasks.add')).toMatchObject({ exchange: 'tasks', queue: 'default' });
  expect(app.task('tasks.add', () => 1).options.rateLimit).toBe('10/s');
  const { 'at-night': night, 'every-30-seconds': often } = app.settings.beatSchedule as typeof SCHEDULE;
  expect(String(toSchedule(night.schedule))).toBe(String(crontab({ minute: 0, hour: '*/3,10-19' })));
  expect(String(toSchedule(often.schedule))).toBe('every(30)');
});
