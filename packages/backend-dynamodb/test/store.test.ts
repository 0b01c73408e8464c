import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { promisify } from 'node:util';
import {
  CreateTableCommand,
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
  DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
} from '@aws-sdk/client-dynamodb';
import { dynamodbBackend } from '@lovage/backend-dynamodb';
import { Lovage } from '@lovage/core';
import { BackendUrl, type ChordPart, type ResultBackend } from '@lovage/core/backend';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { serviceUrl } from '../../conformance/test/service-url.ts';
import { openDynamoStore } from '../src/open.ts';
import { SlowTables } from './slow-tables.ts';

const server = serviceUrl('dynamodb');
const python = process.env['LOVAGE_TEST_PYTHON'];

describe.skipIf(server === undefined)('results in DynamoDB', () => {
  const { host, port, username = '', password = '' } = new BackendUrl(server ?? 'dynamodb://none');
  const client = new DynamoDBClient({
    endpoint: `http://${host}:${port}`,
    region: 'us-east-1',
    credentials: { accessKeyId: username, secretAccessKey: password },
  });
  const apps: Lovage[] = [];
  afterAll(async () => {
    await Promise.all(apps.map((app) => app.close()));
    client.destroy();
  });

  function appOn(path: string, own: Readonly<Record<string, unknown>> = {}): Lovage {
    const backend = `${server}/${path}`;
    const app = new Lovage('test', { broker: 'memory://', backend, backends: [dynamodbBackend], ...own });
    apps.push(app);
    return app;
  }

  const open = (path: string, own?: Readonly<Record<string, unknown>>): Promise<ResultBackend> =>
    appOn(path, own).requireBackend('test it');

  /** Runs Python with Celery's own backend on the table, as `app`. */
  async function celery(path: string, program: string): Promise<unknown> {
    const before = `import json
from celery import Celery
from celery.app.task import Context
from celery.canvas import Signature
from celery.result import AsyncResult, GroupResult
app = Celery(broker='memory://', backend='${server}/${path}', set_as_current=True)

@app.task(name='sum')
def add_up(numbers):
    return sum(numbers)

def part_returned(id, group, body, result):
    app.backend.store_result(id, result, 'SUCCESS')
    request = Context(id=id, group=group, chord=Signature.from_dict(body, app=app))
    app.backend.on_chord_part_return(request, 'SUCCESS', result)

def sent():
    with app.connection_for_write() as connection:
        message = connection.SimpleQueue('celery').get(block=False) if app.amqp.queues else None
        return message.payload[0] if message else None
`;
    const { stdout } = await promisify(execFile)(python as string, ['-c', before + program]);
    return JSON.parse(stdout);
  }

  const metaOf = (task_id: string, status = 'SUCCESS', result: unknown = 4) => ({
    meta: { status, result, traceback: null, children: [], date_done: null, task_id },
  });
  const itemOf = async (table: string, id: string) => {
    const command = new GetItemCommand({ TableName: table, Key: { id: { S: id } }, ConsistentRead: true });
    return (await client.send(command)).Item;
  };
  const groupOf = (id: string, parts: readonly string[]) => [[id, null], parts.map((part) => [[part, null], null])];

  test.skipIf(python === undefined)('what Python stores is read here: states, exceptions, groups', async () => {
    const [good, bad, custom, group] = [randomUUID(), randomUUID(), randomUUID(), randomUUID()];
    await celery(
      'from-python',
      `
app.backend.store_result('${good}', {'a': [1, None, 'é']}, 'SUCCESS')
app.backend.store_result('${bad}', ValueError('no', 7), 'FAILURE', traceback='Traceback ...')
app.backend.store_result('${custom}', {'done': 3}, 'PROGRESS')
GroupResult('${group}', [AsyncResult('${good}'), AsyncResult('${bad}')]).save()
print('0')`,
    );
    const app = appOn('from-python');
    expect(await app.asyncResult(good).get({ timeout: 50 })).toEqual({ a: [1, null, 'é'] });
    await expect(app.asyncResult(bad).get({ timeout: 50 })).rejects.toMatchObject({ code: 'ERR_TASK_FAILED' });
    expect(await app.asyncResult(custom).state()).toBe('PROGRESS');
    expect((await app.restoreGroup(group))?.results.map(({ id }) => id)).toEqual([good, bad]);
  });

  test.skipIf(python === undefined)('what is stored here Python reads: states, exceptions, groups', async () => {
    const backend = await open('to-python?ttl_seconds=3600');
    const [good, bad, group] = [randomUUID(), randomUUID(), randomUUID()];
    await backend.store([
      metaOf(good, 'SUCCESS', { a: [1, null, 'é'] }),
      {
        meta: {
          ...metaOf(bad, 'FAILURE', { exc_type: 'ValueError', exc_message: ['no', 7], exc_module: 'builtins' }).meta,
          traceback: 'Traceback ...',
        },
      },
    ]);
    await backend.saveGroup(group, groupOf(group, [good, bad]));
    const seen = await celery(
      'to-python?ttl_seconds=3600',
      `
bad = AsyncResult('${bad}')
group = GroupResult.restore('${group}')
app.backend.store_result('${good}', 'late', 'FAILURE')
print(json.dumps([AsyncResult('${good}').get(timeout=5), bad.state, repr(bad.result), bad.traceback, [r.id for r in group]]))`,
    );
    expect(seen).toEqual([{ a: [1, null, 'é'] }, 'FAILURE', "ValueError('no', 7)", 'Traceback ...', [good, bad]]);
  });

  const BODY = (id: string, size: number): string =>
    JSON.stringify({
      task: 'sum',
      args: [],
      kwargs: {},
      options: { task_id: id },
      subtask_type: null,
      immutable: false,
      chord_size: size,
    });

  test.skipIf(python === undefined)('a chord that Python began is ended here, each part counted once', async () => {
    const [group, body, ...parts] = Array.from({ length: 5 }, () => randomUUID()) as [string, string, ...string[]];
    const [one = '', two = '', three = ''] = parts;
    await celery(
      'chords',
      `
header = GroupResult('${group}', [AsyncResult(id) for id in ${JSON.stringify(parts)}])
app.backend.apply_chord((header.id, header.results), Signature.from_dict(json.loads('''${BODY(body, 3)}'''), app=app))
part_returned('${one}', '${group}', json.loads('''${BODY(body, 3)}'''), 1)
print('0')`,
    );
    const backend = await open('chords');
    const chords = backend.chords as NonNullable<typeof backend.chords>;
    const returned = async (taskId: string, result: number): Promise<readonly ChordPart[] | undefined> => {
      await backend.store([metaOf(taskId, 'SUCCESS', result)]);
      return chords.part(group, { taskId, index: undefined, state: 'SUCCESS', result });
    };
    expect(await returned(two, 2)).toBeUndefined();
    expect(await returned(two, 2)).toBeUndefined();
    const all = await returned(three, 3);
    expect(all?.map(({ taskId, result }) => [taskId, result])).toEqual([
      [one, 1],
      [two, 2],
      [three, 3],
    ]);
    // Its worker died before it could send the body; another part's message came twice.
    expect(await returned(two, 2)).toBeUndefined();
    expect(await returned(three, 3)).toEqual(all);
    await chords.finish(group);
    expect(await returned(three, 3)).toBeUndefined();
  });

  test.skipIf(python === undefined)('a chord that was begun here Python ends', async () => {
    const [group, body, ...parts] = Array.from({ length: 4 }, () => randomUUID()) as [string, string, ...string[]];
    const [one = '', two = ''] = parts;
    const backend = await open('chords');
    const chords = backend.chords as NonNullable<typeof backend.chords>;
    await backend.saveGroup(group, groupOf(group, parts));
    await chords.begin(group, 2);
    await backend.store([metaOf(one, 'SUCCESS', 1)]);
    const part = { taskId: one, index: 0, state: 'SUCCESS', result: 1 };
    expect(await chords.part(group, part)).toBeUndefined();
    const [args] = (await celery(
      'chords',
      `
part_returned('${two}', '${group}', json.loads('''${BODY(body, 2)}'''), 2)
print(json.dumps([sent()]))`,
    )) as readonly unknown[];
    expect(args).toEqual([[1, 2]]);
    // Python has removed the chord: a part that comes again does nothing.
    expect(await chords.part(group, part)).toBeUndefined();
  });

  test("an item has Celery's attributes, and the end that the URL or the setting gives it", async () => {
    const ids = [randomUUID(), randomUUID(), randomUUID()] as const;
    const backends = await Promise.all([
      open('layout?ttl_seconds=60'),
      open('layout', { resultExpires: 7200 }),
      open('forever?ttl_seconds=-1'),
    ]);
    for (const [index, backend] of backends.entries()) await backend.store([metaOf(ids[index] as string)]);
    const now = Date.now() / 1000;
    const items = await Promise.all(
      ids.map((id, index) => itemOf(index === 2 ? 'forever' : 'layout', `b'celery-task-meta-${id}'`)),
    );
    for (const item of items) {
      expect(JSON.parse(Buffer.from(item?.['result']?.B as Uint8Array).toString())).toMatchObject({ result: 4 });
      expect(Math.abs(Number(item?.['timestamp']?.N) - now)).toBeLessThan(60);
    }
    const leftOf = (index: number): number => Math.round((Number(items[index]?.['ttl']?.N) - now) / 60);
    expect([leftOf(0), leftOf(1), items[2]?.['ttl']]).toEqual([1, 120, undefined]);
  });

  test.each([
    ['new', {}, 'ENABLED'],
    ['new-for-ever', { resultExpires: null }, 'DISABLED'],
    ['new-off?ttl_seconds=-1', {}, 'DISABLED'],
  ])('the time to live of the table %s is %o %s', async (path, own, status) => {
    // Opening does not wait for it, closing does.
    await (await open(path, own)).close();
    const TableName = path.replace(/\?.*/, '');
    const { TimeToLiveDescription: found } = await client.send(new DescribeTimeToLiveCommand({ TableName }));
    expect(found?.TimeToLiveStatus).toBe(status);
    const { Table } = await client.send(new DescribeTableCommand({ TableName }));
    expect(Table?.BillingModeSummary?.BillingMode).toBe('PAY_PER_REQUEST');
  });

  test('a new table gets its time to live, however long it takes to make it and to turn it on', async () => {
    const status = async (TableName: string): Promise<string | undefined> =>
      (await client.send(new DescribeTimeToLiveCommand({ TableName }))).TimeToLiveDescription?.TimeToLiveStatus;
    const enabled = (table: string) => expect.poll(() => status(table).catch(String)).toBe('ENABLED');
    const slow = new SlowTables(Number(port));
    const at = `dynamodb://${username}:${password}@127.0.0.1:${await slow.listen()}`;
    onTestFinished(() => slow.close());
    const seen = (kind: string, table: string, times: number) =>
      expect.poll(() => slow.seen(kind, table)).toBeGreaterThanOrEqual(times);
    const openAt = (table: string, signal: AbortSignal) =>
      openDynamoStore(new BackendUrl(`${at}/${table}`), {
        expiresSeconds: 3600,
        settings: {},
        codec: {
          contentType: 'application/json',
          contentEncoding: 'utf-8',
          encode: (value) => JSON.stringify(value),
          decode: (data) => JSON.parse(String(data)) as unknown,
        },
        oid: 'oid',
        brokerConnection: () => Promise.reject(new Error('none')),
        signal,
      });
    // Whoever makes it gives up before it is there.
    const [impatient, patient] = [new AbortController(), new AbortController()];
    const first = openAt('slow-made', impatient.signal);
    await seen('DescribeTable', 'slow-made', 2);
    impatient.abort(new Error('took too long'));
    await expect(first).rejects.toThrow('took too long');
    // Another process finds one that is half made.
    const making = new CreateTableCommand({
      TableName: 'slow-found',
      AttributeDefinitions: [{ AttributeName: 'id', AttributeType: 'S' }],
      KeySchema: [{ AttributeName: 'id', KeyType: 'HASH' }],
      BillingMode: 'PAY_PER_REQUEST',
    });
    await client.send(making);
    const second = openAt('slow-found', patient.signal);
    await seen('DescribeTable', 'slow-found', 2);
    slow.isMaking = false;
    const store = await second;
    await enabled('slow-made');
    await enabled('slow-found');
    await store.close();
    // To turn it on takes its time too.
    slow.holds = 'UpdateTimeToLive';
    const opened = await openAt('slow-turned', patient.signal);
    await seen('UpdateTimeToLive', 'slow-turned', 1);
    expect(await status('slow-turned')).toBe('DISABLED');
    slow.release();
    await opened.close();
    expect(await status('slow-turned')).toBe('ENABLED');
  }, 60_000);

  test('capacity of the URL is that of a table made here, and the URL turns the time to live on and off', async () => {
    const status = async (): Promise<string | undefined> =>
      (await client.send(new DescribeTimeToLiveCommand({ TableName: 'units' }))).TimeToLiveDescription
        ?.TimeToLiveStatus;
    await open('units?read=3&ttl_seconds=-1');
    const { Table } = await client.send(new DescribeTableCommand({ TableName: 'units' }));
    expect(Table?.ProvisionedThroughput).toMatchObject({ ReadCapacityUnits: 3, WriteCapacityUnits: 1 });
    expect(await status()).toBe('DISABLED');
    await open('units');
    expect(await status()).toBe('DISABLED');
    await Promise.all([open('units?ttl_seconds=60'), open('units?ttl_seconds=60')]);
    expect(await status()).toBe('ENABLED');
  });

  test('where DynamoDB does not remove what has expired the cleanup does', async () => {
    const backend = await open('cleanup?ttl_seconds=-1');
    const kept = randomUUID();
    await backend.store([metaOf(kept)]);
    await backend.documents?.write('gone', 'a', undefined, { ttlSeconds: -2 });
    await client.send(
      new PutItemCommand({ TableName: 'cleanup', Item: { id: { S: "b'celery-task-meta-old'" }, ttl: { N: '1' } } }),
    );
    await backend.cleanup();
    expect(await itemOf('cleanup', "b'celery-task-meta-old'")).toBeUndefined();
    expect(await itemOf('cleanup', 'lovage:document:gone')).toBeUndefined();
    expect((await backend.load([kept]))[0]).toMatchObject({ status: 'SUCCESS' });
  });

  test('a result larger than an item is refused alone', async () => {
    const backend = await open('sizes');
    const [large, small] = [randomUUID(), randomUUID()];
    await expect(backend.store([metaOf(large, 'SUCCESS', 'x'.repeat(409_600)), metaOf(small)])).rejects.toMatchObject({
      code: 'ERR_TOO_LARGE',
    });
    expect((await backend.load([large, small])).map((meta) => meta?.task_id)).toEqual([undefined, small]);
    await backend.store([metaOf(large, 'SUCCESS', 'x'.repeat(400_000))]);
    expect((await backend.load([large]))[0]?.result).toHaveLength(400_000);
  });

  test('a table that several make at once is made once', async () => {
    const backends = await Promise.all(Array.from({ length: 4 }, () => open('at-once')));
    const id = randomUUID();
    await backends[0]?.store([metaOf(id)]);
    for (const backend of backends) expect((await backend.load([id]))[0]?.result).toBe(4);
  });
});
