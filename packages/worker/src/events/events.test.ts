import { expect, test } from 'vitest';
import type { ReceivedEvent } from '@lovage/core';
import { type Bench, gate, openBench, until } from '../../test/support/bench.ts';

const NODE = 'celery@here';

/** Collects all events of a bench from now on. */
async function listen(bench: Bench): Promise<ReceivedEvent[]> {
  const seen: ReceivedEvent[] = [];
  await bench.app.events.listen({ '*': (event) => void seen.push(event) });
  return seen;
}

const fields = (event: ReceivedEvent): string[] => Object.keys(event).filter((name) => name !== 'local_received');
const COMMON = ['hostname', 'utcoffset', 'pid', 'clock'];

test("task events have Celery's fields in Celery's order", async () => {
  const bench = openBench({ taskSendSentEvent: true });
  const { app } = bench;
  const seen = await listen(bench);
  const add = app.task('add', (x: number, y: number) => x + y);
  const fail = app.task('fail', () => {
    throw new RangeError('no luck');
  });
  const again = app.task('again', { bind: true }, (task) => {
    if (task.request.retries === 0) task.retry({ countdown: 0, cause: new Error('not yet') });
  });
  const quiet = app.task('quiet', { sendEvents: false }, () => 1);
  await bench.worker({ nodeName: NODE, taskEvents: true });
  const result = await add.delay(2, 3);
  await result.get({ timeout: 25 });
  await until(() => seen.some(({ type }) => type === 'task-succeeded'), 'task-succeeded');
  const of = (type: string, uuid: string): ReceivedEvent =>
    seen.find((event) => event.type === type && event['uuid'] === uuid) as ReceivedEvent;
  const sent = of('task-sent', result.id);
  expect(sent).toMatchObject({ hostname: app.nodeName, name: 'add', args: '(2, 3)', queue: 'celery', exchange: '' });
  const received = of('task-received', result.id);
  expect(fields(received)).toEqual([
    ...COMMON,
    'uuid',
    'name',
    'args',
    'kwargs',
    'root_id',
    'parent_id',
    'retries',
    'eta',
    'expires',
    'timestamp',
    'type',
  ]);
  expect(received).toMatchObject({ hostname: NODE, name: 'add', args: '(2, 3)', kwargs: '{}', root_id: result.id });
  expect(fields(of('task-started', result.id))).toEqual([...COMMON, 'uuid', 'timestamp', 'type']);
  expect(of('task-succeeded', result.id)).toMatchObject({ result: '5', runtime: expect.any(Number) });
  const clocks = seen.filter((event) => event['uuid'] === result.id && event.hostname === NODE);
  expect(clocks.map(({ clock }) => clock)).toEqual(
    clocks.map(({ clock }) => clock).toSorted((a, b) => Number(a) - Number(b)),
  );

  const failing = await fail.delay();
  await until(() => of('task-failed', failing.id), 'task-failed');
  expect(of('task-failed', failing.id)).toMatchObject({
    exception: "RangeError('no luck')",
    traceback: expect.stringContaining('Traceback'),
  });
  const retried = await again.delay();
  await until(() => of('task-retried', retried.id), 'task-retried');
  expect(of('task-retried', retried.id)).toMatchObject({ exception: "Error('not yet')" });
  await (await quiet.delay()).get({ timeout: 25 });
  expect(seen.some((event) => event['name'] === 'quiet' && event.hostname === NODE)).toBe(false);
});

test('task events are off until they are asked for, and stop when they are asked to', async () => {
  const bench = openBench();
  const { app } = bench;
  const seen = await listen(bench);
  const add = app.task('add', (x: number) => x);
  const worker = await bench.worker({ nodeName: NODE });
  await (await add.delay(1)).get({ timeout: 25 });
  const ask = (method: string): Promise<unknown> => app.control.broadcast(method, { reply: true, limit: 1 });
  expect(await ask('enable_events')).toEqual([{ [NODE]: { ok: 'task events enabled' } }]);
  expect(await ask('enable_events')).toEqual([{ [NODE]: { ok: 'task events already enabled' } }]);
  const second = await add.delay(2);
  await until(() => seen.some(({ type }) => type === 'task-succeeded'), 'task-succeeded');
  expect(new Set(seen.filter(({ type }) => type.startsWith('task-')).map((event) => event['uuid']))).toEqual(
    new Set([second.id]),
  );
  expect(await ask('disable_events')).toEqual([{ [NODE]: { ok: 'task events disabled' } }]);
  seen.length = 0;
  await (await add.delay(3)).get({ timeout: 25 });
  await worker.stop();
  await until(() => seen.some(({ type }) => type === 'worker-offline'), 'worker-offline');
  expect(seen.filter(({ type }) => type.startsWith('task-'))).toEqual([]);
});

test('a worker comes, beats and goes; the state of the cluster knows', async () => {
  const bench = openBench();
  const { app } = bench;
  const state = app.events.state();
  await app.events.listen({ '*': (event) => state.event(event) });
  const { opened, open } = gate();
  const wait = app.task('wait', async () => opened);
  const worker = await bench.worker({ nodeName: NODE, taskEvents: true, heartbeatInterval: 0.05 });
  const result = await wait.delay();
  await until(() => state.workers.get(NODE)?.active === 1, 'a busy worker');
  expect(state.workers.get(NODE)).toMatchObject({
    freq: 0.05,
    pid: process.pid,
    processed: 1,
    software: { ident: 'lovage', version: expect.stringMatching(/^\d/), system: 'Linux' },
  });
  expect(state.aliveWorkers().map(({ hostname }) => hostname)).toEqual([NODE]);
  expect(state.tasks.get(result.id)).toMatchObject({ state: 'STARTED', name: 'wait', worker: NODE, args: '()' });
  open();
  await until(() => state.tasks.get(result.id)?.state === 'SUCCESS', 'the end of the task');
  await worker.stop();
  await until(() => !state.workers.has(NODE), 'no worker');
});

test('events can be iterated until the loop is left', async () => {
  const bench = openBench();
  await bench.worker({ nodeName: NODE, heartbeatInterval: 0.02 });
  let count = 0;
  for await (const event of bench.app.events.receive({ routingKey: 'worker.#' })) {
    expect(event).toMatchObject({ hostname: NODE, local_received: expect.any(Number) });
    if (++count === 3) break;
  }
});
