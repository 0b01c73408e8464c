import { type ServerProcess, storeOptions, taskMeta } from '@lovage/conformance';
import {
  type BackendOptions,
  BackendUrl,
  type ResultBackend,
  type ResultCodec,
  type TaskMeta,
} from '@lovage/core/backend';
import { redisBackend } from '@lovage/backend-redis';
import { openRedis, readEndpoint, type RedisLink } from '@lovage/redis';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { hasRedisServer, startRedis } from '../../redis/test/servers.ts';

const json = storeOptions().codec;
/** A serializer that says nothing about the order of keys, as YAML of Python. */
const unordered: ResultCodec = {
  ...json,
  contentType: 'application/x-yaml',
  encode: (value) => JSON.stringify(Object.fromEntries(Object.entries(value as object).toReversed())),
};

const meta = (taskId: string, status: string, result: unknown = null): TaskMeta => taskMeta(taskId, { status, result });

describe.skipIf(!hasRedisServer)('the Redis result backend', () => {
  let server: ServerProcess;
  let raw: RedisLink;
  const open: ResultBackend[] = [];

  beforeAll(async () => {
    server = await startRedis();
    raw = await openRedis(readEndpoint(new BackendUrl(`redis://127.0.0.1:${server.port}`)));
  });
  afterAll(async () => {
    raw?.close();
    await server?.stop();
  });
  afterEach(async () => {
    await Promise.all(open.splice(0).map((backend) => backend.close()));
    await raw.text('flushall', []);
  });

  async function connect(
    options: Partial<BackendOptions> = {},
    url = `redis://127.0.0.1:${server.port}/0`,
  ): Promise<ResultBackend> {
    const backend = await redisBackend.open(new BackendUrl(url), storeOptions({ expiresSeconds: 100, ...options }));
    open.push(backend);
    return backend;
  }

  test('a result is one key with its time to live, published on the channel of its name', async () => {
    const backend = await connect();
    const listener = await openRedis(readEndpoint(new BackendUrl(`redis://127.0.0.1:${server.port}`)));
    const heard: string[] = [];
    listener.onMessage((channel, message) => heard.push(`${channel.toString()} ${String(message)}`));
    await listener.text('subscribe', ['celery-task-meta-a']);
    await backend.store([{ meta: meta('a', 'SUCCESS', 4) }]);
    const value = '{"status":"SUCCESS","result":4,"traceback":null,"children":[],"date_done":null,"task_id":"a"}';
    expect(await raw.text('get', ['celery-task-meta-a'])).toBe(value);
    expect(await raw.text('ttl', ['celery-task-meta-a'])).toBeGreaterThan(90);
    await expect.poll(() => heard).toEqual([`celery-task-meta-a ${value}`]);
    await backend.saveGroup('g', [['g', null], []]);
    expect(await raw.text('get', ['celery-taskset-meta-g'])).toBe('{"result":[["g",null],[]]}');
    listener.close();
  });

  test('without an expiry there is no time to live; a prefix stands before all keys', async () => {
    const backend = await connect({ expiresSeconds: undefined, transportOptions: { global_keyprefix: 'shop' } });
    await backend.store([{ meta: meta('a', 'STARTED') }]);
    expect(await raw.text('keys', ['*'])).toEqual(['shop_celery-task-meta-a']);
    expect(await raw.text('ttl', ['shop_celery-task-meta-a'])).toBe(-1);
  });

  test('a SUCCESS that Python wrote is not overwritten', async () => {
    const backend = await connect();
    const written =
      '{"status": "SUCCESS", "result": 1, "traceback": null, "children": [], "date_done": null, "task_id": "a"}';
    await raw.text('set', ['celery-task-meta-a', written]);
    await backend.store([{ meta: meta('a', 'FAILURE') }, { meta: meta('b', 'FAILURE', { status: 'SUCCESS' }) }]);
    expect(await raw.text('get', ['celery-task-meta-a'])).toBe(written);
    await backend.store([{ meta: meta('b', 'SUCCESS', 2) }]);
    expect((await backend.load(['b']))[0]?.result).toBe(2);
  });

  test('nor with a serializer whose keys come in any order, whoever comes first', async () => {
    const backends = [await connect({ codec: unordered }), await connect({ codec: unordered })];
    await Promise.all([
      backends[0]?.store([{ meta: meta('a', 'STARTED') }, { meta: meta('a', 'SUCCESS', 1) }]),
      ...Array.from({ length: 50 }, (_, turn) => backends[turn % 2]?.store([{ meta: meta('a', 'RETRY', turn) }])),
    ]);
    expect((await backends[1]?.load(['a']))?.[0]).toMatchObject({ status: 'SUCCESS', result: 1 });
  });

  test('a key that holds something else fails alone', async () => {
    const backend = await connect();
    await raw.text('lpush', ['celery-task-meta-bad', 'x']);
    const failing = backend.store([{ meta: meta('bad', 'SUCCESS') }]);
    const passing = backend.store([{ meta: meta('good', 'SUCCESS') }]);
    await expect(failing).rejects.toMatchObject({ code: 'ERR_PRECONDITION_FAILED' });
    await passing;
    expect((await backend.load(['good']))[0]?.status).toBe('SUCCESS');
  });

  test('at the memory limit a write is refused and may be tried again', async () => {
    const backend = await connect();
    await raw.text('config', ['set', 'maxmemory', 1]);
    try {
      await expect(backend.store([{ meta: meta('a', 'SUCCESS') }])).rejects.toMatchObject({
        code: 'ERR_BLOCKED',
        retryable: true,
      });
    } finally {
      await raw.text('config', ['set', 'maxmemory', 0]);
    }
    await backend.store([{ meta: meta('a', 'SUCCESS') }]);
  });

  test('all subscriptions of a process share one connection, and leave no channel behind', async () => {
    const backend = await connect();
    const clients = async () =>
      String(await raw.text('client', ['list', 'type', 'pubsub']))
        .split('\n')
        .filter(Boolean).length;
    const subscriptions = await Promise.all(
      Array.from({ length: 50 }, (_, index) => backend.subscribe([`t${index}`], () => {})),
    );
    expect(await clients()).toBe(1);
    for (const subscription of subscriptions) subscription.unsubscribe();
    await expect.poll(() => raw.text('pubsub', ['channels', '*'])).toEqual([]);
  });

  test('the settings complete a URL that names no host, and wrong options are refused', async () => {
    const settings = { redisHost: '127.0.0.1', redisPort: server.port, redisDb: 5 };
    const backend = await connect({ settings }, 'redis://');
    await backend.store([{ meta: meta('a', 'SUCCESS') }]);
    expect(String(await raw.text('info', ['keyspace']))).toContain('db5:keys=1');
    await expect(connect({ transportOptions: { global_keyprefx: 'x' } })).rejects.toMatchObject({ code: 'ERR_CONFIG' });
  });
});
