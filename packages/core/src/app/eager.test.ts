import { describe, expect, test } from 'vitest';
import { openApp } from '../../test/support/app-bench.ts';
import { chain, chord, EagerResult, group, type Lovage, type LovageOptions } from '../index.ts';

function setUp(options: LovageOptions = {}) {
  const app = openApp(options);
  const seen: string[] = [];
  return {
    app,
    seen,
    add: app.task('add', (x: number, y: number) => x + y),
    sum: app.task('sum', (numbers: number[]) => numbers.reduce((a, b) => a + b, 0)),
    fail: app.task('fail', (..._values: unknown[]): number => {
      throw new RangeError('no');
    }),
    note: app.task('note', (value: unknown) => void seen.push(`note ${String(value)}`)),
    flaky: app.task('flaky', { bind: true, maxRetries: 3 }, (task, n: number) => {
      seen.push(`try ${task.request.retries}`);
      return task.request.retries < 2 ? task.retry({ countdown: 600 }) : n;
    }),
    request: app.task('request', { bind: true }, ({ request }, value: unknown) => [request.isEager, value]),
  };
}

describe('apply', () => {
  test('runs here and gives the end', async () => {
    const { add } = setUp();
    const result = await add.apply([1, 2], { taskId: 'mine' });
    expect(result).toBeInstanceOf(EagerResult);
    expect([result.id, await result.state(), await result.get()]).toEqual(['mine', 'SUCCESS', 3]);
  });

  test('keeps the error in the result, or throws it with taskEagerPropagates', async () => {
    const result = await setUp().fail.apply([]);
    expect(await result.state()).toBe('FAILURE');
    await expect(result.get()).rejects.toThrow('no');
    await expect(setUp({ taskEagerPropagates: true }).fail.apply([])).rejects.toThrow(RangeError);
  });

  test('retries at once, calls callbacks and errbacks', async () => {
    const { flaky, note, fail, seen } = setUp();
    expect(await (await flaky.apply([7], { link: note.s() })).get()).toBe(7);
    const failed = await fail.apply([], { linkError: note.s() });
    expect(seen).toEqual(['try 0', 'try 1', 'try 2', 'note 7', `note ${failed.id}`]);
  });

  test('a callback that fails is no failure of its task', async () => {
    const { app, fail, note, seen } = setUp({ taskEagerPropagates: true });
    const fine = app.task('fine', { onFailure: () => void seen.push('failed') }, () => 1);
    await expect(fine.apply([], { link: fail.s(), linkError: note.s() })).rejects.toThrow('no');
    expect(seen).toEqual([]);
  });

  test('chains, groups and chords', async () => {
    const { add, sum, fail } = setUp();
    const total = await chain(add.s(1, 1), group(add.s(1), add.s(2)), sum.s(), add.s(1)).apply();
    expect(await total.get()).toBe(8);
    expect(await (await group(add.s(1, 1), add.s(2, 2)).apply()).get()).toEqual([2, 4]);
    const failed = await chord([add.s(1, 1), fail.s()], sum.s()).apply();
    await expect(failed.get()).rejects.toMatchObject({ code: 'ERR_CHORD' });
    expect(await (await chain(add.s(1, 1), fail.s(), add.s(1)).apply()).state()).toBe('FAILURE');
  });

  test('a task is replaced where it runs', async () => {
    const { app, add, sum } = setUp();
    const replace = app.task('replace', { bind: true }, (task, kind: string): number =>
      task.replace(kind === 'group' ? group(add.s(1, 1), add.s(2, 2)) : chord([add.s(1, 1), add.s(2, 2)], sum.s())),
    );
    expect(await (await replace.apply(['group'])).get()).toEqual([2, 4]);
    expect(await (await chain(replace.s('chord'), add.s(1)).apply()).get()).toBe(7);
  });
});

describe('taskAlwaysEager', () => {
  const connects = (app: Lovage): boolean => app.openedBackend() !== undefined;

  test('every call runs here, and its arguments go through the serializer', async () => {
    const { app, add, request } = setUp({ taskAlwaysEager: true });
    expect(await (await add.delay(1, 2)).get()).toBe(3);
    expect(await (await add.s(1).delay(2)).get()).toBe(3);
    expect(await (await chain(add.s(1, 1), add.s(1)).delay()).get()).toBe(3);
    expect(await (await request.delay({ at: undefined })).get()).toEqual([true, {}]);
    expect(connects(app)).toBe(false);
  });

  test('results are stored with taskStoreEagerResult', async () => {
    const { app, add } = setUp({ taskAlwaysEager: true, taskStoreEagerResult: true });
    const { id } = await add.delay(1, 2);
    expect(await app.asyncResult(id).get({ timeout: 2 })).toBe(3);
  });
});
