import { describe, expect, test } from 'vitest';
import { ConnectionLostError, type LovageOptions } from '@lovage/core';
import type { DocumentStore } from '@lovage/core/backend';
import { ManualClock } from '../test/support/manual-clock.ts';
import { type Bench, gate, openBench, until, within } from '../test/support/bench.ts';
import { changedBackend, faultyTransport } from '../test/support/faults.ts';

describe('redelivery', () => {
  /** Somebody takes the first message, does `meanwhile` and dies without settling. */
  async function dieHolding(bench: Bench, meanwhile: () => Promise<void>): Promise<void> {
    const supervisor = bench.app.connectBroker('read');
    const connection = await supervisor.connection();
    const taken = gate();
    await connection.consume(['celery'], () => taken.open(), { prefetch: 1 });
    await within(taken.opened, 'the message');
    await meanwhile();
    await supervisor.close();
    await until(async () => (await bench.size()) === 1, 'the message back');
  }

  test('of two messages for one instant of a beat one is run, and one of a dead worker is run again', async () => {
    const bench = openBench();
    const runs: string[] = [];
    const tick = bench.app.task('tick', (name: string) => runs.push(name));
    const instant = (taskId: string) => ({ taskId, headers: { 'x-lovage-instant': '2026-01-01T00:00:00.000Z' } });
    await tick.applyAsync(['held'], instant('held'));
    await dieHolding(bench, async () => {
      const { documents } = await bench.app.requireBackend('test');
      await documents?.write('lovage-instant:held', 'the dead worker', undefined);
    });
    await tick.applyAsync(['twice'], instant('twice'));
    await tick.applyAsync(['twice'], instant('twice'));
    await tick.applyAsync(['other'], instant('other'));
    await bench.worker();
    await bench.meta('other');
    await until(async () => (await bench.size()) === 0, 'an empty queue');
    expect(runs.toSorted()).toEqual(['held', 'other', 'twice']);
  });

  const once = (taskId: string) => ({ taskId, headers: { 'x-lovage-once': 'group' } });
  const read = async (bench: Bench, taskId: string) =>
    (await bench.app.requireBackend('test')).documents?.read(`lovage-once:${taskId}`);
  const noteOf = (at: number, state = 'held') => JSON.stringify({ holder: 'another worker', at, state });

  test('what only waits for a slot is not claimed; what was run is noted as done', async () => {
    const bench = openBench();
    const { opened, open } = gate();
    const body = bench.app.task('body', () => {
      throw new RangeError('no');
    });
    const blocks = bench.app.task('blocks', () => opened);
    const worker = await bench.worker({ concurrency: 1, prefetchMultiplier: 4 });
    await blocks.delay();
    await body.applyAsync([], once('body'));
    await until(() => worker.reserved.length === 1, 'the message that waits');
    expect(await read(bench, 'body')).toBeUndefined();
    open();
    expect((await bench.meta('body')).status).toBe('FAILURE');
    await until(async () => (await read(bench, 'body'))?.text.includes('"done"'), 'the note');
    await body.applyAsync([], once('body'));
    await until(() => bench.lines.some(({ message }) => message.includes('was sent twice')), 'the second message');
  });

  test('a message that was sent again runs when whoever claimed its id is dead, and is not dropped before', async () => {
    const bench = openBench();
    const runs: string[] = [];
    const body = bench.app.task('body', (name: string) => runs.push(name));
    const { documents } = await bench.app.requireBackend('test');
    await documents?.write('lovage-once:stale', noteOf(Date.now() - 121_000), undefined);
    const version = await documents?.write('lovage-once:fresh', noteOf(Date.now()), undefined);
    const worker = await bench.worker();
    await body.applyAsync(['fresh'], once('fresh'));
    await body.applyAsync(['stale'], once('stale'));
    await bench.meta('stale');
    await until(() => worker.scheduled.length === 1, 'the message that waits');
    expect(runs).toEqual(['stale']);
    expect(bench.lines.filter(({ message }) => message.includes('runs again'))).toEqual([]);
    await documents?.write('lovage-once:fresh', noteOf(Date.now(), 'free'), version);
    expect((await bench.meta('fresh')).status).toBe('SUCCESS');
    expect(runs).toEqual(['stale', 'fresh']);
  });

  test('nor is it run when that one has run it to its end and could not say so', async () => {
    const bench = openBench();
    const runs: string[] = [];
    const body = bench.app.task('body', (name: string) => runs.push(name));
    const { documents } = await bench.app.requireBackend('test');
    await bench.worker();
    await body.applyAsync(['first'], once('body'));
    await bench.meta('body');
    await until(async () => (await read(bench, 'body'))?.text.includes('"done"'), 'the note');
    await documents?.write('lovage-once:body', noteOf(Date.now() - 121_000), (await read(bench, 'body'))?.version);
    await body.applyAsync(['second'], once('body'));
    await until(() => bench.lines.some(({ message }) => message.endsWith('is done already')), 'the second message');
    await until(async () => (await read(bench, 'body'))?.text.includes('"done"'), 'the note');
    expect(runs).toEqual(['first']);
  });

  test('what waits for another message to end says so where the store is away, and takes no turn of a rate limit', async () => {
    let isAway = false;
    const backend = changedBackend((store) => ({
      load: (ids) => (isAway ? Promise.reject(new ConnectionLostError('away')) : store.load(ids)),
    }));
    const bench = openBench({ backends: [backend] });
    const body = bench.app.task('body', { rateLimit: '1/h' }, () => 1);
    const { documents } = await bench.app.requireBackend('test');
    const version = await documents?.write('lovage-once:body', noteOf(Date.now()), undefined);
    const clock = new ManualClock(Date.now());
    const worker = await bench.worker({ clock, remoteControl: false, gossip: false });
    isAway = true;
    await body.applyAsync([], once('body'));
    await until(() => bench.lines.some(({ message }) => message.endsWith('is done already. It waits.')), 'the warning');
    await until(() => worker.scheduled.length === 1, 'the message that waits');
    isAway = false;
    await documents?.write('lovage-once:body', noteOf(Date.now(), 'free'), version);
    // Whatever is done to the clock meanwhile.
    clock.jump(-3_600_000);
    clock.advance(2000);
    expect((await bench.meta('body')).status).toBe('SUCCESS');
  });

  test('what is claimed and given back before it starts lets go of its claim', async () => {
    const { opened: answered, open: answer } = gate();
    let claims = 0;
    const backend = changedBackend((store) => {
      const documents = store.documents as DocumentStore;
      const write: DocumentStore['write'] = async (...call) => {
        claims++;
        await answered;
        return documents.write(...call);
      };
      return { documents: Object.assign(Object.create(documents) as DocumentStore, { write }) };
    });
    const bench = openBench({ backends: [backend] });
    const { opened, open } = gate();
    const body = bench.app.task('body', () => opened);
    const worker = await bench.worker({ concurrency: 2 });
    const ids = ['one', 'two'];
    for (const id of ids) await body.applyAsync([], once(id));
    await until(() => claims === 2, 'two claims');
    worker.shrink();
    answer();
    await until(() => worker.active.length === 1 && worker.reserved.length === 1, 'one that has no slot any more');
    const [waiting] = worker.reserved;
    const stopped = worker.stop('warm');
    await until(async () => (await read(bench, waiting?.id as string))?.text.includes('"free"'), 'a free claim');
    open();
    await stopped;
  });

  test('a lease that is lost while it is asked whether a task is done loses the task', async () => {
    const { transport, faults } = faultyTransport();
    const { opened: answered, open: answer } = gate();
    let asked = 0;
    const backend = changedBackend((store) => ({
      load: async (ids) => {
        asked++;
        await answered;
        return store.load(ids);
      },
    }));
    const bench = openBench({
      transports: [transport],
      backends: [backend],
      workerDeduplicateSuccessfulTasks: true,
    });
    let runs = 0;
    const task = bench.app.task('task', () => void runs++);
    const last = bench.app.task('last', () => 1);
    await task.delay();
    await dieHolding(bench, async () => {});
    await bench.worker();
    await until(() => asked === 1, 'the question');
    faults.loseLeases();
    answer();
    await (await last.delay()).get({ timeout: 25 });
    expect(runs).toBe(0);
    await until(() => faults.settled.length > 0, 'the settlement');
    expect(faults.settled).toEqual(['ack']);
  });

  async function setUp(children: unknown[], options: LovageOptions = {}, beforeWorker: () => void = () => {}) {
    const bench = openBench({ workerDeduplicateSuccessfulTasks: true, ...options });
    const runs: unknown[] = [];
    const once = bench.app.task('once', (n: number) => runs.push(n));
    const next = once.s().freeze();
    const { id } = await once.applyAsync([1], { chain: [next] });
    await dieHolding(bench, async () => {
      const backend = await bench.app.requireBackend('test');
      const state = { status: 'SUCCESS', result: 'first', traceback: null, date_done: null };
      await backend.store([{ meta: { ...state, children, task_id: id } }]);
    });
    beforeWorker();
    await bench.worker();
    await until(() => bench.lines.some(({ message }) => message.endsWith('is done already')), 'the second delivery');
    await until(async () => (await bench.size()) === 0, 'an empty queue');
    return { bench, runs, id, nextId: next.options.taskId as string };
  }

  test('a done task is not run again, and what should follow it is sent', async () => {
    const { bench, runs, id, nextId } = await setUp([]);
    expect((await bench.meta(nextId)).status).toBe('SUCCESS');
    expect(runs).toEqual(['first']);
    expect((await bench.meta(id)).result).toBe('first');
  });

  test('when that cannot be sent the message goes back, and the task is still not run again', async () => {
    const { transport, faults } = faultyTransport();
    let refusals = 0;
    const { bench, runs, nextId } = await setUp([], { transports: [transport], taskPublishRetry: false }, () => {
      faults.refuse = (queue) => (queue === 'celery' && ++refusals <= 2 ? new ConnectionLostError('no') : undefined);
    });
    expect((await bench.meta(nextId)).status).toBe('SUCCESS');
    expect(runs).toEqual(['first']);
    expect(faults.settled.filter((outcome) => outcome === 'requeue')).toHaveLength(2);
  });

  test('unless it was sent already', async () => {
    const { runs } = await setUp([[['some', null], null]]);
    expect(runs).toEqual([]);
  });

  test('without that setting it runs again', async () => {
    const bench = openBench();
    const seen: boolean[] = [];
    const task = bench.app.task(
      'task',
      { bind: true },
      ({ request }) => void seen.push(request.deliveryInfo.redelivered),
    );
    const { id } = await task.delay();
    await dieHolding(bench, async () => {});
    await bench.worker();
    expect((await bench.meta(id)).status).toBe('SUCCESS');
    expect(seen).toEqual([true]);
  });
});
