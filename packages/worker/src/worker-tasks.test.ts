import { describe, expect, test } from 'vitest';
import { currentTask, type TaskContext } from '@lovage/core';
import { Ignore, Reject } from '@lovage/core/protocol';
import { exception, gate, openBench, until, within } from '../test/support/bench.ts';
import type { RunContext } from './request/context.ts';

describe('outcomes', () => {
  test('a task runs, its result is stored in the shape of Celery, its message is gone', async () => {
    const bench = openBench();
    const add = bench.app.task('tasks.add', (x: number, y: number) => x + y);
    await bench.worker();
    const result = await add.delay(2, 3);
    expect(await result.get({ timeout: 25 })).toBe(5);
    expect(await bench.meta(result.id)).toEqual({
      status: 'SUCCESS',
      result: 5,
      traceback: null,
      children: [],
      date_done: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+\+00:00$/),
      task_id: result.id,
    });
    await until(async () => (await bench.size()) === 0, 'an empty queue');
    const received = bench.lines.map(({ message }) => message);
    expect(received).toContain(`Task tasks.add[${result.id}] received`);
    expect(received).toContainEqual(
      expect.stringMatching(new RegExp(`^Task tasks.add\\[${result.id}\\] succeeded in [\\d.e-]+s: 5$`)),
    );
  });

  test('async tasks run at once up to the concurrency, no further', async () => {
    const bench = openBench();
    const { opened, open } = gate();
    let running = 0;
    let most = 0;
    const slow = bench.app.task('slow', async () => {
      most = Math.max(most, ++running);
      await opened;
      running--;
    });
    await bench.worker({ concurrency: 3 });
    const results = await Promise.all(Array.from({ length: 8 }, () => slow.delay()));
    await until(() => running === 3, 'three running tasks');
    open();
    await Promise.all(results.map((result) => result.get({ timeout: 25 })));
    expect(most).toBe(3);
  });

  test('a failure is stored with its type, arguments and traceback', async () => {
    const bench = openBench();
    class PaymentError extends Error {}
    PaymentError.prototype.name = 'PaymentError';
    const pay = bench.app.task('pay', async () => {
      throw new PaymentError('no money');
    });
    await bench.worker();
    const { id } = await pay.delay();
    const meta = await bench.meta(id);
    expect(meta.status).toBe('FAILURE');
    expect(meta.result).toEqual(exception('PaymentError', ['no money']));
    expect(meta.traceback).toContain('no money');
    await until(async () => (await bench.size()) === 0, 'an empty queue');
  });

  test.each([
    ['undefined', undefined],
    ['null', null],
    ['a number', 0],
    ['an empty text', ''],
    ['text', 'broken'],
    ['a symbol', Symbol('s')],
    ['a bigint', 10n],
    ['a function', () => {}],
    ['a frozen object', Object.freeze({ a: 1 })],
    ['an array', [1, 2]],
    [
      'a proxy that throws',
      new Proxy(
        {},
        {
          get() {
            throw new Error('get');
          },
          getPrototypeOf() {
            throw new Error('getPrototypeOf');
          },
        },
      ),
    ],
    [
      'an error whose message throws',
      Object.defineProperty(new Error('x'), 'message', {
        get() {
          throw new Error('message');
        },
      }),
    ],
  ])('thrown: %s', async (_, thrown) => {
    const bench = openBench();
    const odd = bench.app.task('odd', () => {
      throw thrown;
    });
    await bench.worker();
    const { id } = await odd.delay();
    expect((await bench.meta(id)).status).toBe('FAILURE');
    await until(async () => (await bench.size()) === 0, 'an empty queue');
  });

  test('a result that cannot be stored is a failure of the task, not a loop', async () => {
    const bench = openBench();
    let runs = 0;
    const odd = bench.app.task('odd', () => {
      runs++;
      return { f: () => {} };
    });
    await bench.worker();
    const { id } = await odd.delay();
    const meta = await bench.meta(id);
    expect(meta.status).toBe('FAILURE');
    expect(meta.result).toMatchObject({ exc_type: expect.stringContaining('EncodeError') });
    await until(async () => (await bench.size()) === 0, 'an empty queue');
    expect(runs).toBe(1);
  });

  test('a function that returns nothing has the result null', async () => {
    const bench = openBench();
    const nothing = bench.app.task('nothing', () => {});
    await bench.worker();
    const { id } = await nothing.delay();
    expect(JSON.parse(JSON.stringify(await bench.meta(id)))).toMatchObject({ status: 'SUCCESS', result: null });
  });

  test('arguments that do not fit fail as in Python', async () => {
    const bench = openBench();
    bench.app.task('two', (a: number, b: number) => a + b);
    await bench.worker();
    const { id } = await bench.app.sendTask('two', { args: [1, 2, 3] });
    const meta = await bench.meta(id);
    expect(meta.result).toEqual(exception('TypeError', ['two() takes 2 positional arguments but 3 were given']));
  });

  test('Ignore keeps the last state and settles', async () => {
    const bench = openBench();
    const quiet = bench.app.task('quiet', { trackStarted: true }, () => {
      throw new Ignore();
    });
    await bench.worker();
    const { id } = await quiet.delay();
    const meta = await bench.meta(id, ({ status }) => status === 'STARTED');
    expect(meta.result).toEqual({ pid: process.pid, hostname: expect.stringMatching(/^celery@/) });
    await until(
      async () => (await bench.size()) === 0 && bench.lines.some(({ message }) => message.endsWith('ignored')),
      'the end',
    );
  });

  test('Reject with requeue runs again, Reject without goes to the dead letter place', async () => {
    const bench = openBench();
    let runs = 0;
    const picky = bench.app.task('picky', () => {
      throw new Reject('not now', { requeue: ++runs < 3 });
    });
    await bench.worker();
    const { id } = await picky.delay();
    const dead = await bench.take('celery.dead');
    expect(dead.headers).toMatchObject({ id, 'x-lovage-reason': 'rejected' });
    expect(runs).toBe(3);
    const [meta] = await (await bench.app.requireBackend('test')).load([id]);
    expect(meta).toBeUndefined();
  });

  test('acksLate false: the message is settled before the function runs', async () => {
    const bench = openBench();
    const { opened, open } = gate();
    const begun = gate();
    const early = bench.app.task('early', { acksLate: false }, async () => {
      begun.open();
      await opened;
      return 1;
    });
    const worker = await bench.worker();
    const result = await early.delay();
    await within(begun.opened, 'the start');
    await until(async () => (await bench.size()) === 0, 'an empty queue');
    await worker.stop('cold');
    expect(await bench.size()).toBe(0);
    expect((await bench.meta(result.id)).result).toEqual(exception('WorkerLostError'));
    open();
  });

  test('acksOnFailureOrTimeout false: a failed message goes to the dead letter place', async () => {
    const bench = openBench();
    const failing = bench.app.task('failing', { acksOnFailureOrTimeout: false }, () => {
      throw new Error('no');
    });
    await bench.worker();
    const { id } = await failing.delay();
    expect((await bench.meta(id)).status).toBe('FAILURE');
    expect((await bench.take('celery.dead')).headers['id']).toBe(id);
  });

  test('ignoreResult stores nothing, errors only where asked', async () => {
    const bench = openBench();
    const ran: string[] = [];
    const fine = bench.app.task('fine', { ignoreResult: true }, () => void ran.push('fine'));
    const bad = bench.app.task('bad', { ignoreResult: true }, () => {
      ran.push('bad');
      throw new Error('bad');
    });
    const kept = bench.app.task('kept', { ignoreResult: true, storeErrorsEvenIfIgnored: true }, () => {
      throw new Error('kept');
    });
    await bench.worker();
    const [a, b] = [await fine.delay(), await bad.delay()];
    const c = await kept.delay();
    expect((await bench.meta(c.id)).status).toBe('FAILURE');
    await until(async () => ran.length === 2 && (await bench.size()) === 0, 'the end');
    expect(await (await bench.app.requireBackend('test')).load([a.id, b.id])).toEqual([undefined, undefined]);
  });

  test('handlers are called in order with what Celery gives them, and their errors change nothing', async () => {
    const bench = openBench();
    const calls: unknown[][] = [];
    const note =
      (name: string) =>
      (...args: unknown[]) => {
        calls.push([name, ...args]);
        throw new Error('from a handler');
      };
    const ok = bench.app.task(
      'ok',
      { onSuccess: note('onSuccess'), afterReturn: note('afterReturn') },
      (n: number) => n + 1,
    );
    const error = new Error('no');
    const no = bench.app.task('no', { onFailure: note('onFailure'), afterReturn: note('afterReturn') }, () => {
      throw error;
    });
    await bench.worker();
    const a = await ok.delay(1);
    await until(() => calls.length === 2, 'two calls');
    expect(calls).toEqual([
      ['onSuccess', 2, a.id, [1], {}],
      ['afterReturn', 'SUCCESS', 2, a.id, [1], {}, undefined],
    ]);
    calls.length = 0;
    const b = await no.delay();
    await until(() => calls.length === 2, 'two calls');
    const info = { exception: exception('Error', ['no']), traceback: expect.stringContaining('no') };
    expect(calls).toEqual([
      ['onFailure', error, b.id, [], {}, info],
      ['afterReturn', 'FAILURE', error, b.id, [], {}, info],
    ]);
    await until(async () => (await bench.size()) === 0, 'an empty queue');
  });

  test('extended results say who, what and where', async () => {
    const bench = openBench({ resultExtended: true });
    const add = bench.app.task('add', { params: ['x', 'y'] }, (x: number, y: number) => x + y);
    await bench.worker({ nodeName: 'celery@here' });
    const { id } = await bench.app.sendTask('add', { args: [1], kwargs: { y: 2 } });
    expect(await bench.meta(id)).toMatchObject({
      result: 3,
      name: 'add',
      args: [1],
      kwargs: { y: 2 },
      worker: 'celery@here',
      retries: 0,
      queue: 'celery',
    });
    expect(add.name).toBe('add');
  });
});

describe('the context', () => {
  test('knows the request, stores states, and gives children', async () => {
    const bench = openBench();
    const leaf = bench.app.task('leaf', () => 1);
    let seen: TaskContext['request'] | undefined;
    const states: unknown[] = [];
    const parent = bench.app.task('parent', { bind: true }, async (task, n: number) => {
      seen = task.request;
      expect(currentTask.getStore()).toBe(task);
      await task.progress(0.5, 'half');
      states.push(await bench.app.asyncResult(task.request.id).state());
      await leaf.delay();
      return n;
    });
    await bench.worker();
    const result = await parent.applyAsync([7], { headers: { trace: 'abc' }, priority: 3 });
    expect(await result.get({ timeout: 25 })).toBe(7);
    expect(states).toEqual(['PROGRESS']);
    expect(seen).toMatchObject({
      id: result.id,
      task: 'parent',
      args: [7],
      kwargs: {},
      retries: 0,
      rootId: result.id,
      parentId: undefined,
      isEager: false,
      deliveryInfo: { exchange: '', routingKey: 'celery', priority: 3, redelivered: false },
    });
    expect(seen?.headers['trace']).toBe('abc');
    const { children } = await bench.meta(result.id);
    expect(children).toEqual([[[expect.any(String), null], null]]);
    const [[[childId]]] = children as [[[string]]];
    expect(await bench.meta(childId)).toMatchObject({ parent_id: result.id });
  });

  test('a task that tells of its progress for days keeps nothing of it', async () => {
    const bench = openBench();
    const kept: unknown[] = [];
    const task = bench.app.task('task', { bind: true }, async (context) => {
      for (let n = 0; n < 3; n++) await context.progress(n / 3);
      kept.push(await (context as RunContext).writes);
    });
    await bench.worker();
    await (await task.delay()).get({ timeout: 25 });
    expect(kept).toEqual([undefined]);
  });

  test('a task is replaced under its own id', async () => {
    const bench = openBench();
    const after = bench.app.task('after', (n: number) => n * 10);
    const other = bench.app.task('other', (n: number) => n + 1);
    const host = bench.app.task('host', { bind: true }, (task, n: number): number => task.replace(other.s(n)));
    await bench.worker();
    let linked: string | undefined;
    const watch = bench.app.task('watch', (n: number) => {
      linked = `watch ${n}`;
    });
    const result = await host.applyAsync([1], { link: watch.s() });
    expect(await result.get({ timeout: 25 })).toBe(2);
    expect(await bench.meta(result.id)).toMatchObject({ parent_id: result.id });
    await until(() => linked === 'watch 2', 'the callback');
    expect(after.name).toBe('after');
  });
});
