import { expect, onTestFinished, test } from 'vitest';
import { altered, connect, drained, freshUrl, publication } from '../../test/support/virtual-bench.ts';
import { ConnectionLostError, LovageError, PublishError } from '../errors.ts';
import type { Broadcast, QueueEntry } from './driver.ts';

test('all publishes of a tick go to the driver at once', async () => {
  const pushes: number[] = [];
  const transport = altered((driver) => ({
    push: async (entries: readonly QueueEntry[]) => {
      pushes.push(entries.length);
      await driver.push(entries);
    },
  }));
  const connection = await connect(freshUrl(), {}, transport);
  await Promise.all([
    connection.publish([publication('1', 'q'), publication('2', 'q')]),
    connection.publish([publication('3', 'q')]),
    connection.publish([]),
  ]);
  await Promise.all(Array.from({ length: 2500 }, () => connection.publish([publication('x', 'r')])));
  expect(pushes).toEqual([3, 1000, 1000, 500]);
  expect(await connection.inspect('q')).toEqual({ ready: 3 });
});

test('names the messages that the broker does not own, and sends the others', async () => {
  const connection = await connect(undefined, { transportOptions: { max_message_bytes: 2000 } });
  await connection.declare({ exchanges: [{ name: 'ex', type: 'direct' }], queues: [{ name: 'q' }] });
  const circular: Record<string, unknown> = {};
  circular['self'] = circular;
  const broken = publication('3', 'q');
  const error = (await connection
    .publish([
      publication('0', 'q'),
      publication('1', 'nowhere', { exchange: 'ex', mandatory: true }),
      publication('x'.repeat(2000), 'q'),
      { ...broken, message: { ...broken.message, headers: circular } },
      publication('4', 'q', { delayMs: 10 ** 15 }),
      publication('5', 'nowhere', { exchange: 'ex' }),
      publication('6', 'no-such-queue', { mandatory: true }),
      publication('7', 'q', { mandatory: true }),
      publication('8', 'key', { exchange: 'unheard-of' }),
    ])
    .catch((reason: unknown) => reason)) as PublishError;
  expect(error.failures.map(({ index, error: { code } }) => [index, code])).toEqual([
    [1, 'ERR_UNROUTABLE'],
    [2, 'ERR_TOO_LARGE'],
    [3, 'ERR_ENCODE'],
    [4, 'ERR_UNSUPPORTED'],
    [6, 'ERR_UNROUTABLE'],
    [8, 'ERR_NOT_FOUND'],
  ]);
  expect(error.failures[1]?.error.message).toContain('2000 bytes');
  expect((await connection.inspect('q')).ready).toBe(2);
});

test("maps a driver's partial failure to the calls of the tick", async () => {
  const transport = altered(() => ({
    push: async (entries: readonly QueueEntry[]) => {
      const refused = entries.flatMap((entry, index) => (entry.queue === 'full' ? [index] : []));
      if (refused.length > 0) {
        throw new PublishError(
          refused.map((index) => ({ index, error: new LovageError('ERR_BLOCKED', 'full') })),
          entries.length,
        );
      }
    },
  }));
  const connection = await connect(undefined, {}, transport);
  const results = await Promise.allSettled([
    connection.publish([publication('1', 'q')]),
    connection.publish([publication('2', 'q'), publication('3', 'full')]),
    connection.publish([publication('4', 'full')]),
  ]);
  expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected']);
  const reasons = results.map((result) =>
    result.status === 'rejected' ? (result.reason as PublishError).failures[0] : undefined,
  );
  expect(reasons.map((failure) => failure?.index)).toEqual([undefined, 1, 0]);
  expect(reasons[1]?.error.code).toBe('ERR_BLOCKED');
});

test('abort ends the waiting, not the work', async () => {
  let let_go!: () => void;
  const gate = new Promise<void>((resolve) => {
    let_go = resolve;
  });
  const transport = altered((driver) => ({
    push: (entries: readonly QueueEntry[]) => gate.then(() => driver.push(entries)),
  }));
  const connection = await connect(undefined, {}, transport);
  const abort = new AbortController();
  const publishing = connection.publish([publication('1', 'q')], { signal: abort.signal });
  abort.abort(new Error('enough'));
  await expect(publishing).rejects.toThrow('enough');
  await expect(connection.publish([publication('2', 'q')], { signal: abort.signal })).rejects.toThrow('enough');
  let_go();
  await connection.publish([]);
  await drained();
  expect((await connection.inspect('q')).ready).toBe(1);
});

test('a link that is lost under a batch fails all of it, whatever way its messages take', async () => {
  const unhandled: unknown[] = [];
  const note = (reason: unknown): void => void unhandled.push(reason);
  process.on('unhandledRejection', note);
  onTestFinished(() => void process.off('unhandledRejection', note));
  const lost = (): Promise<never> => Promise.reject(new ConnectionLostError('cut'));
  const transport = altered((driver) => ({
    broadcast: { ...(driver.broadcast as Broadcast), publish: lost },
    push: () => new Promise((resolve) => setImmediate(resolve)).then(lost),
  }));
  const connection = await connect(undefined, {}, transport);
  await connection.declare({ exchanges: [{ name: 'events', type: 'fanout' }] });
  const results = await Promise.allSettled([
    connection.publish([publication('1', 'q')]),
    connection.publish([publication('2', '', { exchange: 'events' })]),
  ]);
  expect(results).toMatchObject(Array(2).fill({ status: 'rejected', reason: { code: 'ERR_CONNECTION_LOST' } }));
  await drained();
  expect(unhandled).toEqual([]);
});
