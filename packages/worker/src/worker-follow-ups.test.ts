import { describe, expect, test } from 'vitest';
import { Retry } from '@lovage/core/protocol';
import { exception, openBench, until } from '../test/support/bench.ts';

describe('retry', () => {
  test('the same id runs again after the countdown, with what it had', async () => {
    const bench = openBench();
    const seen: unknown[] = [];
    const flaky = bench.app.task('flaky', { bind: true, maxRetries: 2 }, (task, n: number) => {
      seen.push([task.request.id, task.request.retries, task.request.parentId, task.request.headers['own']]);
      if (task.request.retries < 2) task.retry({ countdown: 0, cause: new Error('not yet') });
      return n;
    });
    await bench.worker();
    const result = await flaky.applyAsync([4], { headers: { own: 'kept' } });
    expect(await result.get({ timeout: 25 })).toBe(4);
    expect(seen).toEqual([
      [result.id, 0, undefined, 'kept'],
      [result.id, 1, result.id, 'kept'],
      [result.id, 2, result.id, 'kept'],
    ]);
  });

  test('RETRY is stored with its cause, and the new message carries the ETA', async () => {
    const bench = openBench();
    const flaky = bench.app.task('flaky', { bind: true }, (task) =>
      task.retry({ countdown: 200, cause: new RangeError('why') }),
    );
    const worker = await bench.worker();
    const { id } = await flaky.delay();
    const meta = await bench.meta(id, ({ status }) => status === 'RETRY');
    expect(meta.result).toEqual(exception('RangeError', ['why']));
    expect(meta.date_done).toBeNull();
    const [scheduled] = await until(() => worker.scheduled.length === 1 && worker.scheduled, 'the next attempt');
    expect(scheduled).toMatchObject({ id, task: 'flaky' });
    expect(Math.abs((scheduled?.eta ?? 0) - Date.now() - 200_000)).toBeLessThan(5000);
  });

  test('no retry left: the cause, or MaxRetriesExceededError', async () => {
    const bench = openBench();
    const withCause = bench.app.task('with', { bind: true, maxRetries: 0 }, (task) =>
      task.retry({ cause: new RangeError('why') }),
    );
    const without = bench.app.task('without', { bind: true, maxRetries: 0 }, (task) => task.retry());
    await bench.worker();
    expect((await bench.meta((await withCause.delay()).id)).result).toEqual(exception('RangeError', ['why']));
    expect((await bench.meta((await without.delay()).id)).result).toMatchObject({
      exc_type: 'MaxRetriesExceededError',
    });
  });

  test('errors of the given classes are tried again by themselves, others are not', async () => {
    const bench = openBench();
    class Busy extends Error {}
    let runs = 0;
    const auto = bench.app.task('auto', { retry: { for: [Busy], maxRetries: 3, countdown: 0 } }, () => {
      if (++runs < 3) throw new Busy('busy');
      return runs;
    });
    let others = 0;
    const other = bench.app.task('other', { retry: { for: [Busy] } }, () => {
      others++;
      throw new TypeError('no');
    });
    await bench.worker();
    expect(await (await auto.delay()).get({ timeout: 25 })).toBe(3);
    expect((await bench.meta((await other.delay()).id)).status).toBe('FAILURE');
    expect(others).toBe(1);
  });

  test('a thrown Retry is one', async () => {
    const bench = openBench();
    let runs = 0;
    const again = bench.app.task('again', () => {
      if (++runs < 2) throw new Retry({ when: 0 });
      return 'ok';
    });
    await bench.worker();
    expect(await (await again.delay()).get({ timeout: 25 })).toBe('ok');
  });
});

describe('callbacks', () => {
  test('a callback gets the result, and is the child of the task', async () => {
    const bench = openBench();
    const add = bench.app.task('add', (x: number, y: number) => x + y);
    await bench.worker();
    const link = add.s(10).freeze();
    const result = await add.applyAsync([1, 2], { link });
    const meta = await bench.meta(link.options.taskId as string);
    expect(meta).toMatchObject({ status: 'SUCCESS', result: 13, parent_id: result.id });
    expect((await bench.meta(result.id)).children).toEqual([[[link.options.taskId, null], null]]);
  });

  test('several callbacks go out as a group', async () => {
    const bench = openBench();
    const add = bench.app.task('add', (x: number, y: number) => x + y);
    await bench.worker();
    const links = [add.s(10).freeze(), add.s(20).freeze()];
    const result = await add.applyAsync([1, 2], { link: links });
    const metas = await Promise.all(links.map(({ options }) => bench.meta(options.taskId as string)));
    expect(metas.map((meta) => meta.result)).toEqual([13, 23]);
    expect(new Set(metas.map((meta) => meta.group_id)).size).toBe(1);
    expect(metas[0]?.group_id).toBeTypeOf('string');
    expect((await bench.meta(result.id)).children).toEqual([
      [[metas[0]?.group_id, null], links.map(({ options }) => [[options.taskId, null], null])],
    ]);
  });

  test('a chain goes on to its end', async () => {
    const bench = openBench();
    const add = bench.app.task('add', (x: number, y: number) => x + y);
    await bench.worker();
    const rest = [add.s(10).freeze(), add.s(100).freeze()];
    const first = await add.applyAsync([1, 2], { chain: rest.toReversed() });
    const last = await bench.meta(rest[1]?.options.taskId as string);
    expect(last).toMatchObject({ result: 113, parent_id: rest[0]?.options.taskId });
    expect(await first.get({ timeout: 25 })).toBe(3);
  });

  test('a failure is written for the rest of the chain', async () => {
    const bench = openBench();
    const bad = bench.app.task('bad', () => {
      throw new RangeError('no');
    });
    const add = bench.app.task('add', (x: number, y: number) => x + y);
    await bench.worker();
    const rest = [add.s(1).freeze(), add.s(2).freeze()];
    await bad.applyAsync([], { chain: rest.toReversed() });
    for (const { options } of rest) {
      expect(await bench.meta(options.taskId as string)).toMatchObject({
        status: 'FAILURE',
        result: exception('RangeError', ['no']),
      });
    }
  });

  test('errbacks: one argument is sent the id, more than one is called in place', async () => {
    const bench = openBench();
    const calls: unknown[][] = [];
    const sent = bench.app.task('sent', (...args: [id: string]) => void calls.push(['sent', ...args]));
    const oldStyle = bench.app.task('old', (id: string) => void calls.push(['old', id]));
    const newStyle = bench.app.task('new', (request: { id: string }, error: Error, traceback: string) => {
      calls.push(['new', request.id, error.message, traceback.includes('no')]);
    });
    const bound = bench.app.task(
      'bound',
      { bind: true },
      (_, ...given: unknown[]) => void calls.push(['bound', ...given]),
    );
    const bad = bench.app.task('bad', () => {
      throw new RangeError('no');
    });
    await bench.worker();
    const { id } = await bad.applyAsync([], { linkError: [oldStyle.s(), newStyle.s() as never, bound.s()] });
    await until(() => calls.length === 3, 'three errbacks');
    expect(calls.toSorted((a, b) => String(a[0]).localeCompare(String(b[0])))).toEqual([
      ['bound', id],
      ['new', id, 'no', true],
      ['old', id],
    ]);
    expect(sent.name).toBe('sent');
  });

  test('an errback does not run on a retry', async () => {
    const bench = openBench();
    let called = 0;
    const errback = bench.app.task('errback', (_id: string) => void called++);
    const flaky = bench.app.task('flaky', { bind: true }, (task) => {
      if (task.request.retries === 0) task.retry({ countdown: 0 });
      return 1;
    });
    await bench.worker();
    await (await flaky.applyAsync([], { linkError: errback.s() })).get({ timeout: 25 });
    expect(called).toBe(0);
  });
});
