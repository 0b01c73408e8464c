import { describe, expect, test } from 'vitest';
import { faultyTransport, openApp, runningTask, takeDeliveries, takeTask } from '../../test/support/app-bench.ts';
import { AuthError, ConnectionLostError, PublishError } from '../errors.ts';
import { currentTask, type ApplyOptions } from '../index.ts';

const UUID = /^[\da-f]{8}-[\da-f]{4}-4[\da-f]{3}-[89ab][\da-f]{3}-[\da-f]{12}$/;

describe('what a call puts on the wire', () => {
  test('without options: the headers and properties of Celery', async () => {
    const app = openApp();
    const { id } = await app.sendTask('tasks.add', { args: [2, 'two'], kwargs: { z: null } });
    const { headers, properties, delivery, args, kwargs, embed } = await takeTask(app.url);
    expect(id).toMatch(UUID);
    expect(headers).toEqual({
      lang: 'js',
      task: 'tasks.add',
      id,
      shadow: null,
      eta: null,
      expires: null,
      group: null,
      group_index: null,
      retries: 0,
      timelimit: [null, null],
      root_id: id,
      parent_id: null,
      argsrepr: "(2, 'two')",
      kwargsrepr: "{'z': None}",
      origin: app.nodeName,
      ignore_result: false,
      replaced_task_nesting: 0,
      stamped_headers: null,
      stamps: {},
    });
    expect(properties).toMatchObject({ correlationId: id, replyTo: app.oid, deliveryMode: 2, priority: 0 });
    expect(delivery.message).toMatchObject({ contentType: 'application/json', contentEncoding: 'utf-8' });
    expect({ args, kwargs, embed }).toEqual({
      args: [2, 'two'],
      kwargs: { z: null },
      embed: { callbacks: null, errbacks: null, chain: null, chord: null },
    });
  });

  test.each<[ApplyOptions, object]>([
    [{ taskId: 'my-id' }, { id: 'my-id', root_id: 'my-id' }],
    [{ shadow: 'shown' }, { shadow: 'shown' }],
    [{ eta: new Date('2030-01-01T00:00:00Z') }, { eta: '2030-01-01T00:00:00+00:00' }],
    [{ eta: '2030-01-01T00:00:00' }, { eta: '2030-01-01T00:00:00+00:00' }],
    [{ eta: '20300101T020000+02' }, { eta: '2030-01-01T00:00:00+00:00' }],
    [{ expires: new Date('2030-01-01T00:00:00.5Z') }, { expires: '2030-01-01T00:00:00.500000+00:00' }],
    [{ expires: '2030-01-01' }, { expires: '2030-01-01T00:00:00+00:00' }],
    [{ timeLimit: 20, softTimeLimit: 10.5 }, { timelimit: [20, 10.5] }],
    [{ headers: { tenant: 'a', nested: { x: [1] } } }, { tenant: 'a', nested: { x: [1] } }],
    [{ stamps: { who: 'ada' } }, { stamped_headers: ['who'], stamps: { who: 'ada' } }],
    [{ ignoreResult: true }, { ignore_result: true }],
    [
      { rootId: 'r', parentId: 'p' },
      { root_id: 'r', parent_id: 'p' },
    ],
    [
      { groupId: 'g', groupIndex: 2 },
      { group: 'g', group_index: 2 },
    ],
    [{ retries: 2 }, { retries: 2 }],
    [
      { argsrepr: '<hidden>', kwargsrepr: '{}' },
      { argsrepr: '<hidden>', kwargsrepr: '{}' },
    ],
  ])('%j', async (options, headers) => {
    const app = openApp();
    await app.sendTask('t', options);
    expect((await takeTask(app.url)).headers).toMatchObject(headers);
  });

  test.each<[ApplyOptions, object]>([
    [{ priority: 7 }, { priority: 7 }],
    [{ deliveryMode: 'transient' }, { deliveryMode: 1 }],
    [{ replyTo: 'elsewhere' }, { replyTo: 'elsewhere' }],
  ])('%j, a property', async (options, properties) => {
    const app = openApp();
    await app.sendTask('t', options);
    expect((await takeTask(app.url)).properties).toMatchObject(properties);
  });

  test('a text without an offset is UTC wherever the program runs', async () => {
    const zone = process.env.TZ;
    process.env.TZ = 'America/New_York';
    try {
      const app = openApp();
      await app.sendTask('t', { eta: '2030-06-01T12:00:00', expires: '2030-06-01T13:00:00' });
      expect((await takeTask(app.url)).headers).toMatchObject({
        eta: '2030-06-01T12:00:00+00:00',
        expires: '2030-06-01T13:00:00+00:00',
      });
    } finally {
      if (zone === undefined) delete process.env.TZ;
      else process.env.TZ = zone;
    }
  });

  test('countdown and expires are seconds from now', async () => {
    const app = openApp();
    const before = Date.now();
    await app.sendTask('t', { countdown: 10, expires: 60 });
    const after = Date.now();
    const { headers, properties } = await takeTask(app.url);
    const eta = Date.parse(headers.eta as string);
    const expires = Date.parse(headers.expires as string);
    expect(eta).toBeGreaterThanOrEqual(before + 10_000);
    expect(eta).toBeLessThanOrEqual(after + 10_000);
    expect(expires - eta).toBe(50_000);
    expect(Number(properties.expiration)).toBeGreaterThan(59_000);
    expect(Number(properties.expiration)).toBeLessThanOrEqual(60_000);
  });

  test('null and undefined count as not given, with a queue and without', async () => {
    const app = openApp();
    const nothing = {
      eta: null,
      expires: null,
      link: null,
      stamps: null,
      timeLimit: undefined,
      taskId: null,
    } as never as ApplyOptions;
    await app.sendTask('t', nothing);
    await app.sendTask('t', { ...nothing, queue: 'q' });
    for (const queue of ['celery', 'q']) {
      const { headers, embed } = await takeTask(app.url, queue);
      expect(headers).toMatchObject({ eta: null, expires: null, stamps: {}, stamped_headers: null });
      expect(embed.callbacks).toBeNull();
    }
  });

  test('callbacks and errbacks travel in the body', async () => {
    const app = openApp();
    const log = app.task('log', (value: unknown) => value);
    const cry = app.task('cry', (_id: string) => undefined);
    await app.sendTask('t', { link: [log.s(), log.si(1)], linkError: cry.signature(['x'], { queue: 'errors' }) });
    const { embed } = await takeTask(app.url);
    expect(embed.callbacks).toEqual([
      { task: 'log', args: [], kwargs: {}, options: {}, subtask_type: null, immutable: false },
      { task: 'log', args: [1], kwargs: {}, options: {}, subtask_type: null, immutable: true },
    ]);
    expect(embed.errbacks).toMatchObject([{ task: 'cry', args: ['x'], options: { queue: 'errors' } }]);
  });

  test('serializer and compression', async () => {
    const app = openApp();
    await app.sendTask('t', { args: ['x'.repeat(500)], compression: 'zlib' });
    await app.sendTask('t', { args: [1], serializer: 'msgpack' });
    const [packed, msgpack] = await takeDeliveries(app.url, 'celery', 2);
    expect(packed?.message.headers.compression).toBe('application/x-gzip');
    expect(packed?.message.body.length).toBeLessThan(200);
    expect(msgpack?.message).toMatchObject({ contentType: 'application/x-msgpack', contentEncoding: 'binary' });
    await expect(app.sendTask('t', { serializer: 'pickle' })).rejects.toMatchObject({ code: 'ERR_CONFIG' });
    await expect(app.sendTask('t', { compression: 'none-such' })).rejects.toMatchObject({ code: 'ERR_UNSUPPORTED' });
  });

  test.each<[object, RegExp]>([
    [{ countDown: 1 }, /"countDown".*"countdown"/],
    [{ task_id: 'x' }, /"task_id".*"taskId"/],
    [{ priority: 10 }, /priority 10/],
    [{ eta: 'tomorrow' }, /eta "tomorrow"/],
    [{ eta: '2030-02-30T00:00:00' }, /2030-02-30/],
    [{ eta: new Date(), countdown: 1 }, /both countdown and eta/],
    [{ headers: { id: 'x' } }, /header "id"/],
  ])('%j is refused', async (options, message) => {
    await expect(openApp().sendTask('t', options)).rejects.toMatchObject({
      code: 'ERR_CONFIG',
      message: expect.stringMatching(message),
    });
  });
});

describe('inside a task', () => {
  test('the call belongs to it: root, parent, child', async () => {
    const app = openApp();
    const { context, children } = runningTask({ id: 'parent', rootId: 'root', priority: 4 });
    const result = await currentTask.run(context, () => app.sendTask('t'));
    expect((await takeTask(app.url)).headers).toMatchObject({ parent_id: 'parent', root_id: 'root' });
    expect(children).toEqual([[[result.id, null], null]]);
    await currentTask.run(context, () => app.sendTask('t', { addToParent: false }));
    expect(children).toHaveLength(1);
  });

  test('the priority is inherited only where the settings say so', async () => {
    const { context } = runningTask({ id: 'parent', rootId: 'root', priority: 4 });
    for (const [taskInheritParentPriority, priority] of [
      [false, 0],
      [true, 4],
    ] as const) {
      const app = openApp({ taskInheritParentPriority });
      await currentTask.run(context, () => app.sendTask('t'));
      expect((await takeTask(app.url)).properties.priority).toBe(priority);
    }
  });

  test('a call that failed is no child', async () => {
    const app = openApp({ transports: [faultyTransport({ publish: () => Promise.reject(new AuthError('no')) })] });
    const { context, children } = runningTask({ id: 'parent', rootId: 'root' });
    await expect(currentTask.run(context, () => app.sendTask('t'))).rejects.toMatchObject({ code: 'ERR_AUTH' });
    expect(children).toEqual([]);
  });
});

describe('routing', () => {
  test('a queue by name has the anonymous exchange', async () => {
    const app = openApp();
    await app.sendTask('t', { queue: 'slow' });
    expect((await takeTask(app.url, 'slow')).delivery).toMatchObject({
      queue: 'slow',
      exchange: '',
      routingKey: 'slow',
    });
  });

  test('routes lead to queues, a topic exchange by its key', async () => {
    const app = openApp({
      taskQueues: [{ name: 'feed', exchange: 'news', exchangeType: 'topic', routingKey: 'news.#' }],
      taskRoutes: { 'feed.*': { queue: 'feed', routingKey: 'news.sport' }, mail: 'mail' },
    } as never);
    await app.sendTask('feed.fetch');
    await app.sendTask('mail');
    expect((await takeTask(app.url, 'feed')).delivery).toMatchObject({ exchange: 'news', routingKey: 'news.sport' });
    expect((await takeTask(app.url, 'mail')).delivery.queue).toBe('mail');
  });
});

describe('a broker that fails', () => {
  function failing(
    times: number,
    error: () => Error,
  ): { attempts: () => number; transports: [ReturnType<typeof faultyTransport>] } {
    let attempts = 0;
    const publish = (): Promise<void> | undefined => (++attempts <= times ? Promise.reject(error()) : undefined);
    return { attempts: () => attempts, transports: [faultyTransport({ publish })] };
  }
  const lost = (): Error => new ConnectionLostError('cut');
  const fast = {
    taskPublishRetryPolicy: { max_retries: 3, interval_start: 0, interval_step: 0.001, interval_max: 0.01 },
  };

  test('is tried again, and the message is there once', async () => {
    const { attempts, transports } = failing(3, lost);
    const app = openApp({ transports, ...fast });
    const { id } = await app.sendTask('t');
    expect(attempts()).toBe(4);
    expect((await takeTask(app.url)).headers.id).toBe(id);
  });

  test('after the last retry its error is the caller’s', async () => {
    const { attempts, transports } = failing(99, lost);
    await expect(openApp({ transports, ...fast }).sendTask('t')).rejects.toMatchObject({ code: 'ERR_CONNECTION_LOST' });
    expect(attempts()).toBe(4);
  });

  test.each<[ApplyOptions, number]>([
    [{ retry: false }, 1],
    [{ retryPolicy: { maxRetries: 1 } }, 2],
    [{ retryPolicy: { maxRetries: 0 } }, 1],
  ])('%j is the call’s own schedule', async (options, tries) => {
    const { attempts, transports } = failing(99, lost);
    await expect(openApp({ transports, ...fast }).sendTask('t', options)).rejects.toThrow('cut');
    expect(attempts()).toBe(tries);
  });

  test('an error that cannot be mended is told at once', async () => {
    const { attempts, transports } = failing(99, () => new AuthError('no'));
    await expect(openApp({ transports, ...fast }).sendTask('t')).rejects.toMatchObject({ code: 'ERR_AUTH' });
    expect(attempts()).toBe(1);
  });

  test('the waits follow the policy', async () => {
    const { attempts, transports } = failing(3, lost);
    const started = performance.now();
    await openApp({ transports }).sendTask('t', {
      retryPolicy: { intervalStart: 0.01, intervalStep: 0.02, intervalMax: 0.03 },
    });
    // 10, 30 and 40 ms, less what the clock of timers rounds off.
    expect(performance.now() - started).toBeGreaterThan(65);
    expect(attempts()).toBe(4);
  });

  test('of a batch only what is missing is sent again', async () => {
    const app = openApp({ ...fast, transports: [failing(0, lost).transports[0]] });
    const connection = await app.producerConnection().connection();
    const sent: number[] = [];
    const real = connection.publish.bind(connection);
    connection.publish = async (batch) => {
      sent.push(batch.length);
      if (sent.length > 1) return real(batch);
      await real(batch.filter((_, index) => index !== 1));
      throw new PublishError([{ index: 1, error: new ConnectionLostError('cut') }], batch.length);
    };
    const ids = ['a', 'b', 'c'];
    await connection.declare({ queues: [{ name: 'celery' }] });
    await app.producer.publish(
      ids.map((taskId) => ({
        draft: app.producer.draft('t', [], {}, { taskId }),
        destination: { exchange: '', routingKey: 'celery' },
      })),
    );
    expect(sent).toEqual([3, 1]);
    const taken = await takeDeliveries(app.url, 'celery', 3);
    expect(new Set(taken.map(({ message }) => message.headers.id))).toEqual(new Set(ids));
    expect(taken).toHaveLength(3);
  });

  test('publishTimeoutSeconds ends a publish that nobody confirms', async () => {
    const transports = [faultyTransport({ publish: () => new Promise<void>(() => {}) })];
    const started = performance.now();
    await expect(openApp({ transports, publishTimeoutSeconds: 0.05 }).sendTask('t')).rejects.toMatchObject({
      code: 'ERR_TIMEOUT',
      message: expect.stringMatching(/may have arrived/),
    });
    expect(performance.now() - started).toBeLessThan(2000);
  });

  test('publishTimeoutSeconds ends a declaration that nobody answers', async () => {
    const transports = [faultyTransport({ declare: () => new Promise<void>(() => {}) })];
    await expect(openApp({ transports, publishTimeoutSeconds: 0.05 }).sendTask('t')).rejects.toMatchObject({
      code: 'ERR_TIMEOUT',
    });
  }, 2000);

  test('a timeout longer than timers can be is no timeout at once', async () => {
    const transports = [faultyTransport({ publish: () => new Promise((resolve) => setTimeout(resolve, 20)) })];
    await expect(openApp({ transports, publishTimeoutSeconds: 30 * 86_400 }).sendTask('t')).resolves.toMatchObject({
      id: expect.any(String),
    });
  });

  test('a declaration that failed is made again, one that succeeded is not', async () => {
    let declared = 0;
    const declare = (): Promise<void> | undefined => (++declared === 1 ? Promise.reject(lost()) : undefined);
    const app = openApp({ transports: [faultyTransport({ declare })], ...fast });
    await app.sendTask('t');
    const afterFirst = declared;
    await app.sendTask('t');
    expect(afterFirst).toBe(2);
    expect(declared).toBe(2);
  });
});
