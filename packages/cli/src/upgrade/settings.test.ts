import { describe, expect, test } from 'vitest';
import { renderConfig } from './config-file.ts';
import { readPythonSettings } from './python-settings.ts';
import { readScriptSettings } from './script-settings.ts';

function python(source: string, options?: { readonly django: boolean }): string {
  return renderConfig(readPythonSettings(source, options), 'celeryconfig.py');
}

/** The one setting of a line, without its name. */
function value(code: string): string {
  const { settings, todos } = readPythonSettings(`BROKER_FAILOVER_STRATEGY = ${code}\n`);
  return settings[0]?.code ?? `TODO ${todos[0]?.reason}`;
}

/** Name and code of what is translated, and the lines that are left to do. */
function upgraded(source: string): { readonly settings: object; readonly left: readonly number[] } {
  const { settings, todos } = readPythonSettings(source);
  return {
    settings: Object.fromEntries(settings.map(({ name, code }) => [name, code])),
    left: todos.map(({ line }) => line),
  };
}

describe('Python values', () => {
  test.each([
    ['1_000', '1_000'],
    ['.5', '0.5'],
    ['0x1f', '0x1f'],
    ['-1.5e3', '-1.5e3'],
    ['-2 ** 2', '-(2 ** 2)'],
    ['7 // 2', 'Math.floor(7 / 2)'],
    ['True', 'true'],
    ['None', 'null'],
    ["'it''s'", "'its'"],
    [
      `"a'b\\n\\x41\\u00e4\\
c"`,
      "'a\\'b\\nA\u00e4c'",
    ],
    [`r'\\d'`, "'\\\\d'"],
    [
      `"""two
lines"""`,
      "'two\\nlines'",
    ],
    ["b'x'", 'TODO brokerFailoverStrategy: Bytes have no counterpart.'],
    ["('a', 'b')", "['a', 'b']"],
    ["['a'] + ['b'] + []", "['a', 'b']"],
    ["{'a', 'b'}", "['a', 'b']"],
    ["{'a-b': 1, 'c': {}}", "{ 'a-b': 1, c: {} }"],
    ['dict(a=1, **{})', 'TODO brokerFailoverStrategy: Spread arguments have no counterpart.'],
    ['timedelta(days=1, hours=2)', '93600'],
    ['datetime.timedelta(0, 30)', '30'],
    ["os.environ.get('A', 'x')", "process.env.A ?? 'x'"],
    ["os.getenv('A') or os.environ.get('B', 'x')", "process.env.A || (process.env.B ?? 'x')"],
    ["int(os.environ['A-B'])", "Number(process.env['A-B'])"],
    ["1 if 'A' in os.environ else 2", "'A' in process.env ? 1 : 2"],
    ["not os.getenv('A')", '!process.env.A'],
    ['f\'{os.getenv("A")}/{{x}}`\'', '`${process.env.A}/{x}\\``'],
    ["f'{1:02}'", 'TODO brokerFailoverStrategy: A format has no counterpart.'],
    ['[x for x in y]', 'TODO brokerFailoverStrategy: ArrayComprehensionExpression has no counterpart.'],
    ["load('x')", 'TODO brokerFailoverStrategy: "load(...)" is not known here.'],
    ["'\\U0001F600\\u00e4'", "'\u{1F600}\u00e4'"],
    ["'q' * 2", 'TODO brokerFailoverStrategy: "*" of texts or lists has no counterpart.'],
    ['[1] * 2', 'TODO brokerFailoverStrategy: "*" of texts or lists has no counterpart.'],
    ['1 < 2 < 3', 'TODO brokerFailoverStrategy: A chain of comparisons has no counterpart.'],
    [
      "int(os.environ.get('L', 30 if 'D' in os.environ else 60))",
      "Number(process.env.L ?? ('D' in process.env ? 30 : 60))",
    ],
    ["os.getenv('Q', os.getenv('P') or 'a')", "process.env.Q ?? (process.env.P || 'a')"],
    ["os.getenv('Q', os.getenv('P', 'a'))", "process.env.Q ?? (process.env.P ?? 'a')"],
    ["timedelta(days=int(os.environ['A']) + 1)", '((Number(process.env.A) + 1) * 86400)'],
    ['not 1 and 2', '!1 && 2'],
    ['1 and not 2 or 3', '1 && !2 || 3'],
    ['not (1 and 2)', '!(1 && 2)'],
    ['not 1 == 2', '!(1 === 2)'],
    ['not not 1', 'TODO brokerFailoverStrategy: "not not" has no counterpart.'],
    ['int(7 / 2)', 'Math.trunc(Number(7 / 2))'],
    ['UNKNOWN', 'TODO brokerFailoverStrategy: "UNKNOWN" is not known here.'],
  ])('%s', (code, expected) => {
    expect(value(code)).toBe(expected);
  });
});

test('a module of settings, old names and new', () => {
  expect(
    python(`import os
from celery.schedules import crontab
from kombu import Exchange, Queue

default = 'main'
HOST = os.environ.get('REDIS_HOST', 'localhost')

# Where messages go.
BROKER_URL = f'redis://{HOST}:6379/0'
result_backend = BROKER_URL  # the same
CELERYD_TASK_TIME_LIMIT = 60 * 5
CELERY_DEFAULT_QUEUE = default
CELERY_ACCEPT_CONTENT = ['json', 'pickle']
BROKER_POOL_LIMIT = None
CELERY_QUEUES = (
    Queue('default', Exchange('default', type='direct'), routing_key='default'),
    Queue('videos', Exchange('media'), routing_key='media.video', queue_arguments={'x-max-priority': 10}),
    Broadcast('all'),
)
CELERY_ROUTES = {'feed.*': {'queue': 'feeds', 'routing_key': 'feed.import'}}
CELERYBEAT_SCHEDULE = {
    'birthdays': {
        'task': 'people.birthdays',
        'schedule': crontab(minute=0, hour='*/3,10-19'),
        'kwargs': {'routing_key': 'own'},
        'options': {'routing_key': 'hi'},
    },
    'often': {'task': 't', 'schedule': solar('sunset', -37.8, 144.9)},
}
CELERY_TASK_SERIALISER = 'json'
if DEBUG:
    CELERY_ALWAYS_EAGER = True
`),
  ).toBe(`// Rewritten from celeryconfig.py by "lovage upgrade settings".
// Celery refuses a file with names of before 4.0 (BROKER_URL, CELERYD_TASK_TIME_LIMIT, CELERY_DEFAULT_QUEUE and 4 more) and today's (result_backend): see that none is a leftover.
import { solar } from '@lovage/beat';
import { crontab, defineConfig } from '@lovage/core';

const HOST = process.env.REDIS_HOST ?? 'localhost';
const BROKER_URL = \`redis://\${HOST}:6379/0\`;
const default_ = 'main';

export default defineConfig({
  // Where messages go.
  brokerUrl: BROKER_URL,
  // the same
  resultBackend: BROKER_URL,
  taskTimeLimit: 60 * 5,
  taskDefaultQueue: default_,
  // TODO: acceptContent: Pickle is never decoded here. Let Python write JSON first. Line 13 was:
  // CELERY_ACCEPT_CONTENT = ['json', 'pickle']
  // Without effect here: One connection carries what a process publishes. (BROKER_POOL_LIMIT)
  // brokerPoolLimit: null,
  taskQueues: [
    { name: 'default', exchange: { name: 'default', type: 'direct' }, routingKey: 'default' },
    {
      name: 'videos',
      exchange: { name: 'media' },
      routingKey: 'media.video',
      queueArguments: { 'x-max-priority': 10 },
    },
    { name: 'all', broadcast: true },
  ],
  taskRoutes: { 'feed.*': { queue: 'feeds', routingKey: 'feed.import' } },
  beatSchedule: {
    birthdays: {
      task: 'people.birthdays',
      schedule: crontab({ minute: 0, hour: '*/3,10-19' }),
      kwargs: { routing_key: 'own' },
      options: { routingKey: 'hi' },
    },
    often: { task: 't', schedule: solar('sunset', -37.8, 144.9) },
  },
  // TODO: There is no setting "CELERY_TASK_SERIALISER". Did you mean "CELERY_TASK_SERIALIZER"? Line 30 was:
  // CELERY_TASK_SERIALISER = 'json'
  // TODO: CELERY_ALWAYS_EAGER depends on more than a value. Line 31 was:
  // if DEBUG:
  //     CELERY_ALWAYS_EAGER = True
});
`);
});

test('a text of the environment becomes what the setting is', () => {
  const source = `
worker_concurrency = os.environ.get('A', 4)
worker_prefetch_multiplier = os.environ['B']
task_time_limit = os.getenv('C')
result_expires = os.getenv('D', None)
N = os.getenv('E') or '7'
task_soft_time_limit = N
CELERYD_MAX_TASKS_PER_CHILD = os.environ.get('F')
MAX = CELERYD_MAX_TASKS_PER_CHILD
worker_max_memory_per_child = MAX
beat_max_loop_interval = os.environ['G'] if 'G' in os.environ else 5
task_acks_late = os.environ.get('H', False)
task_default_queue = os.environ.get('I')
broker_connection_timeout = int(os.environ.get('J', 4))
`;
  const { settings, todos } = readPythonSettings(source);
  expect(todos).toEqual([]);
  expect(Object.fromEntries(settings.map(({ name, code }) => [name, code]))).toEqual({
    workerConcurrency: 'Number(process.env.A ?? 4)',
    workerPrefetchMultiplier: 'Number(process.env.B)',
    taskTimeLimit: 'process.env.C ? Number(process.env.C) : undefined',
    resultExpires: 'process.env.D ? Number(process.env.D) : null',
    taskSoftTimeLimit: 'Number(N)',
    workerMaxTasksPerChild: 'CELERYD_MAX_TASKS_PER_CHILD ? Number(CELERYD_MAX_TASKS_PER_CHILD) : undefined',
    workerMaxMemoryPerChild: 'MAX ? Number(MAX) : undefined',
    beatMaxLoopInterval: "Number('G' in process.env ? process.env.G : 5)",
    taskAcksLate: 'Boolean(process.env.H ?? false)',
    taskDefaultQueue: 'process.env.I',
    brokerConnectionTimeout: 'Number(process.env.J ?? 4)',
  });
  expect(upgraded("accept_content = os.environ['A']\ntask_time_limit = os.getenv('A', os.getenv('B'))")).toEqual({
    settings: {},
    left: [1, 2],
  });
});

test('names of before 4.0 beside those of today are said, as Celery would', () => {
  const { notes } = readPythonSettings("BROKER_URL = 'redis://a'\nCELERYD_CONCURRENCY = 3\ntask_time_limit = 5");
  expect(notes).toEqual([
    "Celery refuses a file with names of before 4.0 (BROKER_URL, CELERYD_CONCURRENCY) and today's (task_time_limit): see that none is a leftover.",
  ]);
  expect(readPythonSettings("timezone = 'UTC'\ntask_time_limit = 5").notes).toEqual([]);
  expect(readPythonSettings('CELERYD_CONCURRENCY = 3').notes).toEqual([]);
});

test("Django's own names are left alone", () => {
  const source = `TIME_ZONE = 'UTC'\nDATABASES = {}\nCELERY_TASK_ALWAYS_EAGER = True\nCELERY_TIMEZONE = TIME_ZONE\n`;
  const { settings, todos } = readPythonSettings(source, { django: true });
  expect(settings.map(({ name, code }) => [name, code])).toEqual([
    ['taskAlwaysEager', 'true'],
    ['timezone', 'TIME_ZONE'],
  ]);
  expect(todos).toEqual([]);
});

test('app.conf, class bodies, several targets', () => {
  const { settings, todos } = readPythonSettings(
    `app.conf.task_serializer = 'json'\napp.conf.update(worker_concurrency=2, timezone='UTC')\nclass Config:\n    task_serializer = 'yaml'\ntask_time_limit = task_soft_time_limit = 3\nimports = 'a', 'b'\nimports += ('c',)\ntask_routes = ('app.Router',)\n`,
  );
  expect(settings.map(({ name, code }) => [name, code])).toEqual([
    ['workerConcurrency', '2'],
    ['timezone', "'UTC'"],
    ['taskTimeLimit', '3'],
    ['taskSoftTimeLimit', '3'],
  ]);
  expect(todos.map(({ line, reason }) => [line, reason])).toEqual([
    [1, 'taskSerializer is not the same in the module and Config.'],
    [4, 'taskSerializer is not the same in Config and the module.'],
    [6, 'imports: It names Python modules. Give the modules of TypeScript that define the tasks.'],
    [7, 'imports depends on more than a value.'],
    [8, 'taskRoutes: A router is a function or an object here, not the name of a Python class: import it and give it.'],
  ]);
});

test('an object of TypeScript keeps its values, and the module what it has besides', () => {
  const source = `import { hostname } from 'node:os';

const host: string = hostname();
export const settings: object = {
  // the broker
  BROKER_URL: \`redis://\${host}\`,
  'CELERYD_CONCURRENCY': 4,
  task_routes: {
    a: { queue: 'b' },
  },
  nope: 1,
  ...other,
};
`;
  expect(
    renderConfig(readScriptSettings(source), 'old.ts'),
  ).toBe(`// Rewritten from old.ts by "lovage upgrade settings".
import { defineConfig } from '@lovage/core';

import { hostname } from 'node:os';

const host: string = hostname();

export default defineConfig({
  // the broker
  brokerUrl: \`redis://\${host}\`,
  workerConcurrency: 4,
  taskRoutes: {
    a: { queue: 'b' },
  },
  // TODO: There is no setting "nope". Line 11 was:
  // nope: 1
  // TODO: It is no plain setting. Line 12 was:
  // ...other
});
`);
});

test('of an app of JavaScript its settings are taken, and the rest is said to be left', () => {
  const source = `import { Lovage } from '@lovage/core';
const host = 'a';
export const app = new Lovage('shop', { BROKER_URL: host, result_backend: 'rpc://' });
export const add = app.task('add', () => 1);
`;
  const { settings, notes, preamble } = readScriptSettings(source);
  expect(settings.map(({ name }) => name)).toEqual(['brokerUrl', 'resultBackend']);
  expect(preamble).toEqual(["import { Lovage } from '@lovage/core';", "const host = 'a';"]);
  expect(notes).toEqual(['Line 3 is more than settings: what else it says, and what follows it, is not here.']);
});

test.each([
  'export default defineConfig({ timezone: "UTC" });',
  'module.exports = { timezone: "UTC" };',
  'export const settings = Object.freeze({ timezone: "UTC" } as const);',
  'export default { timezone: "UTC" } satisfies object;',
])('%s is nothing but settings', (source) => {
  expect(readScriptSettings(`${source}\nexport const x = 1;\n`)).toMatchObject({
    settings: [{ name: 'timezone' }],
    notes: [],
    preamble: ['export const x = 1;'],
  });
});

test('exports of JavaScript are settings too', () => {
  const { settings, preamble } = readScriptSettings(`const x = 1;\nexports.CELERYD_CONCURRENCY = x;\n`);
  expect(settings.map(({ name, code }) => [name, code])).toEqual([['workerConcurrency', 'x']]);
  expect(preamble).toEqual(['const x = 1;']);
});

describe('nothing is dropped without a word', () => {
  test.each([
    [
      "app = Celery('p', broker='redis://a', backend='rpc://')",
      { brokerUrl: "'redis://a'", resultBackend: "'rpc://'" },
    ],
    ["app.conf.update({'task_time_limit': 10}, enable_utc=False)", { taskTimeLimit: '10', enableUtc: 'false' }],
    ["app.conf.update(**{'task_time_limit': 10})", { taskTimeLimit: '10' }],
    ['app.conf.update(dict(task_time_limit=10))', { taskTimeLimit: '10' }],
    ["app.conf['task_time_limit'] = 10", { taskTimeLimit: '10' }],
    ['app.conf.task_time_limit = 10', { taskTimeLimit: '10' }],
  ])('%s is read', (source, settings) => {
    expect(upgraded(source)).toEqual({ settings, left: [] });
  });

  test.each([
    "app = Celery('p', include=['p.tasks'])",
    "app = Celery('p', config_source='celeryconfig')",
    "app.config_from_object('celeryconfig')",
    "app.config_from_object('django.conf:settings', namespace='CELERY')",
    "app.config_from_envvar('CELERY_CONFIG_MODULE')",
    'def make():\n    app.config_from_object(celeryconfig)',
    "if X:\n    app = Celery('p', broker='redis://a')",
    'app.conf.update(load())',
    'app.conf.update(**load())',
    'if DEBUG:\n    app.conf.update(task_time_limit=10)',
    "app.conf.beat_schedule['x'] = {'task': 'a', 'schedule': 3}",
    'app.conf.beat_schedule.update({})',
    'def f():\n    app.conf.task_time_limit = 10',
    'if DEBUG: task_always_eager = True',
    "task_routes['a'] = {'queue': 'b'}",
    "task_routes.update({'a': {'queue': 'b'}})",
    'with x() as y:\n    worker_concurrency = 3',
    'for worker_concurrency in range(3): pass',
    'worker_concurrency, x = 1, 2',
    'def f():\n    global worker_concurrency\n    worker_concurrency = 3',
    'try:\n    from local import *\nexcept ImportError:\n    pass',
    'from local import *',
    'from local import task_routes',
    "globals().update({'task_time_limit': 3})",
    'worker_concurrency = None',
    'broker_heartbeat = None',
    "worker_concurrency = 4 if os.getenv('A') else None",
    "broker_heartbeat = os.environ.get('A', None)",
    'task_always_eager = 1',
    "imports = ('a.b',)",
    "result_backend = 'django-db'",
    "beat_scheduler = 'django_celery_beat.schedulers:DatabaseScheduler'",
    "task_serializer = 'pickle'",
  ])('%s is left to do', (source) => {
    expect(upgraded(source)).toEqual({ settings: {}, left: [1] });
  });

  test.each([
    ['celeryconfig', "app.config_from_object('celeryconfig:Prod')"],
    ['settings', 'app.config_from_object(settings)'],
  ])('the module that has the settings is named: %s', (module, source) => {
    const [todo] = readPythonSettings(source).todos;
    expect(todo?.reason).toBe(`Settings of ${module} are not followed: give its file to this command too.`);
  });

  test('settings of this file are read here, whoever takes them from it', () => {
    const source =
      'class Config:\n    task_time_limit = 3\napp.config_from_object(Config)\napp.config_from_object(__name__)';
    expect(upgraded(source)).toEqual({ settings: { taskTimeLimit: '3' }, left: [] });
  });

  test('an old name and a new one of one setting', () => {
    expect(upgraded('CELERYD_CONCURRENCY = 4\nworker_concurrency = 8')).toEqual({ settings: {}, left: [1, 2] });
    expect(upgraded('CELERYD_CONCURRENCY = 4\nworker_concurrency = 4')).toEqual({
      settings: { workerConcurrency: '4' },
      left: [],
    });
    const script = readScriptSettings(
      'export default { CELERYD_CONCURRENCY: 4, timezone: "UTC", workerConcurrency: 8 }',
    );
    expect(script.settings.map(({ name }) => name)).toEqual(['timezone']);
    expect(script.todos.map(({ reason }) => reason)).toEqual([
      'CELERYD_CONCURRENCY and workerConcurrency are one setting, with different values.',
      'workerConcurrency and CELERYD_CONCURRENCY are one setting, with different values.',
    ]);
  });

  test('what a function has of its own, and what is only read, is no setting', () => {
    expect(upgraded('def f():\n    imports = []\n    imports.index(1)\nprint(timezone)')).toEqual({
      settings: {},
      left: [],
    });
  });

  test.each([
    ["HOST = 'a'\nif X: HOST = 'b'\nbroker_url = f'redis://{HOST}'", 3],
    ["HOST = 'a'\ntry:\n    from local import HOST\nexcept ImportError: pass\nbroker_url = HOST", 5],
    ["OPTIONS = {}\nOPTIONS['a'] = 1\nbroker_transport_options = OPTIONS", 3],
    ["MODULES = ['json']\nMODULES.append('yaml')\naccept_content = MODULES", 3],
    ["HOST = 'a'\nHOST = HOST + 'b'\nbroker_url = HOST", 3],
  ])('a name with more than one value has none: %s', (source, line) => {
    expect(upgraded(source)).toEqual({ settings: {}, left: [line] });
  });

  test('classes that disagree', () => {
    const source = `class Dev:\n    broker_url = 'redis://a'\n    timezone = 'UTC'\nclass Prod:\n    broker_url = 'redis://b'\n    timezone = 'UTC'\n`;
    expect(upgraded(source)).toEqual({ settings: { timezone: "'UTC'" }, left: [2, 5] });
  });

  test('lists under names are joined as lists', () => {
    expect(upgraded(`A = ['json']\nB = ['yaml']\naccept_content = A + B`).settings).toEqual({
      acceptContent: '[...A, ...B]',
    });
  });

  test.each([
    ['timezone = "UTC"\nbroker_url = (', /^Line 2 is no Python that can be read: broker_url = \($/],
    ['task_time_limit = 3 +\n', /^Line 1 is no Python/],
  ])('%s is refused', (source, message) => {
    expect(() => readPythonSettings(source)).toThrow(message);
  });
});
