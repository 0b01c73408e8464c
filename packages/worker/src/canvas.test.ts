import { describe, expect, test } from 'vitest';
import { chain, chord, DecodeError, EncodeError, group, type GroupResult, type LovageOptions } from '@lovage/core';
import type { Backend } from '@lovage/core/backend';
import { cutMemoryLinks, memoryBackend } from '@lovage/core/memory';
import type { TaskMeta } from '@lovage/core/protocol';
import { gate, openBench, until, type Bench } from '../test/support/bench.ts';
import { faultyTransport } from '../test/support/faults.ts';

interface Stage {
  readonly bench: Bench;
  readonly runs: Map<string, number>;
  readonly errbacks: string[];
}

function tasksOf({ app }: Bench, { runs, errbacks }: Pick<Stage, 'runs' | 'errbacks'>) {
  const count = (name: string): number => {
    const number = (runs.get(name) ?? 0) + 1;
    runs.set(name, number);
    return number;
  };
  return {
    add: app.task('add', (x: number, y: number) => x + y),
    sum: app.task('sum', (numbers: number[]) => {
      count('sum');
      return numbers.reduce((a, b) => a + b, 0);
    }),
    list: app.task('list', (value: unknown) => value),
    fail: app.task('fail', (..._values: unknown[]): number => {
      throw new RangeError('no');
    }),
    flaky: app.task('flaky', { bind: true, maxRetries: 3 }, (task, n: number) => {
      if (task.request.retries < 2) task.retry({ countdown: 0 });
      return n;
    }),
    errback: app.task('errback', (id: string) => {
      errbacks.push(id);
    }),
    range: app.task('range', (n: number) => Array.from({ length: n }, (_, index) => index)),
  };
}

/** The memory store; `refuse` answers with the error of a write that it does not take. */
function refusingBackend(refuse: (meta: TaskMeta) => Error | undefined): Backend {
  return {
    schemes: memoryBackend.schemes,
    open: async (url, options) => {
      const backend = await memoryBackend.open(url, options);
      const store = backend.store.bind(backend);
      backend.store = async (writes) => {
        const errors = writes.map(({ meta }) => refuse(meta));
        await store(writes.filter((_, index) => errors[index] === undefined));
        const error = errors.find((each) => each !== undefined);
        if (error !== undefined) throw error;
      };
      return backend;
    },
  };
}

/** On a store that counts the parts of chords, and on one where `celery.chord_unlock` looks after them. */
const withoutChords: Backend = {
  schemes: memoryBackend.schemes,
  open: async (url, options) => {
    const backend = await memoryBackend.open(url, options);
    return new Proxy(backend, {
      get: (target, name) => {
        if (name === 'chords') return undefined;
        const value = Reflect.get(target, name) as unknown;
        return typeof value === 'function' ? (value.bind(target) as unknown) : value;
      },
    });
  },
};

const STORES: readonly [string, LovageOptions][] = [
  ['a store that counts', {}],
  ['a store that does not count', { backends: [withoutChords], resultChordRetryInterval: 0.01 }],
];

describe.each(STORES)('on %s', (_, options) => {
  async function stage() {
    const bench = openBench(options);
    const runs = new Map<string, number>();
    const errbacks: string[] = [];
    const tasks = tasksOf(bench, { runs, errbacks });
    await bench.worker();
    return { bench, runs, errbacks, ...tasks };
  }
  const get = { timeout: 25 };

  test('a chain hands on', async () => {
    const { add } = await stage();
    const result = await chain(add.s(1, 2), add.s(3), add.s(4)).delay();
    expect(await result.get(get)).toBe(10);
    expect(await result.parent?.get(get)).toBe(6);
    expect(await result.parent?.parent?.get(get)).toBe(3);
  });

  test('a group gives its results in order, and as they come', async () => {
    const { add } = await stage();
    const result = await group([1, 2, 3].map((n) => add.s(n, n))).delay();
    expect(await result.get(get)).toEqual([2, 4, 6]);
    const seen: number[] = [];
    for await (const { index, value } of result.iterate(get)) seen[index] = value;
    expect(seen).toEqual([2, 4, 6]);
    expect([await result.completedCount(), await result.ready(), await result.successful()]).toEqual([3, true, true]);
  });

  test('a chord’s body is given the list', async () => {
    const { add, sum, runs } = await stage();
    const result = await chord([add.s(1, 1), add.s(2, 2)], sum.s()).delay();
    expect(await result.get(get)).toBe(6);
    expect(runs.get('sum')).toBe(1);
  });

  test('a group in a chain becomes a chord', async () => {
    const { add, sum, list } = await stage();
    const result = await chain(add.s(1, 1), group(add.s(1), add.s(2)), sum.s(), list.s()).delay();
    expect(await result.get(get)).toBe(7);
  });

  test('chords in chords, chains in headers, retries in headers', async () => {
    const { add, sum, flaky } = await stage();
    const inner = chord([add.s(1, 1), flaky.s(5)], sum.s());
    const result = await chord([inner, chain(add.s(1, 1), add.s(1)), flaky.s(2)], sum.s()).delay();
    expect(await result.get(get)).toBe(12);
  });

  test('a chain in a header that ends in a group gives a list', async () => {
    const { add, list } = await stage();
    const result = await chord([chain(add.s(1, 1), group(add.s(1), add.s(2))), add.s(5, 5)], list.s()).delay();
    expect(await result.get(get)).toEqual([[3, 4], 10]);
  });

  test('an empty header runs the body at once', async () => {
    const { sum } = await stage();
    expect(await (await chord([], sum.s()).delay()).get(get)).toBe(0);
  });

  test('a part that fails ends the body with ChordError, and calls its errback', async () => {
    const { add, sum, fail, errback, errbacks, runs } = await stage();
    const result = await chord([add.s(1, 1), fail.s()], sum.s())
      .linkError(errback.s())
      .delay();
    await expect(result.get(get)).rejects.toMatchObject({ state: 'FAILURE' });
    expect((await result.join({ ...get, propagate: false })) as unknown).toMatchObject({
      excType: 'ChordError',
      excMessage: [expect.stringMatching(/^Dependency [\da-f-]{36} raised .*no/)],
    });
    await until(() => errbacks.includes(result.id), 'the errback');
    expect(runs.get('sum')).toBeUndefined();
  });

  test('a failure within ends all that waits for it', async () => {
    const { add, sum, fail, list } = await stage();
    const inner = chord([add.s(1, 1), fail.s()], sum.s());
    const result = await chain(chord([inner, add.s(1, 1)], sum.s()), list.s()).delay();
    await expect(result.join(get)).rejects.toMatchObject({ excType: 'ChordError' });
  });

  test('a chain whose step fails ends the rest of it, a chord in it too', async () => {
    const { add, sum, fail } = await stage();
    const result = await chain(fail.s(), group(add.s(1), add.s(2)), sum.s()).delay();
    await expect(result.join(get)).rejects.toMatchObject({ excType: 'RangeError' });
  });

  test('map, starmap and chunks', async () => {
    const { add, range } = await stage();
    expect(await (await range.map([1, 2]).delay()).get(get)).toEqual([[0], [0, 1]]);
    expect(
      await (
        await add
          .starmap([
            [1, 2],
            [3, 4],
          ])
          .delay()
      ).get(get),
    ).toEqual([3, 7]);
    expect(
      await (
        await add
          .chunks(
            [
              [1, 2],
              [3, 4],
              [5, 6],
            ],
            2,
          )
          .delay()
      ).get(get),
    ).toEqual([[3, 7], [11]]);
  });

  test('several callbacks, composed ones too', async () => {
    const { add, list, bench } = await stage();
    const callback = chain(add.s(1), list.s()).freeze();
    const other = list.s().freeze();
    await add.s(1, 1).link(callback).link(other).delay();
    expect(await callback.asyncResult().get(get)).toBe(3);
    expect(await bench.app.asyncResult(other.options.taskId as string).get(get)).toBe(2);
  });

  test('a task is replaced by a group, a chain or a chord, in the middle of a chain', async () => {
    const { bench, add, list, sum } = await stage();
    const replace = bench.app.task('replace', { bind: true }, (task, n: number, kind: string): number => {
      if (kind === 'group') return task.replace(group(add.s(n, 1), add.s(n, 2)));
      if (kind === 'chain') return task.replace(chain(add.s(n, 1), add.s(10)));
      return task.replace(chord([add.s(n, 1), add.s(n, 2)], sum.s()));
    });
    const outcome = async (kind: string): Promise<unknown> => {
      const result = await chain(add.s(1, 1), replace.s(kind), list.s()).delay();
      return result.get(get);
    };
    expect(await Promise.all(['group', 'chain', 'chord'].map(outcome))).toEqual([[3, 4], 13, 7]);
    expect(await (await chord([replace.s(1, 'group'), add.s(5, 5)], list.s()).delay()).get(get)).toEqual([[2, 3], 10]);
  });

  test('parts whose results are ignored count', async () => {
    const { bench, add, list, fail } = await stage();
    const quiet = bench.app.task('quiet', { ignoreResult: true }, (n: number) => n);
    expect(await (await chord([quiet.s(1), add.s(1, 1)], list.s()).delay()).get(get)).toEqual([1, 2]);
    const failing = fail.s().set({ ignoreResult: true });
    const late = quiet.s(1).set({ expires: new Date(1) });
    for (const part of [failing, late, chain(failing, quiet.s())]) {
      const result = await chord([part, add.s(1, 1)], list.s()).delay();
      await expect(result.join(get)).rejects.toMatchObject({ excType: 'ChordError' });
    }
  });

  test('a part whose value cannot be kept fails its chord', async () => {
    const { bench, add, list } = await stage();
    const odd = bench.app.task('odd', { ignoreResult: true }, (): unknown => () => 1);
    const result = await chord([odd.s(), add.s(1, 1)], list.s()).delay();
    await expect(result.join(get)).rejects.toMatchObject({ excType: 'ChordError' });
  });

  test('cancel revokes what has not run', async () => {
    const { bench, add, sum } = await stage();
    const never = add.s(1, 1).set({ countdown: 600 });
    const result = await chain(chord([never, add.s(1, 1)], sum.s()), add.s(1)).delay();
    await result.cancel();
    await expect(result.get(get)).rejects.toMatchObject({ state: 'REVOKED' });
    const header = result.parent?.parent as GroupResult;
    expect(await bench.app.asyncResult(header.results[0]?.id as string).state()).toBe('REVOKED');
  });
});

test('on a store that joins results the header is a saved group, and ignored parts are kept', async () => {
  const joining: Backend = {
    schemes: memoryBackend.schemes,
    open: async (url, options) => {
      const backend = await memoryBackend.open(url, options);
      return Object.assign(backend, { chords: { ...backend.chords, joinsResults: true } });
    },
  };
  const bench = openBench({ backends: [joining] });
  const { add, list } = tasksOf(bench, { runs: new Map(), errbacks: [] });
  const quiet = bench.app.task('quiet', { ignoreResult: true }, (n: number) => n);
  await bench.worker();
  const result = await chord([quiet.s(1), add.s(1, 1)], list.s()).delay();
  expect(await result.get({ timeout: 25 })).toEqual([1, 2]);
  const header = await bench.app.restoreGroup((result.parent as GroupResult).id);
  expect(await header?.get({ timeout: 25 })).toEqual([1, 2]);
});

test('a result that cannot be kept fails its task and not what runs after it', async () => {
  const states = new Map<string, string[]>();
  const backend = refusingBackend(({ task_id, status, result }) => {
    states.set(task_id, [...(states.get(task_id) ?? []), status]);
    return status === 'SUCCESS' && result === 3 ? new EncodeError('no') : undefined;
  });
  const bench = openBench({ backends: [backend] });
  const { add } = tasksOf(bench, { runs: new Map(), errbacks: [] });
  await bench.worker();
  const result = await chain(add.s(1, 2), add.s(3)).delay();
  expect(await bench.meta(result.parent?.id as string)).toMatchObject({ status: 'FAILURE' });
  await until(async () => (await bench.size()) === 0 && bench.workers[0]?.active.length === 0, 'the end');
  expect(states.get(result.id)).not.toContain('FAILURE');
});

describe('a chord counts by task id', () => {
  test('a part that is delivered twice counts once, and the body runs once', async () => {
    const bench = openBench();
    const seen = { runs: new Map<string, number>(), errbacks: [] };
    const { add, sum } = tasksOf(bench, seen);
    const first = add.s(1, 1).freeze();
    const second = add.s(2, 2).freeze();
    const result = await chord([first, second], sum.s()).delay();
    // Again, as a broker would deliver them that was not told of their end.
    for (const [index, part] of [first, second].entries()) {
      const body = sum.s().set({ taskId: result.id }).toJSON();
      await part.applyAsync([], { groupId: result.parent?.id as string, groupIndex: index, chord: body });
    }
    await bench.worker({ concurrency: 1 });
    expect(await result.get({ timeout: 25 })).toBe(6);
    await until(async () => (await bench.size()) === 0, 'the queue to be empty');
    expect(seen.runs.get('sum')).toBe(1);
  });

  test.each([
    ['that counts', memoryBackend],
    ['that does not count', withoutChords],
  ])('a body that was sent twice runs once, on a store %s', async (_, backend) => {
    const { transport, faults } = faultyTransport();
    const bench = openBench({ transports: [transport], backends: [backend] });
    const seen = { runs: new Map<string, number>(), errbacks: [] };
    const { add, sum } = tasksOf(bench, seen);
    let copies = 0;
    faults.forget = (batch) => batch.some(({ message }) => message.headers['task'] === 'sum') && ++copies === 1;
    await bench.worker();
    const result = await chord([add.s(1, 1), add.s(2, 2)], sum.s()).delay();
    expect(await result.get({ timeout: 25 })).toBe(6);
    await until(async () => (await bench.size()) === 0 && bench.workers[0]?.active.length === 0, 'the end');
    expect({ copies, runs: seen.runs.get('sum') }).toEqual({ copies: 2, runs: 1 });
  });

  test('addToChord adds a part', async () => {
    const bench = openBench();
    const { add, list } = tasksOf(bench, { runs: new Map(), errbacks: [] });
    const more = bench.app.task('more', { bind: true }, async (task) => {
      await task.addToChord(add.s(10, 10));
      return 1;
    });
    await bench.worker();
    const result = await chord([more.s(), add.s(1, 1)], list.s()).delay();
    expect(((await result.get({ timeout: 25 })) as number[]).toSorted((a, b) => a - b)).toEqual([1, 2, 20]);
  });

  test('a chord whose parts cannot be read ends its body', async () => {
    const bench = openBench();
    const { add, list } = tasksOf(bench, { runs: new Map(), errbacks: [] });
    const result = await chord([add.s(1, 1), add.s(2, 2)], list.s()).delay();
    const { chords } = await bench.app.requireBackend('test');
    if (chords !== undefined) chords.part = () => Promise.reject(new DecodeError('no'));
    await bench.worker();
    await expect(result.join({ timeout: 25 })).rejects.toMatchObject({ excType: 'ChordError' });
  });

  test('a part that expires ends the body', async () => {
    const bench = openBench();
    const { add, sum } = tasksOf(bench, { runs: new Map(), errbacks: [] });
    const result = await chord([add.s(1, 1).set({ expires: new Date(1) }), add.s(2, 2)], sum.s()).delay();
    await bench.worker();
    await expect(result.join({ timeout: 25 })).rejects.toMatchObject({ excType: 'ChordError' });
  });
});

test('a chord needs a store that every worker reads', async () => {
  const bench = openBench({ backend: 'disabled' });
  const { add, sum } = tasksOf(bench, { runs: new Map(), errbacks: [] });
  await expect(chord([add.s(1, 1)], sum.s()).delay()).rejects.toMatchObject({ code: 'ERR_BACKEND_DISABLED' });
});

test('a mistake in one part sends none', async () => {
  const bench = openBench();
  const { add, sum } = tasksOf(bench, { runs: new Map(), errbacks: [] });
  const wrong = add.s(1, 1).set({ priority: 99 } as never);
  await expect(chord([add.s(1, 1), wrong], sum.s()).delay()).rejects.toMatchObject({ code: 'ERR_CONFIG' });
  await bench.worker();
  expect(await bench.size()).toBe(0);
});

test.each([
  ['that counts', memoryBackend],
  ['that does not count', withoutChords],
])('a workflow that is cancelled runs nothing that it has not run, on a store %s', async (_, backend) => {
  const bench = openBench({ backends: [backend] });
  const seen = { runs: new Map<string, number>(), errbacks: [] };
  const { add, sum } = tasksOf(bench, seen);
  const { opened, open } = gate();
  let isRunning = false;
  const slow = bench.app.task('slow', async (n: number) => {
    isRunning = true;
    await opened;
    return n;
  });
  const late = bench.app.task('late', (n: number) => {
    seen.runs.set('late', (seen.runs.get('late') ?? 0) + 1);
    return n;
  });
  await bench.worker();
  const result = await chain(slow.s(1), group(add.s(1), late.s()), sum.s(), late.s()).delay();
  await until(() => isRunning, 'the first task to run');
  await result.cancel();
  open();
  await expect(result.get({ timeout: 25 })).rejects.toMatchObject({ code: 'ERR_TASK_FAILED' });
  await until(async () => (await bench.size()) === 0 && bench.workers[0]?.active.length === 0, 'the end');
  expect([...seen.runs]).toEqual([]);
});

test('all of a nested workflow is revoked that has not run: chains, groups and chords in each other', async () => {
  const bench = openBench();
  const runs = new Map<string, number>();
  const { add } = tasksOf(bench, { runs, errbacks: [] });
  const count = bench.app.task('count', (...given: unknown[]) => runs.set('count', given.length));
  const body = count.s();
  const later = () => count.s().set({ countdown: 200 });
  const results = [
    await group([chain(later(), body), group([chain(later(), body), later()])]).delay(),
    await chord([chain(later(), group([later(), body])), chord([later()], body)], body).delay(),
    await chain(add.s(1, 1), chord([later(), chain(later(), body)], body), body).delay(),
    await chain(group([later(), chord([later()], body)]), group([body, body]), body).delay(),
  ];
  const worker = await bench.worker();
  // Two of them go on by themselves until something waits.
  await until(() => worker.scheduled.length >= 9, 'what waits for its time');
  for (const result of results) await result.cancel();
  await until(() => worker.scheduled.length === 0 && worker.reserved.length === 0, 'nothing that waits');
  await until(async () => (await bench.size()) === 0 && worker.active.length === 0, 'the end');
  for (const result of results) await expect(result.get({ timeout: 25 })).rejects.toMatchObject({ state: 'REVOKED' });
  expect([...runs]).toEqual([]);
});

test('what follows a task is published over the connection that the worker consumes from', async () => {
  const bench = openBench();
  const { add } = tasksOf(bench, { runs: new Map(), errbacks: [] });
  await bench.worker({ gossip: false, mingle: false, heartbeatInterval: 0, remoteControl: false });
  const result = await chain(add.s(1, 1), add.s(1)).delay();
  expect(await result.get({ timeout: 25 })).toBe(3);
  expect(cutMemoryLinks(bench.broker, { clientName: 'bench:write' })).toBe(0);
});
