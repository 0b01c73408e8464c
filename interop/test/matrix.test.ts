import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync, mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AsyncResult, isLovageError, Lovage } from '@lovage/core';
import { afterAll, beforeAll, describe, it, type TestContext } from 'vitest';
import { ECHO_CASES } from './cases.ts';
import {
  at,
  linesOf,
  type Meeting,
  PythonClient,
  startPythonWorker,
  startTypescriptWorker,
  withDriver,
} from './peers.ts';
import { PATIENCE_SECONDS, type Running, until } from './processes.ts';
import { buffers, fromWrapped } from './values.ts';

const folder = mkdtempSync(join(tmpdir(), 'lovage-interop-'));
const {
  LOVAGE_TEST_REDIS_URL: redis,
  LOVAGE_TEST_AMQP_URL: amqp,
  LOVAGE_TEST_SQS_URL: sqs,
  LOVAGE_TEST_MONGODB_URL: mongodb,
} = process.env;
const { LOVAGE_TEST_POSTGRESQL_URL: postgresql, LOVAGE_TEST_MARIADB_URL: mariadb } = process.env;
const sqlite = join(folder, 'interop.db');
const results = (name: string): string => `db+sqlite:///${join(folder, `${name}-results.db`)}`;

interface Broker {
  readonly name: string;
  readonly broker: string | undefined;
  readonly backend: string | undefined;
  /** `broker_transport_options` of both sides. */
  readonly brokerOptions?: Readonly<Record<string, unknown>>;
  readonly newestOnly?: boolean;
  /** Kombu's column for messages holds 64 KiB. */
  readonly holdsLittle?: boolean;
  /** Kombu has no fanout on it. */
  readonly noRemoteControl?: boolean;
}

const BROKERS: readonly Broker[] = [
  { name: 'Redis', broker: redis, backend: redis },
  { name: 'RabbitMQ, results over rpc', broker: amqp, backend: 'rpc://' },
  { name: 'RabbitMQ, results in Redis', broker: amqp, backend: redis },
  { name: 'SQLite', broker: `sqla+sqlite:///${sqlite}`, backend: `db+sqlite:///${sqlite}`, noRemoteControl: true },
  {
    name: 'PostgreSQL',
    broker: postgresql && `sqla+${withDriver(postgresql, 'psycopg2')}`,
    backend: postgresql && `db+${withDriver(postgresql, 'psycopg2')}`,
    newestOnly: true,
    noRemoteControl: true,
  },
  {
    name: 'MariaDB',
    holdsLittle: true,
    broker: mariadb && `sqla+${withDriver(mariadb, 'pymysql')}`,
    backend: mariadb && `db+${withDriver(mariadb, 'pymysql')}`,
    newestOnly: true,
    noRemoteControl: true,
  },
  { name: 'MongoDB', broker: at(mongodb, 'broker'), backend: at(mongodb, 'results'), newestOnly: true },
  { name: 'SQS', broker: sqs, backend: results('sqs'), newestOnly: true, noRemoteControl: true },
  {
    name: 'filesystem',
    broker: 'filesystem://',
    backend: results('filesystem'),
    newestOnly: true,
    brokerOptions: folders(),
  },
];

/** Kombu makes the control folder only. */
function folders(): Readonly<Record<string, string>> {
  const messages = join(folder, 'messages');
  mkdirSync(messages);
  return { data_folder_in: messages, data_folder_out: messages, control_folder: join(folder, 'control') };
}

const PEERS = [
  { name: 'Celery 5.6', python: process.env.LOVAGE_TEST_PYTHON, oldest: false },
  { name: 'Celery 5.2', python: process.env.LOVAGE_TEST_PYTHON_52, oldest: true },
];

/** What the generated table is made of. */
const cells: { peer: string; broker: string; row: string; direction: string; outcome: string }[] = [];

for (const peer of PEERS) {
  for (const meeting of BROKERS) {
    if (peer.oldest && meeting.newestOnly === true) continue;
    const missing = [peer.python ?? peer.name, meeting.broker ?? meeting.name].find((value) => !value?.includes('/'));
    describe.skipIf(missing !== undefined)(`${peer.name}, ${meeting.name}`, () => {
      matrix(
        peer.name,
        peer.oldest,
        meeting.name,
        {
          broker: meeting.broker ?? '',
          backend: meeting.backend ?? '',
          ...(meeting.brokerOptions === undefined ? {} : { brokerOptions: meeting.brokerOptions }),
          remoteControl: meeting.noRemoteControl !== true,
          python: peer.python as string,
          pythonQueue: `python-${randomUUID().slice(0, 8)}`,
          typescriptQueue: `typescript-${randomUUID().slice(0, 8)}`,
        },
        meeting.holdsLittle === true,
      );
    });
  }
}

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
  const results = new URL('../.results/', import.meta.url);
  mkdirSync(results, { recursive: true });
  writeFileSync(new URL('matrix.json', results), JSON.stringify(cells, null, 2));
});

const patience = { timeout: PATIENCE_SECONDS };
/** How long what is sent early has to reach a worker, and waits there. */
const EARLY_SECONDS = 10;

/** Tasks that the last tests look at. */
interface Early {
  readonly expiredHere: string;
  readonly expiredThere: AsyncResult;
  readonly revoked?: AsyncResult;
}

function matrix(peer: string, oldest: boolean, broker: string, meeting: Meeting, holdsLittle: boolean): void {
  let python: PythonClient;
  let app: Lovage;
  const workers: Running[] = [];
  let early: Early;

  beforeAll(async () => {
    python = new PythonClient(meeting);
    app = new Lovage('interop-client', {
      broker: meeting.broker,
      backend: meeting.backend,
      brokerTransportOptions: meeting.brokerOptions ?? {},
      acceptContent: ['json', 'yaml', 'msgpack'],
    });
    // One after the other: whoever comes first makes the tables or queues that the other then finds.
    workers.push(await startPythonWorker(meeting), await startTypescriptWorker(meeting));
    early = await sendEarly();
  });

  afterAll(async () => {
    await Promise.all([python?.close(), app?.close(), ...workers.map((worker) => worker.stop())]);
  });

  const cell = (
    row: string,
    direction: 'Python sends' | 'TypeScript sends',
    fn: () => Promise<void>,
    skip?: string,
  ): void => {
    it(`${direction}: ${row}`, async (context: TestContext) => {
      const note = (outcome: string): void => void cells.push({ peer, broker, row, direction, outcome });
      if (skip !== undefined) {
        note(skip);
        context.skip(`${peer}: ${skip}`);
      }
      const areAlive = (): void => {
        const ended = workers.find((worker) => !worker.isAlive());
        assert.ok(ended === undefined, `a worker has ended:\n${ended?.output().slice(-2000)}`);
      };
      try {
        areAlive();
        await fn();
        areAlive();
        note('yes');
      } catch (error) {
        note('FAILED');
        throw error;
      }
    });
  };

  const toTypescript = { queue: meeting.typescriptQueue };
  const toPython = { queue: meeting.pythonQueue };
  const sendToPython = (name: string, args: readonly unknown[] = [], more: object = {}): Promise<AsyncResult> =>
    app.sendTask(name, { args, ...toPython, ...more });

  for (const echo of ECHO_CASES) {
    const cannot =
      oldest && echo.since !== undefined
        ? 'not in this version'
        : holdsLittle && echo.isLarge === true
          ? 'more than the column holds'
          : undefined;
    cell(
      echo.name,
      'Python sends',
      async () => {
        const id = await python.send({
          task: 'ts.echo',
          args: echo.args,
          kwargs: echo.kwargs ?? {},
          options: { ...echo.options, ...toTypescript },
        });
        const answer = await python.get(id);
        assert.equal(answer.state, 'SUCCESS', JSON.stringify(answer));
        assert.deepEqual(answer.result, { args: echo.args, kwargs: echo.kwargs ?? {} });
      },
      cannot,
    );
    cell(
      echo.name,
      'TypeScript sends',
      async () => {
        const sent = fromWrapped(echo);
        const result = await sendToPython('py.echo', sent.args, { kwargs: sent.kwargs, ...echo.options });
        assert.deepEqual(buffers(await result.get(patience)), { args: sent.args, kwargs: sent.kwargs });
      },
      cannot,
    );
  }

  cell('the request: ids, headers, limits', 'Python sends', async () => {
    const id = await python.send({
      task: 'ts.request',
      options: {
        ...toTypescript,
        headers: { tenant: 'a' },
        time_limit: 300,
        soft_time_limit: 200.5,
        priority: 3,
        expires: 60,
      },
    });
    const { result } = await python.get(id);
    const seen = result as Record<string, unknown>;
    assert.deepEqual(
      {
        id: seen.id,
        root: seen.root_id,
        correlation: seen.correlation_id,
        limits: seen.timelimit,
        priority: seen.priority,
        expires: seen.expires,
      },
      { id, root: id, correlation: id, limits: [300, 200.5], priority: 3, expires: true },
    );
    assert.equal((seen.headers as Record<string, unknown>).tenant, 'a');
  });
  cell('the request: ids, headers, limits', 'TypeScript sends', async () => {
    const result = await sendToPython('py.request', [], {
      headers: { tenant: 'a' },
      timeLimit: 300,
      softTimeLimit: 200.5,
      priority: 3,
      expires: 60,
    });
    const seen = (await result.get(patience)) as Record<string, unknown>;
    assert.deepEqual(
      {
        id: seen.id,
        root: seen.root_id,
        correlation: seen.correlation_id,
        limits: seen.timelimit,
        priority: seen.priority,
        expires: seen.expires,
      },
      { id: result.id, root: result.id, correlation: result.id, limits: [300, 200.5], priority: 3, expires: true },
    );
    // Celery 5.2 puts them beside the protocol's own.
    if (!oldest) assert.equal((seen.headers as Record<string, unknown>).tenant, 'a');
  });

  cell('retries', 'Python sends', async () => {
    const id = await python.send({ task: 'ts.retryUntil', args: [2], options: toTypescript });
    assert.deepEqual(pick(await python.get(id)), { state: 'SUCCESS', result: 2 });
  });
  cell('retries', 'TypeScript sends', async () => {
    assert.equal(await (await sendToPython('py.retry_until', [2])).get(patience), 2);
  });

  cell('countdown', 'Python sends', async () => {
    const began = Date.now();
    const id = await python.send({ task: 'ts.add', args: [1, 2], options: { ...toTypescript, countdown: 1 } });
    assert.deepEqual(pick(await python.get(id)), { state: 'SUCCESS', result: 3 });
    assert.ok(Date.now() - began >= 990, 'it ran too early');
  });
  cell('countdown', 'TypeScript sends', async () => {
    const began = Date.now();
    assert.equal(await (await sendToPython('py.add', [1, 2], { countdown: 1 })).get(patience), 3);
    assert.ok(Date.now() - began >= 990, 'it ran too early');
  });

  cell('failure with its exception and traceback', 'Python sends', async () => {
    const id = await python.send({ task: 'ts.fail', args: ['OutOfInk', 'no more'], options: toTypescript });
    const answer = await python.get(id);
    assert.equal(answer.state, 'FAILURE');
    assert.equal((answer.result as { exception: string }).exception, 'OutOfInk');
    assert.deepEqual((answer.result as { args: unknown[] }).args, ['no more']);
    assert.match(answer.traceback ?? '', /OutOfInk: no more/);
  });
  cell('failure with its exception and traceback', 'TypeScript sends', async () => {
    const result = await sendToPython('py.fail', ['OutOfInk', 'no more']);
    await assert.rejects(result.get(patience), (error: unknown) => {
      assert.ok(isLovageError(error, 'ERR_TASK_FAILED'));
      const { excType, excMessage } = error as unknown as { excType: string; excMessage: unknown };
      assert.equal(excType, 'OutOfInk');
      assert.deepEqual(excMessage, ['no more']);
      return true;
    });
    assert.match((await result.traceback()) ?? '', /OutOfInk: no more/);
  });

  cell('unknown task', 'Python sends', async () => {
    const id = await python.send({ task: 'ts.nothing', options: toTypescript });
    const answer = await python.get(id);
    assert.equal(answer.state, 'FAILURE');
    assert.equal((answer.result as { exception: string }).exception, 'NotRegistered');
  });
  cell('unknown task', 'TypeScript sends', async () => {
    const result = await sendToPython('py.nothing');
    await assert.rejects(
      result.get(patience),
      (error: unknown) => (error as { excType: string }).excType === 'NotRegistered',
    );
  });

  cell('wrong arguments', 'Python sends', async () => {
    const id = await python.send({ task: 'ts.add', args: [1, 2, 3], options: toTypescript });
    const answer = await python.get(id);
    assert.equal((answer.result as { exception: string }).exception, 'TypeError');
    assert.match(answer.traceback ?? '', /takes 2 positional arguments but 3 were given/);
  });

  cell('link', 'Python sends', async () => {
    const linked = randomUUID();
    await python.send({
      task: 'ts.add',
      args: [1, 2],
      options: {
        ...toTypescript,
        link: { task: 'py.add', args: [10], options: { ...toPython, task_id: linked, ...replyTo() } },
      },
    });
    await storedResult(linked, 13);
  });
  cell('link', 'TypeScript sends', async () => {
    const linked = randomUUID();
    await sendToPython('py.add', [1, 2], {
      link: app.signature('ts.add', { args: [10], taskId: linked, ...toTypescript, ...replyToUs() }),
    });
    await storedResult(linked, 13);
  });

  cell('link_error', 'Python sends', async () => {
    const linked = randomUUID();
    const id = await python.send({
      task: 'ts.fail',
      args: ['Error', 'x'],
      options: {
        ...toTypescript,
        link_error: { task: 'py.errback', options: { ...toPython, task_id: linked, ...replyTo() } },
      },
    });
    await storedResult(linked, `errback of ${id}`);
  });
  cell('link_error', 'TypeScript sends', async () => {
    const linked = randomUUID();
    const result = await sendToPython('py.fail', ['ValueError', 'x'], {
      linkError: app.signature('ts.errback', { taskId: linked, ...toTypescript, ...replyToUs() }),
    });
    await storedResult(linked, `errback of ${result.id}`);
  });

  cell('a chain through both languages', 'Python sends', async () => {
    const id = await python.send({
      task: 'py.add',
      args: [1, 2],
      options: toPython,
      then: [
        { task: 'ts.add', args: [10], options: toTypescript },
        { task: 'py.add', args: [100], options: toPython },
      ],
    });
    assert.deepEqual(pick(await python.get(id)), { state: 'SUCCESS', result: 113 });
  });

  if (meeting.backend !== 'rpc://') {
    cell('a state of its own', 'Python sends', async () => {
      const gate = join(folder, randomUUID());
      writeFileSync(`${gate}.1`, '');
      const id = await python.send({ task: 'ts.stages', args: [gate], options: toTypescript });
      await until(async () => (await python.peek(id)).state === 'PROGRESS');
      assert.deepEqual((await python.peek(id)).result, { progress: 0.5 });
      writeFileSync(`${gate}.2`, '');
      assert.deepEqual(pick(await python.get(id)), { state: 'SUCCESS', result: 'done' });
    });
    cell('a state of its own', 'TypeScript sends', async () => {
      const gate = join(folder, randomUUID());
      writeFileSync(`${gate}.1`, '');
      const result = await sendToPython('py.stages', [gate]);
      await until(async () => (await result.state()) === 'PROGRESS');
      assert.deepEqual(await result.result(), { progress: 0.5 });
      writeFileSync(`${gate}.2`, '');
      assert.equal(await result.get(patience), 'done');
    });
    cell('the same result read by both', 'Python sends', async () => {
      const id = await python.send({ task: 'ts.add', args: [4, 5], options: toTypescript });
      await python.get(id);
      assert.equal(await app.asyncResult(id).get(patience), 9);
    });
    cell('the same result read by both', 'TypeScript sends', async () => {
      const result = await sendToPython('py.add', [4, 5]);
      await result.get(patience);
      assert.deepEqual(await python.peek(result.id), { state: 'SUCCESS', result: 9 });
    });
  }

  cell('expired', 'Python sends', async () => {
    assert.equal((await python.get(early.expiredHere)).state, 'REVOKED');
  });
  cell('expired', 'TypeScript sends', async () => {
    const result = early.expiredThere;
    await assert.rejects(result.get(patience), (error) => isLovageError(error, 'ERR_TASK_FAILED'));
    assert.equal(await result.state(), 'REVOKED');
  });

  if (meeting.remoteControl === true) {
    cell('revoke', 'TypeScript sends', async () => {
      const lines = (): string => linesOf(workers[0] as Running, early.revoked?.id as string);
      await until(() => lines().includes('Discarding revoked task'));
      assert.doesNotMatch(lines(), /succeeded/);
    });
  }

  /** What takes its time is sent before all else, and takes it while the others run. */
  async function sendEarly(): Promise<Early> {
    // RabbitMQ itself drops a message whose time passes in the queue: until then a worker has it, and holds it until its ETA.
    const late = { countdown: EARLY_SECONDS + 0.5, expires: EARLY_SECONDS };
    const expiredHere = await python.send({ task: 'ts.add', args: [1, 2], options: { ...toTypescript, ...late } });
    const expiredThere = await sendToPython('py.add', [1, 2], late);
    if (meeting.remoteControl !== true) return { expiredHere, expiredThere };
    const revoked = await sendToPython('py.add', [1, 2], { countdown: EARLY_SECONDS });
    await until(() => (workers[0] as Running).output().includes(`py.add[${revoked.id}] received`));
    await revoked.revoke();
    return { expiredHere, expiredThere, revoked };
  }

  /** With rpc only the sender of a task can read its result: a callback's reply goes where its `reply_to` says. */
  function replyTo(): object {
    return meeting.backend === 'rpc://' ? { reply_to: app.oid } : {};
  }
  function replyToUs(): object {
    return meeting.backend === 'rpc://' ? { replyTo: app.oid } : {};
  }

  async function storedResult(id: string, expected: unknown): Promise<void> {
    if (meeting.backend === 'rpc://') await (await app.requireBackend('test')).expect([id]);
    assert.deepEqual(await app.asyncResult(id).get(patience), expected);
  }
}

function pick({ state, result }: { state: string; result: unknown }): { state: string; result: unknown } {
  return { state, result };
}
