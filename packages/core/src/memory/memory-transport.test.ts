import { expect, test } from 'vitest';
import { connect, freshUrl, Inbox, publication } from '../../test/support/virtual-bench.ts';
import { cutMemoryLinks } from './memory-broker.ts';

test('serves the highest priority first, each first in, first out', async () => {
  const connection = await connect();
  const priorities = [0, 9, 5, 0, 9, 5, 3];
  await connection.publish(priorities.map((priority, index) => publication(`${priority}:${index}`, 'q', { priority })));
  const inbox = new Inbox();
  await connection.consume(['q'], inbox.sink, { prefetch: 0 });
  await inbox.reach(7);
  expect(inbox.texts).toEqual(['9:1', '9:4', '5:2', '5:5', '3:6', '0:0', '0:3']);
});

test('keeps delayed messages back, in the order of their time', async () => {
  const connection = await connect();
  const startedAt = Date.now();
  await connection.publish([
    publication('late', 'q', { delayMs: 60 }),
    publication('soon', 'q', { delayMs: 30 }),
    publication('now', 'q'),
  ]);
  expect((await connection.inspect('q')).ready).toBe(3);
  const inbox = new Inbox();
  await connection.consume(['q'], inbox.sink, { prefetch: 0 });
  await inbox.reach(3);
  expect(inbox.texts).toEqual(['now', 'soon', 'late']);
  expect(Date.now() - startedAt).toBeGreaterThanOrEqual(59);
});

test('a link that is cut loses its messages when the lease ends', async () => {
  const url = freshUrl();
  const options = { transportOptions: { leaseMs: 50 } };
  const victim = await connect(url, { ...options, clientName: 'victim' });
  const other = await connect(url, options);
  await victim.publish([publication('1', 'q')]);
  const [first, second] = [new Inbox(), new Inbox()];
  await victim.consume(['q'], first.sink, { prefetch: 1 });
  await first.reach(1);
  await other.consume(['q'], second.sink, { prefetch: 1 });
  cutMemoryLinks(url.raw, { clientName: 'victim' });
  await second.reach(1);
  expect(second.all[0]).toMatchObject({ redelivered: true, deliveryCount: 2 });
});

test('drops what waits on purge and removes queues', async () => {
  const connection = await connect();
  await connection.publish([publication('1', 'q'), publication('2', 'q')]);
  expect(await connection.purge('q')).toBe(2);
  expect(await connection.purge('unheard-of')).toBe(0);
  await connection.remove({
    queues: [{ name: 'q' }, { name: 'unheard-of' }],
    exchanges: [{ name: 'x', type: 'direct' }],
  });
  await expect(connection.inspect('q')).rejects.toMatchObject({ code: 'ERR_NOT_FOUND' });
});

test('refuses options that it does not have', async () => {
  await expect(connect(undefined, { transportOptions: { lease_msec: 1 } })).rejects.toThrow('Did you mean "leaseMs"?');
  await expect(connect(undefined, { transportOptions: { leaseMs: 'x' } })).rejects.toMatchObject({
    code: 'ERR_CONFIG',
  });
  await connect(undefined, { transportOptions: { visibility_timeout: 5, max_retries: 3 } });
});
