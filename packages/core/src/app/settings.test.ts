import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { describe, expect, test } from 'vitest';
import { isLovageError } from '../errors.ts';
import { crontab } from '../schedule/crontab.ts';
import { toSnakeCase } from './option-names.ts';
import { Queues } from './queues.ts';
import { describeSettings, readSettings, settingsWithoutEffect, type SettingsSource } from './settings.ts';
import { oldSettingName, SETTING_SPELLINGS, SETTINGS, type SettingName, type Settings } from './settings-table.ts';

type Environment = Readonly<Record<string, string>>;

function read(values: Readonly<Record<string, unknown>>, environment: Environment = {}): Settings {
  return readSettings([{ from: 'the test', values }], environment);
}

function source(values: object, more: Partial<SettingsSource> = {}): SettingsSource {
  return { from: 'the test', values, ...more };
}

function moduleOf(code: string): Promise<object> {
  return import(`data:text/javascript,${encodeURIComponent(code)}`) as Promise<object>;
}

function pick(): string {
  return 'q';
}

const CELERY = JSON.parse(readFileSync(new URL('celery-5.6.3-settings.test.json', import.meta.url), 'utf8')) as Record<
  string,
  { readonly old: string; readonly default: unknown }
>;

/** Where our default is another on purpose, or has another form. */
const OTHER_DEFAULTS: Readonly<Partial<Record<SettingName, unknown>>> = {
  brokerUrl: 'sqla+sqlite:///lovage.db',
  brokerHeartbeat: 20,
  brokerConnectionMaxRetries: null,
  taskAcksLate: true,
  taskDefaultExchange: 'celery',
  taskDefaultRoutingKey: 'celery',
  taskPublishRetryPolicy: { maxRetries: 3, intervalStart: 0, intervalStep: 0.2, intervalMax: 1 },
  resultBackend: 'db+sqlite:///lovage.db',
  resultBackendMaxRetries: Number.POSITIVE_INFINITY,
  workerPool: 'async',
  workerConcurrency: 100,
  workerPrefetchMultiplier: 1,
  workerEtaTaskLimit: 10_000,
};

describe('the table', () => {
  test('knows every setting of Celery 5.6.3, with its old name', () => {
    const ours = Object.fromEntries(
      [...SETTINGS.keys()]
        .map((name) => [toSnakeCase(name), oldSettingName(name)])
        .filter(([name]) => String(name) in CELERY),
    ) as Record<string, string>;
    expect(ours).toEqual(Object.fromEntries(Object.entries(CELERY).map(([name, { old }]) => [name, old])));
  });

  test('has its defaults, but for those that differ on purpose', () => {
    const settings = read({});
    for (const [name, { default: expected }] of Object.entries(CELERY)) {
      const setting = SETTING_SPELLINGS.get(name) as SettingName;
      expect(settings[setting] ?? null, name).toEqual(setting in OTHER_DEFAULTS ? OTHER_DEFAULTS[setting] : expected);
    }
  });

  test('no spelling means two settings', () => {
    const meanings = new Map<string, SettingName>();
    for (const name of SETTINGS.keys()) {
      for (const spelling of [
        name,
        toSnakeCase(name),
        oldSettingName(name),
        `CELERY_${toSnakeCase(name).toUpperCase()}`,
      ]) {
        if (spelling === undefined) continue;
        expect(meanings.get(spelling) ?? name, spelling).toBe(name);
        meanings.set(spelling, name);
      }
    }
    for (const [spelling, name] of meanings) {
      if (SETTING_SPELLINGS.has(spelling)) expect(SETTING_SPELLINGS.get(spelling), spelling).toBe(name);
    }
  });

  test('every default passes its own check', () => {
    for (const [name, { kind, defaultValue, whenNull }] of SETTINGS) {
      if (defaultValue === undefined || (defaultValue === null && whenNull === 'value')) continue;
      expect(kind.read(defaultValue), name).toEqual(defaultValue);
    }
  });

  test('what is documented says something', () => {
    for (const [name, { doc }] of SETTINGS) expect(doc, name).toMatch(/^\S.*\.$/s);
  });
});

describe('spellings', () => {
  test.each(['taskSerializer', 'task_serializer', 'CELERY_TASK_SERIALIZER'])('%s', (key) =>
    expect(read({ [key]: 'yaml' }).taskSerializer).toBe('yaml'),
  );

  test.each([
    ['CELERYD_CONCURRENCY', 'workerConcurrency', 3],
    ['BROKER_URL', 'brokerUrl', 'redis://h'],
    ['broker', 'brokerUrl', 'redis://h'],
    ['backend', 'resultBackend', 'redis://h'],
    ['CELERY_ALWAYS_EAGER', 'taskAlwaysEager', true],
    ['CELERY_TASK_ALWAYS_EAGER', 'taskAlwaysEager', true],
    ['CELERY_EAGER_PROPAGATES', 'taskEagerPropagates', true],
    ['CELERY_EAGER_PROPAGATES_EXCEPTIONS', 'taskEagerPropagates', true],
    ['CELERY_TASK_RESULT_EXPIRES', 'resultExpires', 5],
    ['CELERY_RESULT_EXPIRES', 'resultExpires', 5],
    ['CELERY_COMPRESSION', 'taskCompression', 'zlib'],
    ['CELERY_MESSAGE_COMPRESSION', 'taskCompression', 'zlib'],
    ['CELERY_PUBLISH_RETRY', 'taskPublishRetry', false],
    ['CELERY_SEND_SENT_EVENT', 'taskSendSentEvent', true],
    ['CELERYD_SOFT_TIME_LIMIT', 'taskSoftTimeLimit', 4],
    ['CELERYD_TIME_LIMIT', 'taskTimeLimit', 4],
    ['CELERY_TASK_TRACK_STARTED', 'taskTrackStarted', true],
    ['CELERY_TRACK_STARTED', 'taskTrackStarted', true],
    ['CELERY_TASK_REJECT_ON_WORKER_LOST', 'taskRejectOnWorkerLost', true],
    ['CELERY_WORKER_LOG_FORMAT', 'workerLogFormat', 'x'],
    ['CELERYD_REDIRECT_STDOUTS', 'workerRedirectStdouts', false],
    ['CELERYD_REDIRECT_STDOUTS_LEVEL', 'workerRedirectStdoutsLevel', 'INFO'],
    ['CELERY_RESULT_DB_TABLE_NAMES', 'databaseTableNames', { task: 't' }],
    ['CASSANDRA_COLUMN_FAMILY', 'cassandraTable', 't'],
    ['CELERYBEAT_SCHEDULE', 'beatSchedule', { a: {} }],
    ['ENABLE_UTC', 'enableUtc', false],
    ['CELERY_ENABLE_UTC', 'enableUtc', false],
    ['CELERY_TIMEZONE', 'timezone', 'Europe/Berlin'],
  ] as const)('%s', (key, name, value) => {
    expect(read({ [key]: value })[name]).toEqual(value);
  });

  test('one setting may have two names as long as they agree', () => {
    expect(read({ taskSerializer: 'json', CELERY_TASK_SERIALIZER: 'json' }).taskSerializer).toBe('json');
    expect(() => read({ task_serializer: 'json', CELERY_TASK_SERIALIZER: 'yaml' })).toThrow(
      'the test gives one setting two values: "task_serializer" is "json" and "CELERY_TASK_SERIALIZER" is "yaml". Keep one of them.',
    );
  });

  // What Celery answers to each was seen on 5.6.3.
  test.each([
    [{ task_track_started: true, CELERYD_CONCURRENCY: 2 }, 'Rename CELERYD_CONCURRENCY to worker_concurrency.'],
    [
      { task_track_started: true, CELERYD_CONCURRENCY: 2, CELERY_QUEUES: ['a'] },
      'Rename task_track_started to CELERY_TRACK_STARTED.',
    ],
    [
      { task_track_started: true, worker_concurrency: 2, CELERY_QUEUES: ['a'], BROKER_URL: 'redis://h' },
      'Rename CELERY_QUEUES to task_queues, BROKER_URL to broker_url.',
    ],
  ])('old and new names in one place: %o', (values, message) => {
    expect(() => read(values)).toThrow(
      `the test mixes settings under names of before Celery 4 with today's. ${message}`,
    );
  });

  test.each([
    { result_expires: 5, CELERY_TASK_RESULT_EXPIRES: 5 },
    { broker: 'redis://h', workerConcurrency: 2, CELERYD_TASK_TIME_LIMIT: 5 },
    { timezone: 'UTC', include: ['a'], CELERYD_CONCURRENCY: 2 },
    { CELERY_TASK_ALWAYS_EAGER: true, CELERYD_CONCURRENCY: 2 },
  ])('no mixture: %o', (values) => {
    expect(() => read(values)).not.toThrow();
  });

  test('contradicting secrets are not shown', () => {
    expect(() => read({ broker: 'redis://:one@h', BROKER_URL: 'redis://:two@h' })).toThrow(
      /^(?!.*(?:one|two)@).*two values/,
    );
  });
});

describe('sources', () => {
  test('later ones win', () => {
    expect(
      readSettings([source({ taskSerializer: 'json' }), source({ task_serializer: 'yaml' })], {}).taskSerializer,
    ).toBe('yaml');
  });

  test('a namespace takes its own keys and no others', () => {
    const values = {
      CELERY_TASK_ALWAYS_EAGER: true,
      CELERY_ALWAYS_EAGER: true,
      CELERY_BROKER_URL: 'redis://h',
      DEBUG: true,
      taskSerializer: 5,
    };
    for (const namespace of ['CELERY', 'CELERY_']) {
      const settings = readSettings([source(values, { namespace })], {});
      expect(settings).toMatchObject({ taskAlwaysEager: true, brokerUrl: 'redis://h', taskSerializer: 'json' });
    }
    expect(
      readSettings([source({ JOBS_TASK_TRACK_STARTED: true, JOBS_DELIVERY_LIMIT: 3 }, { namespace: 'JOBS' })], {}),
    ).toMatchObject({
      taskTrackStarted: true,
      deliveryLimit: 3,
    });
    expect(() => readSettings([source({ CELERY_TASK_ALWAYS_EAGR: true }, { namespace: 'CELERY' })], {})).toThrow(
      'unknown setting "CELERY_TASK_ALWAYS_EAGR". Did you mean "CELERY_TASK_ALWAYS_EAGER"?',
    );
  });

  test('an environment with a namespace is text', () => {
    const environment = {
      APP_WORKER_CONCURRENCY: '7',
      APP_TASK_ACKS_LATE: 'no',
      APP_ACCEPT_CONTENT: 'json, yaml',
      APP_TASK_QUEUES: '',
      PATH: '/bin',
    };
    const settings = readSettings([source(environment, { namespace: 'APP' })], environment);
    expect(settings).toMatchObject({
      workerConcurrency: 7,
      taskAcksLate: false,
      acceptContent: ['json', 'yaml'],
      taskQueues: undefined,
    });
  });

  test("Celery's namespace reads Celery's older names too", () => {
    const values = {
      CELERYD_CONCURRENCY: 3,
      CELERYBEAT_MAX_LOOP_INTERVAL: 7,
      CELERY_TASK_RESULT_EXPIRES: 60,
      BROKER_URL: 'redis://h',
      CELERYD_FORCE_EXECV: true,
      DATABASES: {},
    };
    const settings = readSettings([source(values, { namespace: 'CELERY' })], {});
    expect(settings).toMatchObject({
      workerConcurrency: 3,
      beatMaxLoopInterval: 7,
      resultExpires: 60,
      brokerUrl: 'redis://h',
    });
    const environment = { CELERYD_CONCURRENCY: '3', CELERYD_NODES: 'w1 w2', BROKER_URL: 'redis://h' };
    expect(readSettings([source(environment, { namespace: 'CELERY' })], environment)).toMatchObject({
      workerConcurrency: 3,
      brokerUrl: 'sqla+sqlite:///lovage.db',
    });
  });

  test('an environment has variables of others too', () => {
    const environment = {
      JOBS_WORKER_CONCURRENCY: '7',
      JOBS_HOME: '/srv',
      JOBS_PORT: 'tcp://10.0.0.1:5672',
      JOBS_PORT_5672_TCP_ADDR: '10.0.0.1',
      JOBS_REDIS_SERVICE_HOST: '10.0.0.1',
      JOBS_LOG_LEVEL: 'info',
      JOBS_APP: './app',
      JOBS_WORKER_REVOKES_MAX: '5',
    };
    const namespace = 'JOBS';
    expect(readSettings([source(environment, { namespace })], environment).workerConcurrency).toBe(7);
    const wrong = { ...environment, JOBS_WORKER_CONCURENCY: '7' };
    expect(() => readSettings([source(wrong, { namespace })], wrong)).toThrow(
      'unknown setting "JOBS_WORKER_CONCURENCY". Did you mean "JOBS_WORKER_CONCURRENCY"?',
    );
  });

  test('queues in an environment', () => {
    for (const text of ['a, b', '["a", "b"]', '{"a": {}, "b": {"exchange_type": "topic", "binding_key": "b.#"}}']) {
      const settings = read({}, { LOVAGE_TASK_QUEUES: text });
      expect(new Queues(settings).all().map(({ name }) => name)).toEqual(['a', 'b']);
    }
  });

  test('text that should be JSON is not shown when it is none', () => {
    expect(() => read({}, { LOVAGE_BROKER_TRANSPORT_OPTIONS: '{"password": "hush",}' })).toThrow(
      /^The environment has LOVAGE_BROKER_TRANSPORT_OPTIONS = a text of 21 characters\. Expected an object, written as JSON\.$/,
    );
  });

  test('a module: its default export, else its exports without helper functions', async () => {
    const named = await moduleOf(
      'export const task_serializer = "yaml"; export function helper() {}; export class Router {}; export const taskRoutes = () => "q"',
    );
    expect(readSettings([source(named)], {})).toMatchObject({
      taskSerializer: 'yaml',
      taskRoutes: expect.any(Function) as unknown,
    });
    const byDefault = await moduleOf('export default { taskSerializer: "yaml" }; export const anything = 5');
    expect(readSettings([source(byDefault)], {}).taskSerializer).toBe('yaml');
    const wrong = await moduleOf('export const taskSerialiser = "yaml"');
    expect(() => readSettings([source(wrong)], {})).toThrow('Did you mean "taskSerializer"?');
  });

  test('the whole environment is none', () => {
    expect(() => readSettings([source(process.env)], {})).toThrow("{ namespace: 'CELERY' }");
  });

  test('functions in a plain object are no helpers', () => {
    expect(() => read({ helper() {} })).toThrow('unknown setting "helper"');
  });

  test('keys of prototypes', () => {
    expect(() => read(JSON.parse('{"__proto__": 1}') as Record<string, unknown>)).toThrow(
      'unknown setting "__proto__"',
    );
    expect(() => read({ constructor: 1 })).toThrow('unknown setting "constructor"');
  });
});

describe('the environment', () => {
  test('wins over what the program says', () => {
    const values = { broker: 'redis://program', backend: 'redis://program', workerConcurrency: 1 };
    expect(
      read(values, {
        CELERY_BROKER_URL: 'redis://one',
        CELERY_BROKER_READ_URL: 'redis://two',
        CELERY_BROKER_WRITE_URL: 'redis://three',
        CELERY_RESULT_BACKEND: 'redis://four',
        LOVAGE_WORKER_CONCURRENCY: '9',
        LOVAGE_TASK_PUBLISH_RETRY_POLICY: '{"max_retries": null}',
        LOVAGE_DELIVERY_LIMIT: 'none',
        LOVAGE_TASK_TIME_LIMIT: 'null',
        LOVAGE_LEASE_SECONDS: '2.5',
        LOVAGE_BROKER_USE_SSL: 'true',
        LOVAGE_PORT: 'tcp://10.0.0.1:80',
      }),
    ).toMatchObject({
      brokerUrl: 'redis://one',
      brokerReadUrl: 'redis://two',
      brokerWriteUrl: 'redis://three',
      resultBackend: 'redis://four',
      workerConcurrency: 9,
      taskPublishRetryPolicy: { maxRetries: null, intervalStep: 0.2 },
      deliveryLimit: null,
      taskTimeLimit: undefined,
      leaseSeconds: 2.5,
      brokerUseSsl: true,
    });
  });

  test('empty variables say nothing', () => {
    expect(read({ broker: 'redis://h' }, { CELERY_BROKER_URL: '', LOVAGE_WORKER_POOL: '' })).toMatchObject({
      brokerUrl: 'redis://h',
      workerPool: 'async',
    });
  });

  test('a wrong variable is named', () => {
    expect(() => read({}, { LOVAGE_WORKER_CONCURRENCY: 'many' })).toThrow(
      'The environment has LOVAGE_WORKER_CONCURRENCY = "many". Expected an integer from 1 up.',
    );
    expect(() => read({}, { LOVAGE_BROKER_URL: 'redis://a', CELERY_BROKER_URL: 'redis://b' })).toThrow('two values');
  });
});

describe('values', () => {
  test.each([
    ['taskAcksLate', 'false', 'Expected true or false'],
    ['workerConcurrency', 0, 'Expected an integer from 1 up'],
    ['workerConcurrency', 2.5, 'Expected an integer from 1 up'],
    ['workerPool', 'thread', 'Expected "async", "eventlet"'],
    ['taskTimeLimit', -1, 'Expected a number of seconds above 0, or null'],
    ['taskTimeLimit', Number.NaN, 'has taskTimeLimit = NaN'],
    ['taskDefaultPriority', 10, 'Expected an integer from 0 to 9'],
    ['acceptContent', 'json', 'Expected a list of texts'],
    ['acceptContent', ['json', 5], 'has acceptContent = a list'],
    ['timezone', 'Mars/Olympus', 'Expected the name of a time zone'],
    ['taskDefaultRateLimit', '10./m', 'Expected a number a second or a text such as "10/m"'],
    ['taskDefaultRateLimit', '10/d', 'Expected a number a second or a text such as "10/m"'],
    ['taskProtocol', 3, 'Expected 1 or 2'],
    ['brokerUrl', '', 'Expected a URL'],
    ['brokerUrl', [], 'Expected a URL'],
    ['brokerUrl', null, 'Expected a URL'],
    ['brokerTransportOptions', new Map(), 'an object (Map). Expected an object'],
    ['taskPublishRetryPolicy', { maxRetries: -1 }, 'Expected an object with some of maxRetries'],
    ['taskPublishRetryPolicy', { retries: 1 }, 'Expected an object with some of maxRetries'],
    ['taskQueues', 'a', 'Expected a list of queue names'],
    ['taskRoutes', 'a.b:C', 'Expected a router'],
    ['taskAnnotations', 'a.b:C', 'Expected an object of task options by name'],
    [
      'taskAnnotations',
      { 'a.b': { rate_limt: '1/s' } },
      'taskAnnotations for "a.b" has an unknown option "rateLimt". Did you mean "rateLimit"?',
    ],
    ['taskAnnotations', [{ '*': { max_retries: 'many' } }], 'taskAnnotations for "*" has maxRetries "many"'],
    ['taskAnnotations', { '*': { bind: true } }, 'has "bind", which belongs to the function'],
    ['taskAnnotations', { '*': { '@__call__': pick } }, 'use app.around()'],
    ['taskAnnotations', ['a'], 'taskAnnotations holds "a"'],
    ['taskAnnotations', { a: 5 }, 'taskAnnotations for "a" is 5'],
    ['deadLetterQueue', '', 'Expected a queue name'],
    ['taskDefaultQueueType', 'stream', 'Expected "classic" or "quorum"'],
  ])('%s = %o', (key, value, message) => {
    expect(() => read({ [key]: value })).toThrow(message);
    try {
      read({ [key]: value });
    } catch (error) {
      expect(isLovageError(error, 'ERR_CONFIG')).toBe(true);
    }
  });

  test('secrets are masked in errors', () => {
    expect(() => read({ brokerPassword: 12345 })).toThrow(/^(?!.*12345)/);
    expect(() => read({ resultBackend: ['redis://:pw@h'] })).toThrow(/^(?!.*pw@)/);
  });

  test('null is a value, nothing, or a mistake', () => {
    expect(read({ resultExpires: null, taskTimeLimit: null, backend: null })).toMatchObject({
      resultExpires: null,
      taskTimeLimit: undefined,
      resultBackend: undefined,
    });
    expect(() => read({ taskSerializer: null })).toThrow(
      'has taskSerializer = null. Expected a text that is not empty.',
    );
  });

  test('undefined is not given', () => {
    expect(read({ broker: undefined, taskSerializer: undefined }).taskSerializer).toBe('json');
  });

  test.each([
    ['prefork', 'processes', availableParallelism()],
    ['gevent', 'async', 100],
    ['eventlet', 'async', 100],
    ['solo', 'solo', 1],
    ['threads', 'threads', availableParallelism()],
  ])('pool %s', (workerPool, pool, concurrency) => {
    expect(read({ workerPool })).toMatchObject({ workerPool: pool, workerConcurrency: concurrency });
    expect(read({ workerPool, workerConcurrency: 7 }).workerConcurrency).toBe(7);
  });

  test('defaults that follow from others', () => {
    expect(read({ taskDefaultQueue: 'd' })).toMatchObject({ taskDefaultExchange: 'd', taskDefaultRoutingKey: 'd' });
    expect(read({ broker: 'redis://h' }).resultBackend).toBeUndefined();
    expect(read({ brokerReadUrl: 'redis://h' }).resultBackend).toBeUndefined();
    expect(read({}).resultBackend).toBe('db+sqlite:///lovage.db');
    expect(read({ resultBackend: 'db', databaseUrl: 'sqlite:///x.db' }).resultBackend).toBe('db+sqlite:///x.db');
    expect(read({ resultBackend: 'cache', cacheBackend: 'memory://' }).resultBackend).toBe('cache+memory://');
    expect(() => read({ resultBackend: 'db' })).toThrow('databaseUrl is not set');
  });

  test('a broker in parts', () => {
    expect(read({ BROKER_HOST: 'h' }).brokerUrl).toBe('amqp://h');
    expect(
      read({
        brokerTransport: 'redis',
        brokerHost: 'h',
        brokerPort: 1,
        brokerUser: 'u',
        brokerPassword: 'p@/',
        brokerVhost: '/v',
      }).brokerUrl,
    ).toBe('redis://u:p%40%2F@h:1/%2Fv');
  });

  test('limits in the wrong order', () => {
    expect(() => read({ taskTimeLimit: 5, taskSoftTimeLimit: 6 })).toThrow('The soft limit must come first');
  });

  test('queues and routes are looked at', () => {
    expect(() => read({ taskQueues: [{ nme: 'a' }] })).toThrow('taskQueues[0] is no queue');
    expect(() => read({ taskRoutes: { a: { que: 'b' } } })).toThrow('Did you mean "queue"?');
  });

  test('nothing that was given can change them', () => {
    const options = { visibility_timeout: 5 };
    const settings = read({ brokerTransportOptions: options });
    options.visibility_timeout = 6;
    expect(settings.brokerTransportOptions).toEqual({ visibility_timeout: 5 });
    expect(Object.isFrozen(settings)).toBe(true);
  });
});

test.each([
  ['brokerUrll', 'Did you mean "brokerUrl"?'],
  ['task_serialiser', 'Did you mean "task_serializer"?'],
  ['CELERYD_CONCURENCY', 'Did you mean "CELERYD_CONCURRENCY"?'],
  ['TASK_SERIALIZER', 'Did you mean "task_serializer"?'],
  ['zzzzzz', 'the test has an unknown setting "zzzzzz".'],
])('unknown %s', (key, message) => {
  expect(() => read({ [key]: 1 })).toThrow(message);
});

test('settings that Celery has no more change nothing, and are named', () => {
  const settings = read({ CELERYD_FORCE_EXECV: true, CELERY_SEND_TASK_ERROR_EMAILS: false, CELERYD_CONCURRENCY: 2 });
  expect(settings.workerConcurrency).toBe(2);
  expect(settingsWithoutEffect(settings)).toEqual(['CELERYD_FORCE_EXECV', 'CELERY_SEND_TASK_ERROR_EMAILS']);
});

test('settings that change nothing are named', () => {
  expect(
    settingsWithoutEffect(read({ brokerPoolLimit: 5, taskSerializer: 'json', CELERYD_HIJACK_ROOT_LOGGER: false })),
  ).toEqual(['brokerPoolLimit', 'workerHijackRootLogger']);
});

describe('describeSettings', () => {
  class Agent {
    readonly password = 'secret';
  }

  const settings = read({
    broker: ['amqp://me:secret@h//', 'amqp://h2'],
    brokerPassword: 'secret',
    brokerUseSsl: { keyfile: '/secret' },
    resultBackend: 'redis://:secret@h/0?password=secret',
    brokerTransportOptions: {
      sentinelPassword: 'secret',
      sentinel_kwargs: { password: 'secret', ssl: true },
      urls: ['http://a:secret@h'],
      credentials: { id: 'secret', more: ['secret'] },
      tls: { ca: '-----BEGIN CERTIFICATE-----', pem: '-----BEGIN RSA PRIVATE KEY-----\nsecret' },
      nats: 'nats://secret@h',
      key: Buffer.from('secret'),
      ca: Buffer.from('secret'),
      agent: new Agent(),
      url: new URL('http://a:secret@h'),
      since: new Date(0),
      several: 'redis://a:secret@h1;redis://:secret@h2',
      dsn: 'http://h/?sslpass=secret&a=1',
    },
    taskRoutes: [{ a: { queue: 'q', routing_key: 'k' } }, pick],
    resultBackendMaxRetries: Number.POSITIVE_INFINITY,
    s3SecretAccessKey: 'secret',
    taskTimeLimit: null,
  });

  test("what was given, under Celery's names, without secrets", () => {
    expect(describeSettings(settings)).toEqual({
      broker_url: ['amqp://me:**@h//', 'amqp://h2'],
      broker_password: '********',
      broker_use_ssl: '********',
      result_backend: 'redis://:**@h/0?password=**',
      broker_transport_options: {
        sentinelPassword: '********',
        sentinel_kwargs: { password: '********', ssl: true },
        urls: ['http://a:**@h'],
        credentials: '********',
        tls: { ca: '-----BEGIN CERTIFICATE-----', pem: '********' },
        nats: 'nats://**@h',
        key: '<Buffer of 6 bytes>',
        ca: '<Buffer of 6 bytes>',
        agent: '<Agent>',
        url: 'http://a:**@h/',
        since: '1970-01-01T00:00:00.000Z',
        several: 'redis://a:**@h1;redis://:**@h2',
        dsn: 'http://h/?sslpass=**&a=1',
      },
      task_routes: [{ a: { queue: 'q', routing_key: 'k' } }, '<function pick>'],
      result_backend_max_retries: 'Infinity',
      s3_secret_access_key: '********',
      task_time_limit: null,
    });
  });

  test('schedules are shown as they are written', () => {
    const beatSchedule = { report: { task: 'r', schedule: crontab({ minute: 0, hour: '*/3' }) } };
    expect(describeSettings(read({ beatSchedule }))).toEqual({
      beat_schedule: { report: { task: 'r', schedule: "crontab(minute=0, hour='*/3')" } },
    });
  });

  test('with defaults, in JSON', () => {
    const all = describeSettings(settings, { withDefaults: true });
    expect(Object.keys(all)).toHaveLength(SETTINGS.size);
    expect(JSON.stringify(all)).not.toContain('secret"');
    expect(JSON.parse(JSON.stringify(all))).toEqual(all);
  });
});
