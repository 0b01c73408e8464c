import { mongodbBackend } from '@lovage/backend-mongodb';
import { storeOptions, taskMeta } from '@lovage/conformance';
import {
  BackendUrl,
  type DocumentStore,
  type ResultBackend,
  type ResultCodec,
  type TaskMeta,
} from '@lovage/core/backend';
import { type Db, MongoClient } from 'mongodb';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { decodeJson } from '@lovage/core/protocol';
import { mongodbUrl } from '../../mongodb/test/mongodb-url.ts';

const url = mongodbUrl('lovage_results');

const codec: ResultCodec = { ...storeOptions().codec, decode: (data) => decodeJson(String(data)) };

const meta = (taskId: string, more: Partial<TaskMeta> = {}): TaskMeta =>
  taskMeta(taskId, { result: 4, date_done: '2026-11-27T10:00:00.123+00:00', ...more });

function bound(backend: ResultBackend) {
  return { documents: backend.documents as DocumentStore, cleanup: () => backend.cleanup() };
}

describe.skipIf(url === undefined)('the MongoDB result store', () => {
  let client: MongoClient;
  let db: Db;
  const backends: ResultBackend[] = [];

  beforeAll(async () => {
    client = await new MongoClient(url as string).connect();
    db = client.db();
  });
  beforeEach(() => db.dropDatabase());
  afterEach(async () => {
    await Promise.all(backends.splice(0).map((backend) => backend.close()));
  });
  afterAll(async () => {
    await db.dropDatabase();
    await client.close();
  });

  async function open(settings: Readonly<Record<string, unknown>> = {}, raw = url as string): Promise<ResultBackend> {
    const backend = await mongodbBackend.open(
      new BackendUrl(raw),
      storeOptions({ expiresSeconds: 60, settings, codec }),
    );
    backends.push(backend);
    return backend;
  }

  const stored = (name = 'celery_taskmeta') => db.collection(name).find().sort({ _id: 1 }).toArray();

  test("a state is Celery's document", async () => {
    const backend = await open();
    await backend.store([
      { meta: meta('one', { group_id: 'g', parent_id: 'p', children: [[['c', null], null]] }) },
      {
        meta: meta('two', {
          status: 'STARTED',
          result: { pid: 1 },
          date_done: null,
          name: 'tasks.add',
          args: [1, { a: 2 }],
        }),
      },
    ]);
    expect(await stored()).toEqual([
      {
        _id: 'one',
        status: 'SUCCESS',
        result: '4',
        traceback: null,
        children: [[['c', null], null]],
        date_done: new Date('2026-11-27T10:00:00.123Z'),
        group_id: 'g',
        parent_id: 'p',
      },
      {
        _id: 'two',
        status: 'STARTED',
        result: '{"pid":1}',
        traceback: null,
        children: [],
        date_done: null,
        name: 'tasks.add',
        args: [1, { a: 2 }],
      },
    ]);
    expect((await db.collection('celery_taskmeta').indexes()).map(({ name }) => name)).toContain('date_done_1');
  });

  test("a saved group is Celery's list of ids, and one of groups comes back whole", async () => {
    const backend = await open();
    const flat = [
      ['g', null],
      [
        [['a', null], null],
        [['b', null], null],
      ],
    ];
    const deep = [
      ['h', null],
      [
        [['i', null], [[['a', null], null]]],
        [['b', null], null],
      ],
    ];
    await backend.saveGroup('g', flat);
    await backend.saveGroup('h', deep);
    const [first, second] = await stored('celery_groupmeta');
    expect(first).toEqual({ _id: 'g', result: '["a","b"]', date_done: expect.any(Date) as Date });
    expect(second?.result).toBe('["i","b"]');
    expect(await backend.loadGroup('g')).toEqual(flat);
    expect(await backend.loadGroup('h')).toEqual(deep);
  });

  test('what cannot be read is a failure that says so, beside what can', async () => {
    const backend = await open();
    await backend.store([{ meta: meta('good') }]);
    await db.collection('celery_taskmeta').insertMany([
      { _id: 'broken', status: 'SUCCESS', result: '{' },
      { _id: 'native', status: 'SUCCESS', result: { value: 1 } },
    ] as object[]);
    const [good, native] = await backend.load(['good', 'native']);
    expect([good?.result, native?.result]).toEqual([4, { value: 1 }]);
    const strict = await open();
    await db.collection('celery_taskmeta').updateOne({ _id: 'broken' } as object, { $unset: { status: '' } });
    expect(await strict.load(['broken', 'good'])).toMatchObject([
      { status: 'FAILURE', result: { exc_type: 'DecodeError' } },
      { status: 'SUCCESS', result: 4 },
    ]);
  });

  test('cleanup removes what is older than result_expires', async () => {
    const backend = await open();
    const now = Date.now();
    await backend.store([
      { meta: meta('old', { date_done: new Date(now - 120_000).toISOString() }) },
      { meta: meta('new', { date_done: new Date(now).toISOString() }) },
      { meta: meta('running', { status: 'STARTED', date_done: null }) },
    ]);
    await backend.cleanup();
    expect((await stored()).map(({ _id }) => String(_id))).toEqual(['new', 'running']);
  });

  test('a result that a Python worker replaces is told to who waits', async () => {
    const backend = await open();
    const seen: string[] = [];
    await backend.subscribe(['t'], ({ status }) => void seen.push(status));
    const replace = (status: string) =>
      db
        .collection('celery_taskmeta')
        .replaceOne(
          { _id: 't' } as object,
          { status, result: 'null', traceback: null, children: [], date_done: null },
          { upsert: true },
        );
    await replace('STARTED');
    await expect.poll(() => seen).toEqual(['STARTED']);
    await replace('SUCCESS');
    await expect.poll(() => seen).toEqual(['STARTED', 'SUCCESS']);
  });

  test('a result beyond the limit is refused with the limit, and the others of its batch are kept', async () => {
    const backend = await open();
    await expect(
      backend.store([
        { meta: meta('a') },
        { meta: meta('b', { result: 'x'.repeat(17_000_000) }) },
        { meta: meta('c') },
      ]),
    ).rejects.toMatchObject({ code: 'ERR_TOO_LARGE', limitBytes: 16 * 1024 * 1024 - 65_536, taskId: 'b' });
    expect((await stored()).map(({ _id }) => String(_id))).toEqual(['a', 'c']);
  });

  test('the settings name database and collections, and wrong ones are errors without secrets', async () => {
    const other = client.db('lovage_results_other');
    await other.dropDatabase();
    const backend = await open({
      mongodbBackendSettings: { database: 'lovage_results_other', taskmeta_collection: 'mine' },
    });
    await backend.store([{ meta: meta('t') }]);
    expect(await other.collection('mine').countDocuments()).toBe(1);
    await other.dropDatabase();
    for (const [settings, raw] of [
      [{ mongodbBackendSettings: { datbase: 'x' } }, url],
      [{ mongodbBackendSettings: 'x' }, url],
      [{}, 'mongodb://u:s3cret@localhost/a b'],
    ] as const) {
      const error: unknown = await open(settings, raw).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(error).toMatchObject({ code: 'ERR_CONFIG' });
      expect(String(error)).not.toContain('s3cret');
    }
  });

  test('documents have an index by which the server removes them, and count as gone before it does', async () => {
    const { documents, cleanup } = bound(await open());
    await documents.write('kept', 'a', undefined, { ttlSeconds: 60 });
    const first = await documents.write('gone', 'b', undefined, { ttlSeconds: -1 });
    expect(await documents.read('gone')).toBeUndefined();
    const second = await documents.write('gone', 'c', undefined, { ttlSeconds: -1 });
    expect([first, second].every((version) => version !== undefined && version !== '')).toBe(true);
    const collection = db.collection('lovage_documents');
    const indexes = await collection.indexes();
    expect(indexes.find(({ name }) => name === 'expires_at_1')).toMatchObject({ expireAfterSeconds: 0 });
    await cleanup();
    expect(await collection.countDocuments()).toBe(1);
    expect((await documents.read('kept'))?.text).toBe('a');
  });
});
