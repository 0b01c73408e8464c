import { expect, test } from 'vitest';
import { openApp, takeDeliveries } from '../../test/support/app-bench.ts';

test.each([
  [{ n: undefined }, '"n" is undefined'],
  [{ n: 0 }, '"n" is 0'],
  [{ n: -1 }, '"n" is -1'],
  [{ n: '2' }, '"n" is 2'],
  [{ it: 'abc' }, '"it" is no list'],
])('chunks of %o are refused, as a task and as a callback', async (wrong, message) => {
  const app = openApp();
  const task = app
    .task('add', (x: number, y: number) => x + y)
    .s(1, 2)
    .toJSON();
  const kwargs = { task, it: [[1], [2], [3]], n: 2, ...wrong };
  const refused = { code: 'ERR_TASK_ARGUMENTS', message: expect.stringContaining(message) as string };
  const run = await app.signature('celery.chunks', { args: [task, kwargs.it, kwargs.n] }).apply();
  expect(await run.result()).toMatchObject(refused);
  await expect(app.signature('celery.chunks', { kwargs }).delay()).rejects.toMatchObject(refused);
});

test('chunks take what is left into the last one', async () => {
  const app = openApp();
  const add = app.task('add', (x: number, y: number) => x + y);
  const items: [number, number][] = [[1, 1], [2, 2], [3, 3]]; // biome-ignore format: one line reads better
  await add.chunks(items, 2).delay();
  const bodies = (await takeDeliveries(app.url, 'celery', 2)).map(({ message }) =>
    Buffer.from(message.body).toString(),
  );
  expect(bodies.map((body) => (JSON.parse(body) as [unknown, { it: unknown }])[1].it)).toEqual([
    [
      [1, 1],
      [2, 2],
    ],
    [[3, 3]],
  ]);
});
