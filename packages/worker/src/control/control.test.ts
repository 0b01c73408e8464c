import { expect, test } from 'vitest';
import { Lovage, type Answer, type BroadcastOptions } from '@lovage/core';
import { openMemoryDriver } from '@lovage/core/memory';
import { type BrokerUrl, type ConnectOptions, virtualTransport } from '@lovage/core/transport';
import { type Bench, gate, openBench, until } from '../../test/support/bench.ts';

const NODE = 'celery@here';

async function openCluster(settings = {}, options = {}): Promise<Bench & { ask: typeof ask }> {
  const bench = openBench(settings);
  bench.app.task('tasks.add', { rateLimit: '100/s', queue: 'sums' }, (x: number, y: number) => x + y);
  await bench.worker({ nodeName: NODE, concurrency: 2, ...options });
  const ask = async (method: string, given: Readonly<Record<string, unknown>> = {}): Promise<unknown> => {
    const [answer] = await bench.app.control.broadcast(method, { reply: true, limit: 1, arguments: given });
    return answer?.[NODE];
  };
  return Object.assign(bench, { ask });
}
declare function ask(method: string, given?: Readonly<Record<string, unknown>>): Promise<unknown>;

test('nodes that are addressed answer, by name, by pattern or all', async () => {
  const bench = openBench();
  await bench.worker({ nodeName: 'one@here' });
  await bench.worker({ nodeName: 'two@here' });
  const { control } = bench.app;
  const nodes = async (options: BroadcastOptions): Promise<readonly string[]> => {
    const answers: readonly Answer<unknown>[] = await control.ping({ timeout: 0.3, ...options });
    return answers.flatMap((answer) => Object.keys(answer)).toSorted();
  };
  expect(await control.ping({ limit: 2 })).toEqual(
    expect.arrayContaining([{ 'one@here': { ok: 'pong' } }, { 'two@here': { ok: 'pong' } }]),
  );
  expect(await nodes({ destination: ['two@here'] })).toEqual(['two@here']);
  expect(await nodes({ destination: 'nobody@here' })).toEqual([]);
  expect(await nodes({ pattern: 'o*@here' })).toEqual(['one@here']);
  expect(await nodes({ pattern: '(one|two)@', matcher: 'pcre' })).toEqual(['one@here', 'two@here']);
  expect(await control.inspect({ limit: 2 }).ping()).toEqual({
    'one@here': { ok: 'pong' },
    'two@here': { ok: 'pong' },
  });
});

test('unknown commands and wrong arguments are answered as Celery answers them', async () => {
  const { ask } = await openCluster();
  expect(await ask('nosuch')).toEqual({ error: "KeyError('nosuch')" });
  expect(await ask('__proto__')).toEqual({ error: "KeyError('__proto__')" });
  expect(await ask('enable_events', { x: 1 })).toEqual({
    error: `TypeError("enable_events() got an unexpected keyword argument 'x'")`,
  });
  expect(await ask('rate_limit', { task_name: 'tasks.add' })).toEqual({
    error: `TypeError("rate_limit() missing 1 required positional argument: 'rate_limit'")`,
  });
  expect(await ask('rate_limit', { task_name: 'nosuch', rate_limit: '1/s' })).toEqual({ error: 'unknown task' });
  expect(await ask('rate_limit', { task_name: 'tasks.add', rate_limit: 'often' })).toEqual({
    error: `Invalid rate limit string: ValueError("could not convert string to float: 'often'")`,
  });
  expect(await ask('autoscale', { max: 3, min: 1 })).toEqual({ error: "ValueError('Autoscale not enabled')" });
  expect(await ask('pool_restart')).toEqual({ error: "ValueError('Pool restarts not enabled')" });
  expect(await ask('revoke', { task_id: 'x', signal: 'NOSUCH' })).toEqual({ error: "KeyError('NOSUCH')" });
  expect(await ask('ping', { anything: 1 })).toEqual({ ok: 'pong' });
});

test('tasks are shown where they are: active, reserved, scheduled', async () => {
  const { ask, app } = await openCluster({}, { concurrency: 1, prefetchMultiplier: 4 });
  const { opened, open } = gate();
  const wait = app.task('tasks.wait', { params: ['n'] }, async (_n: number) => opened);
  const running = await wait.delay(1);
  const reserved = await wait.applyAsync([2]);
  const later = await wait.applyAsync([3], { countdown: 60 });
  await until(async () => ((await ask('scheduled')) as unknown[]).length === 1, 'a scheduled task');
  const request = (id: string, n: number) => ({
    id,
    name: 'tasks.wait',
    args: [n],
    kwargs: {},
    type: 'tasks.wait',
    hostname: NODE,
    time_start: null,
    acknowledged: false,
    delivery_info: { exchange: '', routing_key: 'celery', priority: expect.any(Number), redelivered: false },
    worker_pid: null,
  });
  const active = { ...request(running.id, 1), time_start: expect.any(Number), worker_pid: process.pid };
  expect(await ask('active')).toEqual([active]);
  expect(await ask('dump_active', { safe: true })).toEqual([{ ...active, args: '(1,)', kwargs: '{}' }]);
  expect(await ask('scheduled')).toEqual([
    { eta: expect.stringMatching(/^\d{4}-.*\+00:00$/), priority: 6, request: request(later.id, 3) },
  ]);
  expect(await ask('query_task', { ids: [running.id, later.id, 'other'] })).toEqual({
    [running.id]: ['active', active],
  });
  expect(await ask('stats')).toMatchObject({ total: { 'tasks.wait': 1 }, pid: process.pid, prefetch_count: 5 });
  expect(await ask('reserved')).toEqual([request(reserved.id, 2)]);
  open();
});

test('what is revoked by remote control does not run; what runs is ended', async () => {
  const bench = await openCluster();
  const { ask, app } = bench;
  const meta = (id: string): Promise<unknown> => bench.meta(id);
  const wait = app.task(
    'tasks.wait',
    { bind: true },
    ({ signal }) =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error));
      }),
  );
  expect(await ask('revoke', { task_id: ['a'] })).toEqual({ ok: "tasks {'a'} flagged as revoked" });
  expect(await ask('revoked')).toEqual(['a']);
  await wait.applyAsync([], { taskId: 'a' });
  expect(await meta('a')).toMatchObject({ status: 'REVOKED' });
  await wait.applyAsync([], { taskId: 'b' });
  await until(async () => ((await ask('active')) as unknown[]).length === 1, 'a running task');
  expect(await ask('terminate', { task_id: 'nobody', signal: 'KILL' })).toEqual({ ok: 'terminate: tasks unknown' });
  expect(await ask('terminate', { task_id: 'b', signal: 'TERM' })).toEqual({ ok: 'terminate: b' });
  expect(await meta('b')).toMatchObject({ status: 'REVOKED' });
});

test('consumers come and go while the worker runs', async () => {
  const { ask, app } = await openCluster();
  const echo = app.task('tasks.echo', (x: string) => x);
  expect(
    await ask('add_consumer', { queue: 'more', exchange: null, exchange_type: 'direct', routing_key: null }),
  ).toEqual({
    ok: 'add consumer more',
  });
  expect(await (await echo.applyAsync(['hi'], { queue: 'more' })).get({ timeout: 25 })).toBe('hi');
  expect(((await ask('active_queues')) as { name: string }[]).map(({ name }) => name)).toContain('more');
  expect(await ask('cancel_consumer', { queue: 'more' })).toEqual({ ok: 'no longer consuming from more' });
  const left = await echo.applyAsync(['later'], { queue: 'more' });
  // The other queues are served still, by the same consumer.
  expect(await (await echo.delay('now')).get({ timeout: 25 })).toBe('now');
  expect(await left.state()).toBe('PENDING');
});

test('a queue that the broker refuses costs no other', async () => {
  const { ask, app, workers } = await openCluster();
  const echo = app.task('tasks.echo', (x: string) => x);
  const refused = { queue: 'bad', exchange: 'celery', exchange_type: 'topic', routing_key: 'bad' };
  expect(await ask('add_consumer', refused)).toEqual({ error: expect.stringContaining('exchange') });
  expect(workers[0]?.queueNames).toEqual(['celery']);
  expect(await (await echo.delay('now')).get({ timeout: 25 })).toBe('now');
  expect(await ask('add_consumer', { queue: 'more' })).toEqual({ ok: 'add consumer more' });
  expect(await (await echo.applyAsync(['hi'], { queue: 'more' })).get({ timeout: 25 })).toBe('hi');
});

test('limits and pool change while the worker runs', async () => {
  const { ask } = await openCluster();
  expect(await ask('registered')).toEqual(['tasks.add [rate_limit=100/s]']);
  expect(await ask('rate_limit', { task_name: 'tasks.add', rate_limit: '10/m' })).toEqual({
    ok: 'new rate limit set successfully',
  });
  expect(await ask('registered', { taskinfoitems: ['rate_limit', 'acks_late', 'nosuch'] })).toEqual([
    'tasks.add [rate_limit=10/m acks_late=True]',
  ]);
  expect(await ask('rate_limit', { task_name: 'tasks.add', rate_limit: 0 })).toEqual({
    ok: 'rate limit disabled successfully',
  });
  expect(await ask('time_limit', { task_name: 'tasks.add', hard: 10, soft: null })).toEqual({
    ok: 'time limits set successfully',
  });
  expect(await ask('time_limit', { task_name: 'nosuch', hard: 10 })).toEqual({ error: 'unknown task' });
  expect(await ask('pool_grow', { n: 3 })).toEqual({ ok: 'pool will grow' });
  expect(await ask('stats')).toMatchObject({ pool: { 'max-concurrency': 5 }, prefetch_count: 5 });
  expect(await ask('pool_shrink')).toEqual({ ok: 'pool will shrink' });
  expect(await ask('stats')).toMatchObject({ pool: { 'max-concurrency': 4 } });
});

test('an allow list restricts what remote control may do', async () => {
  const { ask } = await openCluster({ workerRemoteControlAllow: ['inspect', 'revoke'] });
  expect(await ask('ping')).toEqual({ ok: 'pong' });
  expect(await ask('revoke', { task_id: 'a' })).toMatchObject({ ok: expect.any(String) });
  expect(await ask('shutdown')).toEqual({
    error: "PermissionError('shutdown is not allowed on this worker (workerRemoteControlAllow)')",
  });
});

test('messages that are no commands are dropped, and the next one is answered', async () => {
  const bench = await openCluster();
  const connection = await bench.connection();
  const send = (body: string, contentType = 'application/json', headers = {}): Promise<void> =>
    connection.publish([
      {
        exchange: 'celery.pidbox',
        routingKey: '',
        message: { body: Buffer.from(body), contentType, contentEncoding: 'utf-8', headers, properties: {} },
      },
    ]);
  await connection.declare({ exchanges: [{ name: 'celery.pidbox', type: 'fanout', durable: false }] });
  await send('{');
  await send('[]');
  await send('null');
  await send('"ping"');
  await send('{"method": 1}');
  await send('{"method": "ping", "arguments": []}');
  await send('{"method": "ping", "pattern": "(", "matcher": "pcre"}');
  await send('{"method": "ping", "pattern": "([a-z@]|[a-z@])*!", "matcher": "pcre"}');
  await send('{"method": "ping", "ticket": 1, "reply_to": {"exchange": "celery", "routing_key": "x"}}');
  await send('gASVAAA=', 'application/x-python-serialize');
  await send('{"method": "ping"}', 'application/json', { clock: Number.MAX_VALUE });
  expect(await bench.ask('ping')).toEqual({ ok: 'pong' });
  expect(bench.app.clock.value).toBeLessThan(1000);
});

test("answers arrive on a broker where processes do not know of each other's bindings", async () => {
  const apart = () =>
    virtualTransport({
      schemes: ['memory'],
      open: async (url: BrokerUrl, options: ConnectOptions) =>
        new Proxy(await openMemoryDriver(url, options), {
          get: (driver, name) => {
            if (name === 'bindings') return undefined;
            const value: unknown = Reflect.get(driver, name, driver);
            return typeof value === 'function' ? (value as () => unknown).bind(driver) : value;
          },
        }),
    });
  const bench = openBench({ transports: [apart()] });
  await bench.worker({ nodeName: NODE });
  const asker = new Lovage('asker', { broker: bench.broker, transports: [apart()] });
  expect(await asker.control.ping({ limit: 1 })).toEqual([{ [NODE]: { ok: 'pong' } }]);
  await asker.close();
});

test('shutdown stops the worker warmly and gives no answer', async () => {
  const bench = await openCluster();
  await bench.app.control.shutdown();
  await bench.workers[0]?.done;
  expect(bench.workers[0]?.state).toBe('closed');
});
