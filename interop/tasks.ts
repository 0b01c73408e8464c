// The TypeScript side of the interop tests: an ordinary Lovage app. BROKER, BACKEND and QUEUE come from the environment.
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { chain, chord, group, Ignore, Lovage, Reject } from '@lovage/core';
import { unwrap } from './test/values.ts';

export const app = new Lovage('interop', {
  broker: process.env.BROKER as string,
  ...(process.env.BACKEND === undefined ? {} : { backend: process.env.BACKEND }),
  brokerTransportOptions: JSON.parse(process.env.BROKER_OPTIONS ?? '{}') as Record<string, unknown>,
  taskDefaultQueue: process.env.QUEUE ?? 'typescript',
  acceptContent: ['json', 'yaml', 'msgpack'],
  workerUnknownTaskRetries: 1,
  resultExtended: process.env.RESULT_EXTENDED === '1',
});

class OutOfInk extends Error {
  static {
    OutOfInk.prototype.name = 'OutOfInk';
  }
}

app.task('ts.echo', { params: ['x', 'y', 'z'], bind: true }, (task, ..._rest: unknown[]) => ({
  args: task.request.args,
  kwargs: task.request.kwargs,
}));

app.task('ts.add', { params: ['x', 'y'] }, (x: number, y: number) => x + y);

app.task('ts.fail', (kind: string, message: string) => {
  if (kind === 'TypeError') throw new TypeError(message);
  if (kind === 'OutOfInk') throw new OutOfInk(message);
  throw new Error(message);
});

app.task('ts.retryUntil', { bind: true, maxRetries: 5 }, (task, attempts: number) => {
  if (task.request.retries < attempts) task.retry({ countdown: 0.1, cause: new Error('not yet') });
  return task.request.retries;
});

app.task('ts.request', { bind: true }, ({ request }) => ({
  id: request.id,
  root_id: request.rootId,
  parent_id: request.parentId ?? null,
  correlation_id: request.correlationId ?? null,
  priority: request.deliveryInfo.priority ?? null,
  headers: request.headers,
  timelimit: request.timeLimit.map((limit) => limit ?? null),
  retries: request.retries,
  expires: request.expires !== undefined,
  eta: request.eta !== undefined,
}));

app.task('ts.errback', (taskId: string) => `errback of ${taskId}`);

// Tasks of the canvas tests; the Python side has the same under `py.`.

const add = app.task('ts.plus', { params: ['x', 'y'] }, (x: number, y: number) => x + y);

const sum = app.task('ts.sum', (numbers: number[]) => numbers.reduce((a, b) => a + b, 0));

app.task('ts.same', (...values: unknown[]) => (values.length === 1 ? values[0] : values));

class ValueError extends Error {
  static {
    ValueError.prototype.name = 'ValueError';
  }
}

app.task('ts.refuse', (..._args: unknown[]) => {
  throw new ValueError('no');
});

app.task('ts.note', (_taskId: string) => 'noted');

app.task('ts.third_time', { bind: true, maxRetries: 5 }, (task, value: unknown) => {
  if (task.request.retries < 2) task.retry({ countdown: 0.05 });
  return value;
});

app.task('ts.replace', { bind: true }, (task, value: number, kind: string) => {
  if (kind === 'task') return task.replace(add.s(value, 1));
  if (kind === 'chain') return task.replace(chain(add.s(value, 1), add.s(10)));
  if (kind === 'group') return task.replace(group(add.s(value, 1), add.s(value, 2)));
  return task.replace(chord([add.s(value, 1), add.s(value, 2)], sum.s()));
});

// Tasks of the tests of results; the Python side has the same under `py.`.

app.task('ts.give', (value: unknown) => unwrap(value));

app.task('ts.raises', (kind: string) => {
  if (kind === 'builtin') throw new RangeError('no');
  if (kind === 'own') throw new OutOfInk('empty');
  if (kind === 'caused') throw new OutOfInk('empty', { cause: new RangeError('no') });
  // oxlint-disable-next-line no-throw-literal, only-throw-error -- what is no error is the case
  throw { not: 'an error' };
});

/** STARTED until the first file is there, PROGRESS until the second. */
app.task('ts.stages', { bind: true, trackStarted: true }, async (task, gate: string) => {
  await fileAt(`${gate}.1`);
  await task.updateState({ state: 'PROGRESS', meta: { progress: 0.5 } });
  await fileAt(`${gate}.2`);
  return 'done';
});

async function fileAt(path: string): Promise<void> {
  while (!existsSync(path)) await sleep(20);
}

app.task('ts.later', { bind: true }, (task) => {
  task.retry({ countdown: 600, cause: new ValueError('not yet') });
});

app.task('ts.parent', async () => (await add.delay(1, 2)).id);

app.task('ts.stop', { bind: true }, async (task, kind: string) => {
  await task.updateState({ state: 'PROGRESS', meta: { progress: 1 } });
  throw kind === 'ignore' ? new Ignore('it stops here') : new Reject('it stops here');
});
