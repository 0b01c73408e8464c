import { randomUUID } from 'node:crypto';
import { freePort, storeOptions, taskMeta } from '@lovage/conformance';
import { natsBackend } from '@lovage/backend-nats';
import {
  type BackendOptions,
  BackendUrl,
  type ChordStore,
  type Logger,
  type ResultBackend,
  type TaskMeta,
} from '@lovage/core/backend';
import { jetstreamManager, type JetStreamManager } from '@nats-io/jetstream';
import { connect, nanos, type NatsConnection } from '@nats-io/transport-node';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { hasNatsServer, startNats } from '../../nats/test/servers.ts';
import { serviceUrl } from '../../conformance/test/service-url.ts';

const server = serviceUrl('nats') ?? '';

async function opened(url: string, more: Partial<BackendOptions> = {}): Promise<ResultBackend> {
  const store = await natsBackend.open(new BackendUrl(url), storeOptions(more));
  onTestFinished(() => store.close());
  return store;
}

function meta(taskId: string, status: string, result: unknown = null): TaskMeta {
  return taskMeta(taskId, { status, result });
}

describe.skipIf(server === '')('the bucket', () => {
  let connection: NatsConnection;
  let manager: JetStreamManager;

  beforeAll(async () => {
    connection = await connect({ servers: server.replace('nats://', '') });
    manager = await jetstreamManager(connection);
  });
  afterAll(() => connection.close());

  /** A bucket of its own, removed when the test has ended. */
  function ownBucket(): string {
    const name = `test-${randomUUID().slice(0, 8)}`;
    onTestFinished(async () => void (await manager.streams.delete(`KV_${name}`).catch(() => undefined)));
    return name;
  }
  const last = (bucket: string, key: string) =>
    manager.direct.getMessage(`KV_${bucket}`, { last_by_subj: `$KV.${bucket}.${key}` });

  test('keeps what Celery keeps elsewhere under Celery’s keys, with a time to live', async () => {
    const bucket = ownBucket();
    const store = await opened(`${server}/${bucket}`, { transportOptions: { global_keyprefix: 'shop.' } });
    await store.store([{ meta: meta('a', 'SUCCESS', 'é') }, { meta: meta('b.c d', 'SUCCESS', 2) }]);
    const kept = await last(bucket, 'shop.celery-task-meta-a');
    expect(kept?.json()).toMatchObject({ status: 'SUCCESS', result: 'é', task_id: 'a' });
    expect(kept?.header.get('Nats-TTL')).toBe('3600s');
    expect((await last(bucket, 'shop.celery-task-meta-b.c=20d'))?.json()).toMatchObject({ result: 2 });
    expect((await store.load(['a', 'b.c d', 'b.c'])).map((each) => each?.result)).toEqual(['é', 2, undefined]);
  });

  test('that an operator made gets what is missing, and keeps the rest', async () => {
    const bucket = ownBucket();
    await manager.streams.add({
      name: `KV_${bucket}`,
      subjects: [`$KV.${bucket}.>`],
      max_msgs_per_subject: 5,
      allow_rollup_hdrs: true,
      description: 'ours',
    });
    const store = await opened(`${server}/${bucket}`, { expiresSeconds: 1 });
    await store.store([{ meta: meta('a', 'SUCCESS') }]);
    const { config } = await manager.streams.info(`KV_${bucket}`);
    expect(config).toMatchObject({
      description: 'ours',
      max_msgs_per_subject: 5,
      allow_msg_ttl: true,
      allow_direct: true,
      republish: { src: `$KV.${bucket}.>`, dest: `lovage.kv.${bucket}.>` },
    });
    expect(store.capabilities.notifies).toBe(true);
    await expect.poll(() => store.load(['a'])).toEqual([undefined]);
  });

  test('that has the server mark what it removed: a mark is no value, and nothing is told of it', async () => {
    const bucket = ownBucket();
    await manager.streams.add({
      name: `KV_${bucket}`,
      subjects: [`$KV.${bucket}.>`],
      max_msgs_per_subject: 1,
      allow_rollup_hdrs: true,
      allow_msg_ttl: true,
      subject_delete_marker_ttl: nanos(60_000),
    });
    const store = await opened(`${server}/${bucket}`, { expiresSeconds: 1 });
    const told: string[] = [];
    await store.subscribe(['a', 'b'], ({ task_id, status }) => void told.push(`${task_id} ${status}`));
    await store.documents?.write('leader', 'first', undefined, { ttlSeconds: 1 });
    await store.store([{ meta: meta('a', 'STARTED') }]);
    for (const key of ['celery-task-meta-a', 'leader']) {
      await expect.poll(async () => (await last(bucket, key))?.header.get('Nats-Marker-Reason')).toBe('MaxAge');
    }
    expect(await store.load(['a'])).toEqual([undefined]);
    expect(await store.documents?.read('leader')).toBeUndefined();
    expect(await store.documents?.write('leader', 'second', undefined)).toBeDefined();
    await store.store([{ meta: meta('b', 'STARTED') }]);
    await expect.poll(() => told).toEqual(['a STARTED', 'b STARTED']);
  });

  test('that republishes for others is polled, and that is said', async () => {
    const bucket = ownBucket();
    const said: string[] = [];
    const note = (_: object, message?: string): void => void said.push(message ?? '');
    const logger = { debug: note, info: note, warn: note, error: note } as unknown as Logger;
    await manager.streams.add({
      name: `KV_${bucket}`,
      subjects: [`$KV.${bucket}.>`],
      max_msgs_per_subject: 1,
      allow_rollup_hdrs: true,
      republish: { src: `$KV.${bucket}.x.>`, dest: `other.>` },
    });
    const store = await opened(`${server}/${bucket}`, { logger });
    expect(store.capabilities.notifies).toBe(false);
    expect(said.join()).toMatch(/polled/);
  });

  test('a failure that comes too late is not told', async () => {
    const bucket = ownBucket();
    const [store, zombie] = [await opened(`${server}/${bucket}`), await opened(`${server}/${bucket}`)];
    const told: string[] = [];
    let next!: () => void;
    const after = new Promise<void>((resolve) => {
      next = resolve;
    });
    await store.subscribe(['a', 'b'], ({ task_id, status }) => {
      told.push(`${task_id} ${status}`);
      if (task_id === 'b') next();
    });
    await store.store([{ meta: meta('a', 'SUCCESS') }]);
    await zombie.store([{ meta: meta('a', 'FAILURE') }]);
    await zombie.store([{ meta: meta('b', 'SUCCESS') }]);
    await after;
    expect(told).toEqual(['a SUCCESS', 'b SUCCESS']);
  });

  test('that is removed while it is in use is made again', async () => {
    const bucket = ownBucket();
    const store = await opened(`${server}/${bucket}`);
    await store.store([{ meta: meta('a', 'SUCCESS') }]);
    await manager.streams.delete(`KV_${bucket}`);
    const error: unknown = await store.store([{ meta: meta('a', 'SUCCESS', 2) }]).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'ERR_CONNECTION_LOST', retryable: true });
    await store.store([{ meta: meta('a', 'SUCCESS', 2) }]);
    expect((await store.load(['a']))[0]?.result).toBe(2);
  });

  test('a value over the server’s limit is refused, that one alone', async () => {
    const store = await opened(`${server}/${ownBucket()}`);
    const [large, small] = await Promise.allSettled([
      store.store([{ meta: meta('large', 'SUCCESS', 'x'.repeat(1_100_000)) }]),
      store.store([{ meta: meta('small', 'SUCCESS') }]),
    ]);
    expect([large, small]).toMatchObject([{ reason: { code: 'ERR_TOO_LARGE' } }, { status: 'fulfilled' }]);
  });

  test.each([
    ['/a.b', {}, /letters, digits/],
    ['', { stream_config: { max_msgs_per_subject: 2 } }, /max_msgs_per_subject/],
    ['', { stream_confg: {} }, /streamConfig|stream_config/],
  ])('%s %j is refused', async (path, transportOptions, message) => {
    await expect(opened(`nats://hush:secret@127.0.0.1:1${path}`, { transportOptions })).rejects.toThrow(message);
  });
});

describe.skipIf(server === '')('chords', () => {
  const url = `${server}/chords`;

  async function chord(expiresSeconds: number | undefined = 60) {
    const { chords } = await opened(url, { expiresSeconds });
    const group = randomUUID();
    return {
      begin: (size: number) => chords?.begin(group, size),
      finish: () => chords?.finish(group),
      extend: (taskId: string) => chords?.extend(group, taskId),
      part: async (taskId: string, index: number | undefined, result: unknown, state = 'SUCCESS') =>
        (await chords?.part(group, { taskId, index, state, result }))?.map(
          (part) => `${part.taskId} ${String(part.result)}`,
        ),
    };
  }

  test('the last part is given all, in the order of the header, and a part counts once', async () => {
    const { begin, part, finish } = await chord();
    expect(await part('c', 10, 3)).toBeUndefined();
    await begin(4);
    expect(await part('a', 0, 'no', 'FAILURE')).toBeUndefined();
    expect(await part('a', 0, 1)).toBeUndefined();
    expect(await part('a', 0, 9)).toBeUndefined();
    expect(await part('z.*>', undefined, 4)).toBeUndefined();
    const all = ['a 1', 'b 2', 'c 3', 'z.*> 4'];
    expect(await part('b', 2, 2)).toEqual(all);
    expect(await part('a', 0, 1)).toBeUndefined();
    expect(await part('b', 2, 2)).toEqual(all);
    await finish();
    expect(await part('b', 2, 2)).toBeUndefined();
    await begin(1);
    expect(await part('a', 0, 1)).toBeUndefined();
  });

  test('parts that were added are waited for, each once', async () => {
    const { begin, part, extend } = await chord(undefined);
    await begin(1);
    await extend('x');
    await extend('x');
    expect(await part('a', 0, 1)).toBeUndefined();
    expect(await part('x', 1, 2)).toHaveLength(2);
  });

  test('of many parts that end at once one is given all', async () => {
    const { begin, part } = await chord();
    await begin(40);
    const given = await Promise.all(Array.from({ length: 40 }, (_, index) => part(`task-${index}`, index, index)));
    expect(given.filter((parts) => parts !== undefined)).toEqual([
      Array.from({ length: 40 }, (_, index) => `task-${index} ${index}`),
    ]);
  });
});

describe.skipIf(server === '')('a large chord', () => {
  test('is looked through when it may be complete, not for each of its parts', async () => {
    const bucket = `test-${randomUUID().slice(0, 8)}`;
    const connection = await connect({ servers: server.replace('nats://', '') });
    onTestFinished(async () => {
      await (await jetstreamManager(connection)).streams.delete(`KV_${bucket}`).catch(() => undefined);
      await connection.close();
    });
    const stores = [await opened(`${server}/${bucket}`), await opened(`${server}/${bucket}`)];
    let looks = 0;
    const listing = connection.subscribe(`$JS.API.STREAM.INFO.KV_${bucket}`, {
      callback: (_, message) => {
        if (message.data.length > 0) looks++;
      },
    });
    await connection.flush();
    const group = randomUUID();
    const [size, added] = [150, 50];
    await stores[0]?.chords?.begin(group, size);
    const part = async (index: number): Promise<number | undefined> => {
      const { chords } = stores[index % stores.length] as ResultBackend;
      const each = { taskId: `t${index}`, index, state: 'SUCCESS', result: index };
      return (await chords?.part(group, each))?.length;
    };
    for (let index = 0; index < 50; index++) expect(await part(index)).toBeUndefined();
    // One that comes again, and others that are added.
    expect(await part(7)).toBeUndefined();
    for (let index = 0; index < added; index++) await stores[0]?.chords?.extend(group, `t${size + index}`);
    const rest = Array.from({ length: size + added - 50 }, (_, index) => 50 + index);
    const given = await Promise.all(rest.map(part));
    expect(given.filter((count) => count !== undefined)).toEqual([size + added]);
    await connection.flush();
    listing.unsubscribe();
    expect(looks).toBeGreaterThan(0);
    expect(looks).toBeLessThan(150);
  });
});

describe.skipIf(!hasNatsServer)('servers', () => {
  test('of another domain keep results', async () => {
    const hub = await startNats('', { domain: 'hub' });
    onTestFinished(() => hub.stop());
    const store = await opened(`nats://127.0.0.1:${hub.port}?domain=hub`);
    let told!: (status: string) => void;
    const first = new Promise<string>((resolve) => {
      told = resolve;
    });
    await store.subscribe(['a'], ({ status }) => told(status));
    await store.store([{ meta: meta('a', 'SUCCESS', 1) }]);
    expect(await first).toBe('SUCCESS');
    expect((await store.load(['a']))[0]?.result).toBe(1);
    await store.forget(['a']);
    expect(await store.load(['a'])).toEqual([undefined]);
  });

  test('that refuse to be listened to or written to are an AuthError, at once', async () => {
    const rights = 'permissions: { publish: { deny: "$KV.>" }, subscribe: { deny: "lovage.>" } }';
    const strict = await startNats(`authorization { users: [{ user: u, password: hush, ${rights} }] }`);
    onTestFinished(() => strict.stop());
    const store = await opened(`nats://u:hush@127.0.0.1:${strict.port}`);
    await expect(store.subscribe(['a'], () => {})).rejects.toMatchObject({ code: 'ERR_AUTH' });
    await expect(store.store([{ meta: meta('a', 'SUCCESS') }])).rejects.toMatchObject({ code: 'ERR_AUTH' });
  });

  test('that hold replicas are read so that what was confirmed is seen, and chords end', async () => {
    const [routes, ports] = [
      await Promise.all([freePort(), freePort(), freePort()]),
      await Promise.all([freePort(), freePort(), freePort()]),
    ];
    const cluster = (index: number): string =>
      `server_name: "n${index}"\ncluster { name: c, listen: "127.0.0.1:${routes[index]}", routes: [${routes.map((port) => `"nats://127.0.0.1:${port}"`).join(', ')}] }`;
    const servers = await Promise.all(ports.map((port, index) => startNats(cluster(index), { port })));
    onTestFinished(async () => void (await Promise.all(servers.map((each) => each.stop()))));
    const options = { transportOptions: { stream_config: { num_replicas: 3 } } };
    const at = (index: number): string => `nats://127.0.0.1:${ports[index]}/replicated`;
    let store!: ResultBackend;
    await expect
      .poll(
        async () => {
          store = await opened(at(0), options).catch((error: unknown) => error as ResultBackend);
          return store instanceof Error ? String(store) : 'open';
        },
        { timeout: 20_000 },
      )
      .toBe('open');
    const others = [await opened(at(1), options), await opened(at(2), options)] as const;
    for (let round = 0; round < 50; round++) {
      const id = `r-${round}`;
      await store.store([{ meta: meta(id, 'STARTED') }]);
      await (others[round % 2] as ResultBackend).store([{ meta: meta(id, 'SUCCESS', round) }]);
      expect((await (others[(round + 1) % 2] as ResultBackend).load([id]))[0]?.result).toBe(round);
    }
    for (let round = 0; round < 10; round++) {
      const group = randomUUID();
      await store.chords?.begin(group, 3);
      const parts = await Promise.all(
        [store, ...others].map((each, index) =>
          (each.chords as ChordStore).part(group, { taskId: `t${index}`, index, state: 'SUCCESS', result: index }),
        ),
      );
      expect(parts.filter((all) => all !== undefined).map((all) => all.map(({ result }) => result))).toEqual([
        [0, 1, 2],
      ]);
    }
  });
});
