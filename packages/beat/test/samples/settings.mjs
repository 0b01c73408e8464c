// The settings modules that a Python project usually has, transcribed: in the names of before Celery 4 and in today's.
// `mark` sets the names on a shared server apart.
import { crontab } from '@lovage/core';

const SECONDS_SCHEDULE = {
  'add-every-30-seconds': { task: 'tasks.add', schedule: 30.0, args: [16, 16] },
};

/** Every third hour, and every hour from 10 to 19: find the customers whose birthday it is. */
const CRONTAB_SCHEDULE = {
  'greet-birthdays': { task: 'tasks.greet_birthdays', schedule: crontab({ minute: 0, hour: '*/3,10-19' }) },
};

/** Queues as a mapping, a schedule in seconds. */
export const mapping = {
  old: ({ broker, backend, mark }) => ({
    BROKER_URL: broker,
    CELERY_RESULT_BACKEND: backend,
    CELERY_TASK_SERIALIZER: 'json',
    CELERY_RESULT_SERIALIZER: 'json',
    CELERY_ACCEPT_CONTENT: ['json'],
    CELERY_TIMEZONE: 'Europe/Oslo',
    CELERY_ENABLE_UTC: true,
    CELERY_TASK_RESULT_EXPIRES: 18_000,
    CELERYD_CONCURRENCY: 2,
    CELERYD_PREFETCH_MULTIPLIER: 4,
    CELERYD_MAX_TASKS_PER_CHILD: 100,
    CELERYD_TASK_TIME_LIMIT: 600,
    CELERYD_TASK_SOFT_TIME_LIMIT: 540,
    CELERY_DEFAULT_QUEUE: `${mark}default`,
    CELERY_DEFAULT_EXCHANGE_TYPE: 'direct',
    CELERY_DEFAULT_ROUTING_KEY: `${mark}default`,
    CELERY_QUEUES: {
      [`${mark}default`]: { exchange: `${mark}default`, binding_key: `${mark}default` },
      [`${mark}feeds`]: { exchange: `${mark}media`, exchange_type: 'topic', binding_key: 'media.#' },
    },
    CELERY_ROUTES: { 'tasks.fetch': { queue: `${mark}feeds`, routing_key: 'media.video' } },
    CELERYBEAT_SCHEDULE: SECONDS_SCHEDULE,
  }),
  today: ({ broker, backend, mark }) => ({
    brokerUrl: broker,
    resultBackend: backend,
    taskSerializer: 'json',
    resultSerializer: 'json',
    acceptContent: ['json'],
    timezone: 'Europe/Oslo',
    enableUtc: true,
    resultExpires: 18_000,
    workerConcurrency: 2,
    workerPrefetchMultiplier: 4,
    workerMaxTasksPerChild: 100,
    taskTimeLimit: 600,
    taskSoftTimeLimit: 540,
    taskDefaultQueue: `${mark}default`,
    taskDefaultExchangeType: 'direct',
    taskDefaultRoutingKey: `${mark}default`,
    taskQueues: {
      [`${mark}default`]: { exchange: `${mark}default`, binding_key: `${mark}default` },
      [`${mark}feeds`]: { exchange: `${mark}media`, exchange_type: 'topic', binding_key: 'media.#' },
    },
    taskRoutes: { 'tasks.fetch': { queue: `${mark}feeds`, routing_key: 'media.video' } },
    beatSchedule: SECONDS_SCHEDULE,
  }),
};

/** Queues as objects, of all three types of exchange; a crontab. */
export const objects = {
  old: ({ broker, backend, mark }) => ({
    BROKER_URL: broker,
    CELERY_RESULT_BACKEND: backend,
    CELERY_TASK_SERIALIZER: 'json',
    CELERY_ACCEPT_CONTENT: ['json', 'yaml'],
    CELERY_TIMEZONE: 'Europe/Paris',
    CELERYD_CONCURRENCY: 1,
    CELERYD_MAX_TASKS_PER_CHILD: 1000,
    CELERYD_TASK_TIME_LIMIT: 300,
    CELERY_TASK_RESULT_EXPIRES: 3600,
    CELERY_DEFAULT_QUEUE: `${mark}default`,
    CELERY_QUEUES: [
      { name: `${mark}default`, exchange: { name: `${mark}default`, type: 'direct' }, routing_key: `${mark}default` },
      { name: `${mark}reports`, exchange: { name: `${mark}documents`, type: 'topic' }, routing_key: 'document.*' },
      { name: `${mark}notices`, exchange: { name: `${mark}all`, type: 'fanout' } },
    ],
    CELERYBEAT_SCHEDULE: CRONTAB_SCHEDULE,
  }),
  today: ({ broker, backend, mark }) => ({
    brokerUrl: broker,
    resultBackend: backend,
    taskSerializer: 'json',
    acceptContent: ['json', 'yaml'],
    timezone: 'Europe/Paris',
    workerConcurrency: 1,
    workerMaxTasksPerChild: 1000,
    taskTimeLimit: 300,
    resultExpires: 3600,
    taskDefaultQueue: `${mark}default`,
    taskQueues: [
      { name: `${mark}default`, exchange: { name: `${mark}default`, type: 'direct' }, routingKey: `${mark}default` },
      { name: `${mark}reports`, exchange: { name: `${mark}documents`, type: 'topic' }, routingKey: 'document.*' },
      { name: `${mark}notices`, exchange: { name: `${mark}all`, type: 'fanout' } },
    ],
    beatSchedule: CRONTAB_SCHEDULE,
  }),
};
