import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Settings } from '@lovage/core';
import { afterAll, expect, test, vi } from 'vitest';
import { projectFolder } from '../../test/support/folder.ts';
import { loadProject } from '../load-app.ts';
import { renderConfig } from './config-file.ts';
import { readPythonSettings } from './python-settings.ts';

const DJANGO = `import os
from datetime import timedelta
from celery.schedules import crontab
from .base import *

DEBUG = os.environ.get('DEBUG') == '1'
TIME_ZONE = 'Europe/Berlin'
TASKS = {}
REDIS_HOST = 'localhost'
if not DEBUG:
    REDIS_HOST = 'prod'
CELERY_BROKER_URL = f'redis://{REDIS_HOST}:6379/0'
CELERY_RESULT_BACKEND = 'django-db'
CELERY_TIMEZONE = TIME_ZONE
CELERY_TASK_TIME_LIMIT = int(os.environ.get('TASK_LIMIT', 30 if DEBUG else 60))
CELERY_TASK_DEFAULT_QUEUE = os.getenv('QUEUE', os.getenv('PROJECT') or 'shop')
CELERY_ACCEPT_CONTENT = ['json', 'yaml']
CELERY_WORKER_CONCURRENCY = None
CELERY_BEAT_SCHEDULER = 'django_celery_beat.schedulers:DatabaseScheduler'
CELERY_BEAT_SCHEDULE = {
    'nightly': {'task': 'shop.clean', 'schedule': crontab(hour=3, minute=0)},
    'often': {'task': 'shop.poll', 'schedule': timedelta(seconds=30)},
}
CELERY_BEAT_SCHEDULE['more'] = {'task': 'shop.more', 'schedule': 5}
CELERY_TASK_ROUTES = {'shop.mail.*': {'queue': 'mail'}}
CELERY_TASK_ANNOTATIONS = {'*': {'rate_limit': '10/s'}}
if DEBUG:
    CELERY_TASK_ALWAYS_EAGER = True
try:
    from .local import *
except ImportError:
    pass
`;

const CELERYCONFIG = `from celery import Celery
app = Celery('p', broker='memory://', backend='cache+memory://', include=['p.tasks'])
app.conf.update({'task_time_limit': 10}, worker_prefetch_multiplier=2)
app.conf['task_soft_time_limit'] = 5
app.conf.result_expires = 60 * 60
app.conf.beat_schedule['x'] = {'task': 'a', 'schedule': 3}
task_always_eager = 1
broker_heartbeat = None
imports = ('a.b',)
task_default_queue = '\\U0001F600'
task_default_exchange = 'q' * 2
task_routes = {'a.*': {'queue': 'a'}}
task_routes['a'] = {'queue': 'b'}
task_routes.update({'c': {'queue': 'd'}})
with open('x') as f:
    worker_concurrency = int(f.read())
class Dev:
    result_extended = True
class Prod:
    result_extended = False
`;

const folder = projectFolder({ 'package.json': '{ "name": "shop", "type": "module" }' });
afterAll(() => folder.remove());

interface Loaded {
  readonly settings: Settings;
  /** Lines that are left to do; each stands in the file. */
  readonly left: readonly number[];
}

async function load(name: string, source: string, django: boolean): Promise<Loaded> {
  const upgraded = readPythonSettings(source, { django });
  const text = renderConfig(upgraded, name);
  const config = `${name}.config.ts`;
  writeFileSync(join(folder.path, config), text);
  const left = upgraded.todos.map(({ line }) => line);
  expect([...text.matchAll(/\/\/ TODO: .* Line (\d+) was:\n/g)].map(([, line]) => Number(line))).toEqual(left);
  const project = await loadProject({ workdir: folder.path, app: undefined, config });
  expect(project).toBeDefined();
  return { settings: (project as NonNullable<typeof project>).app.settings, left };
}

test("what became of Django's settings loads", async () => {
  for (const name of ['DEBUG', 'TASK_LIMIT', 'QUEUE', 'PROJECT']) vi.stubEnv(name, undefined);
  vi.stubEnv('PROJECT', 'garden');
  const { settings, left } = await load('settings.py', DJANGO, true);
  expect(settings).toMatchObject({
    timezone: 'Europe/Berlin',
    taskTimeLimit: 60,
    taskDefaultQueue: 'garden',
    acceptContent: ['json', 'yaml'],
    taskRoutes: { 'shop.mail.*': { queue: 'mail' } },
    taskAlwaysEager: false,
  });
  expect(Object.keys(settings.beatSchedule ?? {})).toEqual(['nightly', 'often']);
  expect(left).toEqual([4, 12, 13, 18, 19, 24, 27, 29]);
  vi.unstubAllEnvs();
});

test('what became of a celeryconfig.py loads', async () => {
  const { settings, left } = await load('celeryconfig.py', CELERYCONFIG, false);
  expect(settings).toMatchObject({
    brokerUrl: 'memory://',
    resultBackend: 'cache+memory://',
    include: [],
    imports: [],
    taskTimeLimit: 10,
    workerPrefetchMultiplier: 2,
    taskSoftTimeLimit: 5,
    resultExpires: 3600,
    taskDefaultQueue: '\u{1F600}',
    taskAlwaysEager: false,
    resultExtended: false,
  });
  expect(left).toEqual([2, 6, 7, 8, 9, 11, 13, 14, 15, 18, 20]);
});
