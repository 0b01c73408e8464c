import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AsyncResult, isLovageError, Lovage, type TaskMeta } from '@lovage/core';
import { BrokerUrl } from '@lovage/core/transport';
import { afterAll, beforeAll, describe, it, type TestContext } from 'vitest';
import {
  at,
  linesOf,
  type Meeting,
  type PythonAnswer,
  PythonClient,
  startPythonWorker,
  startTypescriptWorker,
  withDriver,
} from './peers.ts';
import { PATIENCE_SECONDS, type Running, until } from './processes.ts';
import { buffers, unwrap } from './values.ts';

const folder = mkdtempSync(join(tmpdir(), 'lovage-results-'));
mkdirSync(join(folder, 'files'));
const { LOVAGE_TEST_PYTHON: python, LOVAGE_TEST_REDIS_URL: redis, LOVAGE_TEST_AMQP_URL: amqp } = process.env;
const { LOVAGE_TEST_POSTGRESQL_URL: postgresql, LOVAGE_TEST_MARIADB_URL: mariadb } = process.env;
const { LOVAGE_TEST_MONGODB_URL: mongodb, LOVAGE_TEST_MEMCACHED_URL: memcached } = process.env;
const { LOVAGE_TEST_DYNAMODB_URL: dynamodb, LOVAGE_TEST_S3_URL: s3 } = process.env;

interface Store {
  readonly name: string;
  readonly broker: string | undefined;
  readonly backend: string | undefined;
  readonly pythonSettings?: Readonly<Record<string, unknown>>;
  /** Why some of what is tested does not exist there. */
  readonly without?: Readonly<Partial<Record<'sharing' | 'states' | 'extras' | 'children' | 'nesting', string>>>;
}

const TABLES = { children: 'no column' };
const STORES: readonly Store[] = [
  { name: 'redis', broker: redis, backend: redis },
  {
    name: 'rpc',
    broker: amqp,
    backend: 'rpc://',
    without: { sharing: 'for the sender alone', states: 'Celery tells the end alone', extras: 'not said' },
  },
  { name: 'db+sqlite', broker: redis, backend: `db+sqlite:///${join(folder, 'results.db')}`, without: TABLES },
  {
    name: 'db+postgresql',
    broker: redis,
    backend: postgresql && `db+${withDriver(postgresql, 'psycopg2')}`,
    without: TABLES,
  },
  { name: 'db+mysql', broker: redis, backend: mariadb && `db+${withDriver(mariadb, 'pymysql')}`, without: TABLES },
  {
    name: 'mongodb',
    broker: redis,
    backend: at(mongodb, 'states'),
    without: { nesting: 'Celery keeps ids alone' },
  },
  { name: 'filesystem', broker: redis, backend: `file://${join(folder, 'files')}` },
  { name: 'cache+memcached', broker: redis, backend: memcached },
  { name: 'dynamodb', broker: redis, backend: at(dynamodb, 'results') },
  { name: 's3', broker: redis, backend: s3, pythonSettings: s3Settings() },
];

/** Values as the Python client writes them. */
const VALUES: Readonly<Record<string, unknown>> = {
  'text, numbers, lists, objects': ['žluťoučký 🐎\n', 1, -0.5, null, true, [[]], { a: { b: [1] } }],
  'integers beyond 2^53': { $: 'int', v: '123456789012345678901234567890' },
  datetime: { $: 'datetime', v: '2026-11-23T10:20:30.123000+00:00' },
  date: { $: 'date', v: '2026-02-28' },
  time: { $: 'time', v: '10:20:30' },
  decimal: { $: 'decimal', v: '1.10' },
  uuid: { $: 'uuid', v: '0b0f7d4e-4b69-4f0e-9a77-0f6e0b4d1c11' },
  bytes: { $: 'bytes', v: Buffer.from([0, 255, 128]).toString('base64') },
};

type Direction = 'Python writes' | 'TypeScript writes';

/** What the generated table is made of. */
const cells: { store: string; row: string; direction: Direction; outcome: string }[] = [];

for (const store of STORES) {
  const missing = [python, store.broker, store.backend].includes(undefined);
  describe.skipIf(missing)(store.name, () =>
    results(store, {
      broker: store.broker ?? '',
      backend: store.backend ?? '',
      python: python ?? '',
      pythonQueue: `python-${randomUUID().slice(0, 8)}`,
      typescriptQueue: `typescript-${randomUUID().slice(0, 8)}`,
      resultExtended: true,
      pythonSettings: store.pythonSettings ?? {},
    }),
  );
}

/** Celery reads settings, and nothing of an S3 URL. */
function s3Settings(): Readonly<Record<string, unknown>> {
  if (s3 === undefined) return {};
  const { username, password, host, query } = new BrokerUrl(s3);
  return {
    s3_access_key_id: username,
    s3_secret_access_key: password,
    s3_bucket: host,
    s3_endpoint_url: query['endpoint_url'],
    s3_region: 'us-east-1',
  };
}

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
  const out = new URL('../.results/', import.meta.url);
  mkdirSync(out, { recursive: true });
  writeFileSync(new URL('results.json', out), JSON.stringify(cells, null, 2));
});

function results({ name, without = {} }: Store, meeting: Meeting): void {
  let client: PythonClient;
  let app: Lovage;
  let workers: { readonly python: Running; readonly typescript: Running };
  let expired: { readonly python: AsyncResult; readonly typescript: string };

  beforeAll(async () => {
    client = new PythonClient(meeting);
    app = new Lovage('interop-client', { broker: meeting.broker, backend: meeting.backend });
    // One after the other: whoever comes first makes the tables or queues that the other then finds.
    workers = { python: await startPythonWorker(meeting), typescript: await startTypescriptWorker(meeting) };
    // Sent before all else, looked at last. RabbitMQ itself drops a message whose time passes in the queue: until then a
    // worker has it, and holds it until its ETA.
    const late = { countdown: 10.5, expires: 10 };
    const typescript = { task: 'ts.add', args: [1, 2], options: { queue: meeting.typescriptQueue, ...late } };
    expired = {
      python: await app.sendTask('py.add', { args: [1, 2], queue: meeting.pythonQueue, ...late }),
      typescript: await client.send(typescript),
    };
  });

  afterAll(async () => {
    const ends = [client?.close(), app?.close(), workers?.python.stop(), workers?.typescript.stop()];
    await Promise.all(ends);
  });

  const cell = (row: string, direction: Direction, fn: () => Promise<void>, cannot?: string): void => {
    it(`${direction}: ${row}`, async (context: TestContext) => {
      const note = (outcome: string): void => void cells.push({ store: name, row, direction, outcome });
      if (cannot !== undefined) {
        note(cannot);
        context.skip(cannot);
      }
      try {
        await fn();
        note('yes');
      } catch (error) {
        note('FAILED');
        throw error;
      }
    });
  };

  /** Asks the Python worker; its result is read here. */
  const runPython = (task: string, ...args: readonly unknown[]): Promise<AsyncResult> =>
    app.sendTask(task, { args, queue: meeting.pythonQueue });
  /** Asks the TypeScript worker; its result is read by the Python client. */
  const runTypescript = (task: string, ...args: readonly unknown[]): Promise<string> =>
    client.send({ task, args, options: { queue: meeting.typescriptQueue } });
  const get = { timeout: PATIENCE_SECONDS };

  for (const [row, value] of Object.entries(VALUES)) {
    cell(row, 'Python writes', async () => {
      assert.deepEqual(buffers(await (await runPython('py.give', value)).get(get)), unwrap(value));
    });
    cell(row, 'TypeScript writes', async () => {
      assert.deepEqual((await client.get(await runTypescript('ts.give', asItIs(value)))).result, value);
    });
  }

  cell('PENDING: nothing is kept', 'Python writes', async () => {
    assert.equal(await app.asyncResult(randomUUID()).state(), 'PENDING');
  });
  cell('PENDING: nothing is kept', 'TypeScript writes', async () => {
    assert.deepEqual(await client.peek(randomUUID()), { state: 'PENDING', result: null });
  });

  cell('STARTED with pid and host name, then PROGRESS, then SUCCESS', 'Python writes', async () => {
    const gate = join(folder, randomUUID());
    const result = await runPython('py.stages', gate);
    await until(async () => (await result.state()) === 'STARTED');
    const { pid, hostname } = (await result.result()) as { pid: number; hostname: string };
    assert.ok(pid > 0 && hostname.startsWith('python@'), `${pid} ${hostname}`);
    writeFileSync(`${gate}.1`, '');
    await until(async () => (await result.state()) === 'PROGRESS');
    assert.deepEqual(await result.result(), { progress: 0.5 });
    writeFileSync(`${gate}.2`, '');
    assert.equal(await result.get(get), 'done');
  });
  cell(
    'STARTED with pid and host name, then PROGRESS, then SUCCESS',
    'TypeScript writes',
    async () => {
      const gate = join(folder, randomUUID());
      const id = await runTypescript('ts.stages', gate);
      await until(async () => (await client.peek(id)).state === 'STARTED');
      const { pid, hostname } = (await client.peek(id)).result as { pid: number; hostname: string };
      assert.ok(pid > 0 && hostname.includes('@'), `${pid} ${hostname}`);
      writeFileSync(`${gate}.1`, '');
      await until(async () => (await client.peek(id)).state === 'PROGRESS');
      assert.deepEqual((await client.peek(id)).result, { progress: 0.5 });
      writeFileSync(`${gate}.2`, '');
      assert.equal((await client.get(id)).result, 'done');
    },
    without.states,
  );

  cell('RETRY with its exception', 'Python writes', async () => {
    const result = await runPython('py.later');
    await until(async () => (await result.state()) === 'RETRY');
    const error = await result.result();
    assert.deepEqual(exceptionOf(error), { type: 'ValueError', args: ['not yet', 1], module: 'builtins' });
    assert.match((await result.traceback()) ?? '', /ValueError/);
  });
  cell(
    'RETRY with its exception',
    'TypeScript writes',
    async () => {
      const id = await runTypescript('ts.later');
      await until(async () => (await client.peek(id)).state === 'RETRY');
      const { exception, args } = (await client.peek(id)).result as { exception: string; args: unknown };
      assert.deepEqual([exception, args], ['ValueError', ['not yet']]);
    },
    without.states,
  );

  const raised: readonly (readonly [row: string, kind: string, type: string, args: readonly unknown[]])[] = [
    ['FAILURE: a builtin exception', 'builtin', 'ValueError', ['no', 7]],
    ['FAILURE: a class of its own', 'own', 'OutOfInk', ['empty', 2]],
    ['FAILURE: an exception without arguments', 'nothing', 'KeyError', []],
    ['FAILURE: nested arguments', 'nested', 'ValueError', [{ a: [1, null] }, ['x', ['y']]]],
  ];
  for (const [row, kind, type, args] of raised) {
    cell(row, 'Python writes', async () => {
      const result = await runPython('py.raises', kind);
      const error = await failureOf(result);
      assert.deepEqual(exceptionOf(error), { type, args, module: type === 'OutOfInk' ? 'tasks' : 'builtins' });
      assert.match((await result.traceback()) ?? '', new RegExp(`Traceback[^]*in raises[^]*${type}`));
      assert.equal(await result.state(), 'FAILURE');
    });
  }
  cell('FAILURE: arguments that JSON has not', 'Python writes', async () => {
    const { args } = exceptionOf(await failureOf(await runPython('py.raises', 'odd')));
    assert.match(String((args as readonly unknown[])[0]), /<object object at/);
  });

  const thrown: readonly (readonly [row: string, kind: string, type: string, arg: string, trace: RegExp])[] = [
    ['FAILURE: a builtin exception', 'builtin', 'RangeError', 'no', /RangeError: no/],
    ['FAILURE: a class of its own', 'own', 'OutOfInk', 'empty', /OutOfInk: empty/],
    ['FAILURE: with its cause', 'caused', 'OutOfInk', 'empty', /RangeError: no[^]*OutOfInk: empty/],
  ];
  for (const [row, kind, type, arg, trace] of thrown) {
    cell(row, 'TypeScript writes', async () => {
      const answer = await client.get(await runTypescript('ts.raises', kind));
      assert.deepEqual([answer.state, pythonExceptionOf(answer)], ['FAILURE', { type, args: [arg] }]);
      assert.match(answer.traceback ?? '', trace);
    });
  }
  cell('FAILURE: what is no error is thrown', 'TypeScript writes', async () => {
    const answer = await client.get(await runTypescript('ts.raises', 'object'));
    const { type, args } = pythonExceptionOf(answer);
    assert.deepEqual([answer.state, type], ['FAILURE', 'Exception']);
    assert.match(String((args as readonly unknown[])[0]), /an error/);
  });

  for (const [row, kind] of [
    ['IGNORED: the state before it stays', 'ignore'],
    ['REJECTED: the state before it stays', 'reject'],
  ] as const) {
    const ended = /ignored|rejected|it stops here/;
    cell(row, 'Python writes', async () => {
      const result = await runPython('py.stop', kind);
      await until(() => ended.test(linesOf(workers.python, result.id)));
      await until(async () => (await result.state()) === 'PROGRESS');
    });
    cell(
      row,
      'TypeScript writes',
      async () => {
        const id = await runTypescript('ts.stop', kind);
        await until(() => ended.test(linesOf(workers.typescript, id)));
        assert.deepEqual(await client.peek(id), { state: 'PROGRESS', result: { progress: 1 } });
      },
      without.states,
    );
  }

  cell('a call whose result is ignored', 'Python writes', async () => {
    const result = await app.sendTask('py.add', { args: [1, 2], queue: meeting.pythonQueue, ignoreResult: true });
    await until(() => /succeeded/.test(linesOf(workers.python, result.id)));
    assert.equal(await result.state(), 'PENDING');
  });
  cell('a call whose result is ignored', 'TypeScript writes', async () => {
    const options = { queue: meeting.typescriptQueue, ignore_result: true };
    const id = await client.send({ task: 'ts.add', args: [1, 2], options });
    await until(() => /succeeded/.test(linesOf(workers.typescript, id)));
    assert.equal((await client.peek(id)).state, 'PENDING');
  });

  cell(
    'children',
    'Python writes',
    async () => {
      const result = await runPython('py.parent');
      const child = await result.get(get);
      assert.deepEqual(
        (await result.children()).map(({ id }) => id),
        [child],
      );
    },
    without.children,
  );
  cell(
    'children',
    'TypeScript writes',
    async () => {
      const { result, children } = await client.get(await runTypescript('ts.parent'));
      assert.deepEqual(children, [result]);
    },
    without.children,
  );

  cell(
    'when it was done',
    'Python writes',
    async () => {
      const result = await runPython('py.add', 1, 2);
      await result.get(get);
      assertRecent((await result.dateDone())?.toISOString());
    },
    without.extras,
  );
  cell('when it was done', 'TypeScript writes', async () => {
    const { dateDone } = await client.get(await runTypescript('ts.add', 1, 2));
    assertRecent(dateDone);
  });

  cell(
    'result_extended: name, args, kwargs, worker, retries, queue',
    'Python writes',
    async () => {
      const result = await runPython('py.add', 1, 2);
      await result.get(get);
      const [meta] = await (await app.requireBackend('read a result')).load([result.id]);
      assert.deepEqual(extendedOf(meta), {
        name: 'py.add',
        args: [1, 2],
        kwargs: {},
        retries: 0,
        queue: meeting.pythonQueue,
        worker: 'python',
      });
    },
    without.extras,
  );
  cell(
    'result_extended: name, args, kwargs, worker, retries, queue',
    'TypeScript writes',
    async () => {
      const { meta } = await client.get(await runTypescript('ts.add', 1, 2));
      const { worker, ...rest } = extendedOf(meta);
      assert.ok(typeof worker === 'string' && worker !== '');
      assert.deepEqual(rest, { name: 'ts.add', args: [1, 2], kwargs: {}, retries: 0, queue: meeting.typescriptQueue });
    },
    without.extras,
  );

  cell(
    'a saved group',
    'Python writes',
    async () => {
      const ids = await Promise.all([1, 2].map((n) => runTypescript('ts.add', n, n)));
      const group = randomUUID();
      await client.saveGroup(group, ids);
      assert.deepEqual(await (await app.restoreGroup(group))?.get(get), [2, 4]);
    },
    without.sharing,
  );
  cell(
    'a saved group',
    'TypeScript writes',
    async () => {
      const ids = (await Promise.all([1, 2].map((n) => runPython('py.add', n, n)))).map(({ id }) => id);
      const group = randomUUID();
      await app
        .groupResult(
          group,
          ids.map((id) => ({ id })),
        )
        .save();
      assert.deepEqual(await client.restoreGroup(group), { members: ids, values: [2, 4] });
    },
    without.sharing,
  );
  cell(
    'a saved group with a group in it',
    'Python writes',
    async () => {
      const ids = await Promise.all([1, 2, 3].map((n) => runTypescript('ts.add', n, n)));
      const [group, inner] = [randomUUID(), randomUUID()];
      await client.saveGroup(group, [ids[0] as string, [inner, ids[1] as string, ids[2] as string]]);
      const restored = await app.restoreGroup(group);
      assert.deepEqual(await restored?.get(get), [2, [4, 6]]);
      assert.equal(restored?.results[1]?.id, inner);
    },
    without.sharing ?? without.nesting,
  );
  cell(
    'a saved group with a group in it',
    'TypeScript writes',
    async () => {
      const ids = (await Promise.all([1, 2, 3].map((n) => runPython('py.add', n, n)))).map(({ id }) => id);
      const [group, inner] = [randomUUID(), randomUUID()];
      const innerGroup = { id: inner, children: ids.slice(1).map((id) => ({ id })) };
      await app.groupResult(group, [{ id: ids[0] as string }, innerGroup]).save();
      const restored = { members: [ids[0], [inner, ids[1], ids[2]]], values: [2, [4, 6]] };
      assert.deepEqual(await client.restoreGroup(group), restored);
    },
    without.sharing ?? without.nesting,
  );

  cell(
    'forget',
    'Python writes',
    async () => {
      const result = await runPython('py.add', 1, 2);
      await result.get(get);
      await result.forget();
      assert.equal((await client.peek(result.id)).state, 'PENDING');
    },
    without.sharing,
  );
  cell(
    'forget',
    'TypeScript writes',
    async () => {
      const id = await runTypescript('ts.add', 1, 2);
      await client.get(id);
      await client.forget(id);
      assert.equal(await app.asyncResult(id).state(), 'PENDING');
    },
    without.sharing,
  );

  cell('REVOKED: expired', 'Python writes', async () => {
    const error = await failureOf(expired.python);
    assert.deepEqual(exceptionOf(error), { type: 'TaskRevokedError', args: ['expired'], module: 'celery.exceptions' });
    assert.equal(await expired.python.state(), 'REVOKED');
  });
  cell('REVOKED: expired', 'TypeScript writes', async () => {
    const answer = await client.get(expired.typescript);
    assert.deepEqual(
      [answer.state, pythonExceptionOf(answer)],
      ['REVOKED', { type: 'TaskRevokedError', args: ['expired'] }],
    );
  });
}

/** A value that the Python client sends on in its wrapping. */
function asItIs(value: unknown): unknown {
  return { $: 'json', v: JSON.stringify(value) };
}

/** The error with which a task ends that does not succeed. */
async function failureOf(result: AsyncResult): Promise<unknown> {
  const [outcome] = await Promise.allSettled([result.get({ timeout: PATIENCE_SECONDS })]);
  assert.equal(outcome.status, 'rejected', 'it succeeded');
  return (outcome as PromiseRejectedResult).reason;
}

function exceptionOf(error: unknown): { type: string; args: unknown; module: string | null } {
  assert.ok(isLovageError(error, 'ERR_TASK_FAILED'), String(error));
  const { excType, excMessage, excModule } = error as unknown as {
    excType: string;
    excMessage: unknown;
    excModule: string | null;
  };
  return { type: excType, args: plain(excMessage), module: excModule };
}

function pythonExceptionOf({ result }: PythonAnswer): { type: string; args: unknown } {
  const { exception, args } = result as { exception: string; args: unknown };
  return { type: exception, args };
}

function assertRecent(date: string | null | undefined): void {
  // A date without a zone is in UTC, as Celery's is.
  const then = Date.parse(/(?:Z|[+-]\d\d:\d\d)$/.test(date ?? '') ? (date ?? '') : `${date}Z`);
  assert.ok(Math.abs(Date.now() - then) < 60_000, `done at ${date}`);
}

function extendedOf(meta: TaskMeta | Record<string, unknown> | undefined): Record<string, unknown> {
  const { name, args, kwargs, retries, queue, worker } = plain(meta) as Record<string, unknown>;
  return { name, args, kwargs, retries, queue, worker: String(worker).split('@')[0] };
}

/** Without prototypes, which own properties from outside need not have. */
function plain(value: unknown): unknown {
  return value === undefined ? undefined : (JSON.parse(JSON.stringify(value)) as unknown);
}
