import { afterEach, describe, expect, test, vi } from 'vitest';
import { openApp, runningTask, storeState } from '../../test/support/app-bench.ts';
import type { Backend, ResultBackend } from '../backend/contract.ts';
import { AsyncResult, currentTask, GroupResult, type Lovage } from '../index.ts';
import { memoryBackend } from '../memory/index.ts';

/** The memory store, and what is asked of it. */
function watched(change: (backend: ResultBackend) => void = () => {}): {
  backends: [Backend];
  subscribed: number[];
  unsubscribed: () => number;
  subscribing: Promise<void>;
} {
  const subscribed: number[] = [];
  let unsubscribed = 0;
  let begun!: () => void;
  const subscribing = new Promise<void>((resolve) => {
    begun = resolve;
  });
  const open: Backend['open'] = async (url, options) => {
    const backend = await memoryBackend.open(url, options);
    const subscribe = backend.subscribe.bind(backend);
    backend.subscribe = async (ids, listener) => {
      subscribed.push(ids.length);
      const subscription = await subscribe(ids, listener);
      begun();
      return {
        unsubscribe: () => {
          unsubscribed++;
          subscription.unsubscribe();
        },
      };
    };
    change(backend);
    return backend;
  };
  return { backends: [{ schemes: ['memory'], open }], subscribed, unsubscribed: () => unsubscribed, subscribing };
}

const failure = { exc_type: 'ValueError', exc_message: ['no'], exc_module: 'builtins' };

describe('get', () => {
  test('gives what is stored already, and what is stored later', async () => {
    const { subscribing, backends } = watched();
    const app = openApp({ backends });
    await storeState(app, 'a', 'SUCCESS', { x: 1 });
    expect(await app.asyncResult('a').get()).toEqual({ x: 1 });
    const later = app.asyncResult('b').get({ timeout: 5 });
    await subscribing;
    await storeState(app, 'b', 'STARTED');
    await storeState(app, 'b', 'SUCCESS', 4);
    expect(await later).toBe(4);
  });

  test('rejects with the failure, or gives it with propagate: false', async () => {
    const app = openApp();
    await storeState(app, 'a', 'FAILURE', failure, { traceback: 'Traceback: there\n' });
    const expected = {
      code: 'ERR_TASK_FAILED',
      name: 'TaskFailedError',
      message: 'ValueError: no',
      excType: 'ValueError',
      excMessage: ['no'],
      traceback: 'Traceback: there\n',
      taskId: 'a',
      state: 'FAILURE',
    };
    await expect(app.asyncResult('a').get()).rejects.toMatchObject(expected);
    expect(await app.asyncResult('a').get({ propagate: false })).toMatchObject(expected);
    await storeState(app, 'r', 'REVOKED', {
      exc_type: 'TaskRevokedError',
      exc_message: ['revoked'],
      exc_module: 'celery.exceptions',
    });
    await expect(app.asyncResult('r').get()).rejects.toMatchObject({ excType: 'TaskRevokedError', state: 'REVOKED' });
  });

  test('times out with the id, and lets its subscription go', async () => {
    const { backends, subscribed, unsubscribed } = watched();
    const app = openApp({ backends });
    await expect(app.asyncResult('a').get({ timeout: 0.02 })).rejects.toMatchObject({
      code: 'ERR_TIMEOUT',
      taskId: 'a',
    });
    expect(subscribed).toEqual([1]);
    expect(unsubscribed()).toBe(1);
  });

  test('a group that has failed waits for none of its members any more', async () => {
    const { backends, subscribing, unsubscribed } = watched();
    const app = openApp({ backends });
    const group = new GroupResult(app, 'g', [app.asyncResult('a'), app.asyncResult('b')]);
    const failed = expect(group.get()).rejects.toMatchObject({ taskId: 'b' });
    await subscribing;
    await storeState(app, 'b', 'FAILURE', failure);
    await failed;
    expect(unsubscribed()).toBe(1);
  });

  test('a timeout longer than timers can be is waited for', async () => {
    const { backends, subscribing } = watched();
    const app = openApp({ backends });
    const waits = [Number.POSITIVE_INFINITY, 30 * 86_400].map((timeout) => app.asyncResult('a').get({ timeout }));
    const ended = Promise.allSettled(waits);
    await subscribing;
    await new Promise((resolve) => setTimeout(resolve, 10)); // a timer that overflowed would have fired after 1 ms
    await storeState(app, 'a', 'SUCCESS', 1);
    expect(await ended).toEqual([
      { status: 'fulfilled', value: 1 },
      { status: 'fulfilled', value: 1 },
    ]);
  });

  test.each([-1, Number.NaN, '5'])('timeout %s is refused', async (timeout) => {
    await expect(
      openApp()
        .asyncResult('a')
        .get({ timeout: timeout as number }),
    ).rejects.toMatchObject({ code: 'ERR_CONFIG' });
  });

  test('the timeout counts while the store is being opened', async () => {
    const open = (): Promise<ResultBackend> => new Promise(() => {});
    const app = openApp({ backends: [{ schemes: ['memory'], open }] });
    await expect(app.asyncResult('a').get({ timeout: 0.02 })).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
    await expect(app.asyncResult('a').get({ signal: AbortSignal.timeout(20) })).rejects.toMatchObject({
      name: 'TimeoutError',
    });
    // The store of this app never opens, so neither does closing it end.
    Object.assign(app, { close: () => Promise.resolve() });
  }, 2000);

  test('ends with the signal’s reason, before and while waiting', async () => {
    const { backends, subscribing, unsubscribed } = watched();
    const app = openApp({ backends });
    const reason = new Error('enough');
    await expect(app.asyncResult('a').get({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const wait = app.asyncResult('a').get({ signal: controller.signal, timeout: 5 });
    await subscribing;
    controller.abort(reason);
    await expect(wait).rejects.toBe(reason);
    expect(unsubscribed()).toBe(1);
  });

  test('inside a task is refused, unless it is asked for', async () => {
    const app = openApp();
    await storeState(app, 'a', 'SUCCESS', 1);
    const { context } = runningTask({ id: 'p' });
    await currentTask.run(context, async () => {
      await expect(app.asyncResult('a').get()).rejects.toMatchObject({ code: 'ERR_CONFIG' });
      expect(await app.asyncResult('a').get({ allowInsideTask: true })).toBe(1);
    });
  });

  test('without a store says what is missing', async () => {
    const app = openApp({ backend: undefined } as never);
    await expect(app.asyncResult('a').get()).rejects.toMatchObject({ code: 'ERR_BACKEND_DISABLED' });
    await expect(app.sendTask('t')).resolves.toBeInstanceOf(AsyncResult);
  });
});

describe('many waiters', () => {
  test('a thousand of one tick share one subscription, one read and no timer each', async () => {
    let reads = 0;
    const { backends, subscribed, unsubscribed, subscribing } = watched((backend) => {
      const load = backend.load.bind(backend);
      backend.load = (ids) => {
        reads++;
        return load(ids);
      };
    });
    const app = openApp({ backends });
    await app.resultWaiter();
    const ids = Array.from({ length: 1000 }, (_, index) => `id-${index}`);
    const all = Promise.all(ids.map((id) => app.asyncResult<string>(id).get()));
    await subscribing;
    for (const id of ids) await storeState(app, id, 'SUCCESS', id);
    expect(await all).toEqual(ids);
    expect({ subscribed, reads, unsubscribed: unsubscribed() }).toEqual({
      subscribed: [1000],
      reads: 1,
      unsubscribed: 1,
    });
  });

  test('of one id share it; one that leaves does not take it from the others', async () => {
    const { backends, subscribed, subscribing } = watched();
    const app = openApp({ backends });
    const impatient = expect(app.asyncResult('a').get({ timeout: 0.02 })).rejects.toMatchObject({
      code: 'ERR_TIMEOUT',
    });
    const patient = app.asyncResult('a').get();
    await subscribing;
    await impatient;
    await storeState(app, 'a', 'SUCCESS', 1);
    expect(await patient).toBe(1);
    expect(subscribed).toEqual([1]);
  });

  test('a store that cannot be asked is told to all of them, and asked again by the next', async () => {
    let isDown = true;
    const { backends } = watched((backend) => {
      const subscribe = backend.subscribe.bind(backend);
      backend.subscribe = (...call) => (isDown ? Promise.reject(new Error('down')) : subscribe(...call));
    });
    const app = openApp({ backends });
    const waits = ['a', 'b'].map((id) => app.asyncResult(id).get());
    expect((await Promise.allSettled(waits)).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    isDown = false;
    await storeState(app, 'a', 'SUCCESS', 1);
    expect(await app.asyncResult('a').get()).toBe(1);
  });
});

describe('of a chain', () => {
  /** Those of waiting; what joins the calls of a turn goes on. */
  const TIMERS: Parameters<typeof vi.useFakeTimers>[0] = {
    toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'],
  };
  afterEach(() => vi.useRealTimers());

  /** The end of a chain of three, whose first is `name-0`. */
  const chainOf = (app: Lovage, name: string) =>
    app
      .asyncResult<string>(`${name}-2`)
      .withParent(app.asyncResult(`${name}-1`).withParent(app.asyncResult(`${name}-0`)));

  test('many waiters share what they ask of the tasks before', async () => {
    let reads = 0;
    const { backends, subscribed } = watched((backend) => {
      const load = backend.load.bind(backend);
      backend.load = (ids) => {
        reads++;
        return load(ids);
      };
    });
    const app = openApp({ backends });
    await app.resultWaiter();
    vi.useFakeTimers(TIMERS);
    const names = Array.from({ length: 1000 }, (_, index) => `chain-${index}`);
    const all = Promise.all(names.map((name) => chainOf(app, name).get()));
    await vi.advanceTimersByTimeAsync(30_000);
    for (const name of names) await storeState(app, `${name}-2`, 'SUCCESS', name);
    expect(await all).toEqual(names);
    expect(subscribed).toEqual([1000, 2000]);
    // One read of each subscription, and what is waited for once more every five seconds.
    expect(reads).toBeLessThan(10);
  });

  test('a task before that failed ends the waiting, unless it runs again', async () => {
    let watching = 0;
    const { backends } = watched((backend) => {
      const subscribe = backend.subscribe.bind(backend);
      backend.subscribe = async (ids, listener) => {
        const subscription = await subscribe(ids, listener);
        watching += ids.length;
        return subscription;
      };
    });
    const app = openApp({ backends });
    await app.resultWaiter();
    vi.useFakeTimers(TIMERS);
    const waits = ['a', 'b', 'c'].map((name) => chainOf(app, name).get());
    const [a, b, c] = waits;
    let settled = 0;
    for (const wait of waits) void wait.catch(() => {}).finally(() => settled++);
    await vi.advanceTimersByTimeAsync(1000);
    while (watching < 9) await new Promise((resolve) => setImmediate(resolve));
    for (const id of ['a-0', 'b-1', 'c-0']) await storeState(app, id, 'FAILURE', failure);
    await vi.advanceTimersByTimeAsync(9000);
    expect(settled).toBe(0);
    // As after a worker was lost that had stored it.
    await storeState(app, 'c-0', 'STARTED');
    const failed = Promise.all([a, b].map((wait) => expect(wait).rejects.toMatchObject({ code: 'ERR_TASK_FAILED' })));
    await vi.advanceTimersByTimeAsync(3000);
    await failed;
    await storeState(app, 'c-0', 'SUCCESS');
    await vi.advanceTimersByTimeAsync(60_000);
    expect(settled).toBe(2);
    await storeState(app, 'c-2', 'SUCCESS', 'at last');
    expect(await c).toBe('at last');
  });
});

describe('what is known', () => {
  async function facts(app: Lovage, id: string): Promise<unknown[]> {
    const result = app.asyncResult(id);
    return Promise.all([result.state(), result.ready(), result.successful(), result.failed(), result.result()]);
  }

  test('of each state', async () => {
    const app = openApp();
    await storeState(app, 's', 'SUCCESS', 1);
    await storeState(app, 'f', 'FAILURE', failure);
    await storeState(app, 'p', 'PROGRESS', { progress: 0.5 });
    await storeState(app, 'r', 'RETRY', failure);
    const error = expect.objectContaining({ message: 'ValueError: no' });
    expect(await facts(app, 'unknown')).toEqual(['PENDING', false, false, false, null]);
    expect(await facts(app, 's')).toEqual(['SUCCESS', true, true, false, 1]);
    expect(await facts(app, 'f')).toEqual(['FAILURE', true, false, true, error]);
    expect(await facts(app, 'p')).toEqual(['PROGRESS', false, false, false, { progress: 0.5 }]);
    expect(await facts(app, 'r')).toEqual(['RETRY', false, false, false, error]);
  });

  test('when it ended, also by an older Celery that wrote no zone', async () => {
    const app = openApp();
    await storeState(app, 'new', 'SUCCESS', 1, { date_done: '2026-01-02T03:04:05.250000+02:00' });
    await storeState(app, 'old', 'SUCCESS', 1, { date_done: '2026-01-02T03:04:05.250000' });
    expect(await app.asyncResult('new').dateDone()).toEqual(new Date('2026-01-02T01:04:05.250Z'));
    expect(await app.asyncResult('old').dateDone()).toEqual(new Date('2026-01-02T03:04:05.250Z'));
    expect(await app.asyncResult('unknown').dateDone()).toBeUndefined();
  });

  test('its children, and forgetting it', async () => {
    const app = openApp();
    await storeState(app, 'a', 'SUCCESS', 1, { children: [[['child', [['parent', null], null]], null]] as never });
    const [child] = await app.asyncResult('a').children();
    expect(child).toMatchObject({ id: 'child', parent: { id: 'parent', parent: undefined } });
    const result = app.asyncResult('a');
    expect(await result.state()).toBe('SUCCESS');
    await result.forget();
    expect(await result.state()).toBe('PENDING');
  });

  test('tuples name the whole chain', () => {
    const app = openApp();
    const result = new AsyncResult(app, 'c', new AsyncResult(app, 'b', new AsyncResult(app, 'a')));
    const tuple = [['c', [['b', [['a', null], null]], null]], null];
    expect(result.toTuple()).toEqual(tuple);
    expect(AsyncResult.fromTuple(app, tuple).toTuple()).toEqual(tuple);
    expect(AsyncResult.fromTuple(app, ['c', null])).toMatchObject({ id: 'c', parent: undefined });
    expect(() => AsyncResult.fromTuple(app, { id: 'c' })).toThrow(/reference to a result/);
  });
});

describe('cancel', () => {
  /** A reference to a task, or to a group of them. */
  const task = (id: string, parent: unknown = null) => [[id, parent], null];
  const groupTuple = (id: string, members: readonly unknown[], parent: unknown = null) => [[id, parent], members];

  test('revokes all that a workflow has published, however deep, and nothing that has ended', async () => {
    const app = openApp();
    const publishes = (id: string, ...children: unknown[]) =>
      storeState(app, id, 'SUCCESS', 1, { children: children as never });
    await publishes('root', task('first'), groupTuple('group', [task('second'), groupTuple('inner', [task('third')])]));
    await publishes('first', task('fourth', task('before the fourth')));
    await publishes('third', task('fifth'));
    await publishes('fifth', task('sixth'), task('failed'));
    await storeState(app, 'failed', 'FAILURE', failure, { children: [task('seventh')] as never });
    await app.asyncResult('root').cancel();
    const states = async (...ids: string[]) => Promise.all(ids.map((id) => app.asyncResult(id).state()));
    expect(new Set(await states('second', 'fourth', 'before the fourth', 'sixth', 'seventh'))).toEqual(
      new Set(['REVOKED']),
    );
    expect(await states('root', 'first', 'third', 'fifth', 'failed')).toEqual([
      'SUCCESS',
      'SUCCESS',
      'SUCCESS',
      'SUCCESS',
      'FAILURE',
    ]);
  });

  test('reaches what a task publishes that ends while it is looked for', async () => {
    let looks = 0;
    let app!: Lovage;
    const { backends } = watched((backend) => {
      const load = backend.load.bind(backend);
      backend.load = async (ids) => {
        const found = await load(ids);
        if (ids.includes('root') && ++looks === 1) {
          await storeState(app, 'root', 'SUCCESS', 1, { children: [task('child')] as never });
        }
        return found;
      };
    });
    app = openApp({ backends });
    await app.asyncResult('root').cancel();
    expect(await app.asyncResult('child').state()).toBe('REVOKED');
  });

  test('goes through what many results share once', async () => {
    const app = openApp();
    const members = (name: string, parent?: AsyncResult) =>
      Array.from({ length: 300 }, (_, n) => new AsyncResult(app, `${name} ${n}`, parent));
    let step = new GroupResult(app, 'step 0', members('0'));
    for (let n = 1; n < 5; n++) step = new GroupResult(app, `step ${n}`, members(`${n}`, step), step);
    await step.cancel();
    expect(await app.asyncResult('0 299').state()).toBe('REVOKED');
  });
});

describe('revoke', () => {
  test('is a REVOKED state of what has not ended, nothing for what has', async () => {
    const app = openApp();
    await storeState(app, 'done', 'FAILURE', failure);
    await app.revoke(['waiting', 'done']);
    await expect(app.asyncResult('waiting').get()).rejects.toMatchObject({
      excType: 'TaskRevokedError',
      state: 'REVOKED',
    });
    expect(await app.asyncResult('done').state()).toBe('FAILURE');
  });
});
