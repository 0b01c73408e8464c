import { describe, expect, test } from 'vitest';
import { ConnectionLostError } from '@lovage/core';
import { Reject } from '@lovage/core/protocol';
import { ManualClock } from '../test/support/manual-clock.ts';
import { type Bench, exception, openBench, until } from '../test/support/bench.ts';
import { faultyTransport } from '../test/support/faults.ts';

describe('what cannot be run', () => {
  test('an unknown task goes back, then to the dead letter place, and is FAILURE NotRegistered', async () => {
    const bench = openBench();
    await bench.worker({ unknownTaskRetries: 0 });
    const { id } = await bench.app.sendTask('nobody.knows');
    expect(await bench.meta(id)).toMatchObject({
      status: 'FAILURE',
      result: exception('NotRegistered', ['nobody.knows'], 'celery.exceptions'),
      traceback: null,
    });
    const dead = await bench.take('celery.dead');
    expect(dead.headers).toMatchObject({
      id,
      task: 'nobody.knows',
      'x-lovage-reason': 'not-registered',
      'x-lovage-queue': 'celery',
    });
  });

  test('an unknown task is put back for another worker, its count raised', async () => {
    const bench = openBench();
    const worker = await bench.worker();
    await bench.app.sendTask('soon.known');
    await until(() => bench.lines.some(({ message }) => message.includes('is not registered here')), 'the warning');
    await worker.stop('warm');
    expect(await bench.size('celery.dead').catch(() => 0)).toBe(0);
  });

  test('one that cannot be put back is kept for a while, and not handed to and fro', async () => {
    const { transport, faults } = faultyTransport();
    const bench = openBench({ transports: [transport] });
    await bench.app.sendTask('soon.known');
    let refusals = 0;
    faults.refuse = (queue) => (queue === 'celery' && ++refusals === 1 ? new ConnectionLostError('no') : undefined);
    const clock = new ManualClock();
    await bench.worker({ clock, remoteControl: false, gossip: false });
    await until(() => refusals === 1 && clock.timers > 0, 'the pause');
    expect(faults.settled).toEqual([]);
    clock.advance(30_000);
    await until(() => faults.settled.length === 1, 'the settlement');
    expect(faults.settled).toEqual(['ack']);
  });

  test.each(['constructor', '__proto__', 'toString', 'hasOwnProperty'])(
    'the task name %s is nothing special',
    async (task) => {
      const bench = openBench();
      await bench.worker({ unknownTaskRetries: 0 });
      await bench.raw({ headers: { task, id: 'some-id' } });
      const dead = await bench.take('celery.dead');
      expect(dead.headers['x-lovage-reason']).toMatch(/not-registered|invalid-message/);
    },
  );

  const MALFORMED: readonly (readonly [string, Parameters<Bench['raw']>[0], string | RegExp])[] = [
    ['no headers', {}, 'invalid-message'],
    ['task is not text', { headers: { task: 7, id: 'a' } }, 'invalid-message'],
    ['no id', { headers: { task: 'fine' } }, 'invalid-message'],
    ['id is an object', { headers: { task: 'fine', id: {} } }, 'invalid-message'],
    ['id of a megabyte', { headers: { task: 'fine', id: 'x'.repeat(1 << 20) } }, 'invalid-message'],
    ['id with a line break', { headers: { task: 'fine', id: 'a\r\nb' } }, 'invalid-message'],
    ['retries is text', { headers: { task: 'fine', id: 'a', retries: 'x' } }, 'invalid-message'],
    ['eta is garbage', { headers: { task: 'fine', id: 'a', eta: 'tomorrow' } }, 'invalid-message'],
    ['expires is garbage', { headers: { task: 'fine', id: 'a', expires: {} } }, 'invalid-message'],
    ['timelimit is text', { headers: { task: 'fine', id: 'a', timelimit: 'long' } }, 'invalid-message'],
    [
      'unknown content type',
      { headers: { task: 'fine', id: 'a' }, contentType: 'application/x-what' },
      /content-disallowed|undecodable/,
    ],
    [
      'pickle',
      { headers: { task: 'fine', id: 'a' }, contentType: 'application/x-python-serialize' },
      'content-disallowed',
    ],
    [
      'yaml not accepted',
      { headers: { task: 'fine', id: 'a' }, contentType: 'application/x-yaml' },
      'content-disallowed',
    ],
    [
      'truncated JSON',
      { headers: { task: 'fine', id: 'a' }, body: Buffer.from('[[1, 2') },
      /undecodable|invalid-message/,
    ],
    ['empty body', { headers: { task: 'fine', id: 'a' }, body: Buffer.alloc(0) }, /undecodable|invalid-message/],
    [
      'invalid UTF-8',
      { headers: { task: 'fine', id: 'a' }, body: Buffer.from([0x5b, 0xff, 0xfe, 0x5d]) },
      /undecodable|invalid-message/,
    ],
    ['body is a number', { headers: { task: 'fine', id: 'a' }, body: Buffer.from('1') }, 'invalid-message'],
    ['two elements', { headers: { task: 'fine', id: 'a' }, body: Buffer.from('[[], {}]') }, 'invalid-message'],
    [
      'kwargs is an array',
      { headers: { task: 'fine', id: 'a' }, body: Buffer.from('[[], [], {}]') },
      'invalid-message',
    ],
    [
      'callbacks of a wrong shape',
      { headers: { task: 'fine', id: 'a' }, body: Buffer.from('[[], {}, {"callbacks": [1]}]') },
      'invalid-message',
    ],
    [
      'chain of a wrong shape',
      { headers: { task: 'fine', id: 'a' }, body: Buffer.from('[[], {}, {"chain": {"task": "x"}}]') },
      'invalid-message',
    ],
    [
      '10,000 callbacks',
      {
        headers: { task: 'fine', id: 'a' },
        body: Buffer.from(
          JSON.stringify([
            [],
            {},
            { callbacks: Array.from({ length: 10_000 }, () => ({ task: 'fine', args: [], kwargs: {}, options: {} })) },
          ]),
        ),
      },
      'invalid-message',
    ],
    [
      'deep nesting',
      {
        headers: { task: 'fine', id: 'a' },
        body: Buffer.from(`[${'['.repeat(100_000)}${']'.repeat(100_000)}, {}, {}]`),
      },
      /undecodable|invalid-message/,
    ],
    [
      'unknown compression',
      { headers: { task: 'fine', id: 'a', compression: 'application/x-what' } },
      /undecodable|content-disallowed|invalid-message/,
    ],
    [
      'truncated compression',
      { headers: { task: 'fine', id: 'a', compression: 'application/x-gzip' }, body: Buffer.from([0x78, 0x9c, 1]) },
      /undecodable|invalid-message/,
    ],
  ];

  test.each(MALFORMED)('%s: set aside with a reason, and the next message runs', async (_, message, reason) => {
    const bench = openBench();
    const ran: unknown[] = [];
    const fine = bench.app.task('fine', (...args: unknown[]) => ran.push(args) && 'ok');
    await bench.worker();
    await bench.raw(message);
    const good = await fine.delay('good');
    expect(await good.get({ timeout: 25 })).toBe('ok');
    const dead = await bench.take('celery.dead');
    expect(dead.headers['x-lovage-reason']).toMatch(reason);
    expect(Buffer.from(dead.body).equals(message.body ?? Buffer.from('[[], {}, {}]'))).toBe(true);
    expect(ran).toEqual([['good']]);
    await until(async () => (await bench.size()) === 0, 'an empty queue');
  });

  test('without a dead letter place the message is rejected, as Celery does', async () => {
    const bench = openBench({ deadLetterQueue: null });
    const fine = bench.app.task('fine', () => 'ok');
    await bench.worker();
    await bench.raw({ headers: { task: 'fine', id: 'a' }, body: Buffer.from('[') });
    expect(await (await fine.delay()).get({ timeout: 25 })).toBe('ok');
    await until(async () => (await bench.size()) === 0, 'an empty queue');
  });

  test('a message that is delivered too often is set aside and is FAILURE WorkerLostError', async () => {
    const bench = openBench({ deliveryLimit: 3 });
    let runs = 0;
    const killer = bench.app.task('killer', () => {
      runs++;
      throw new Reject('again', { requeue: true });
    });
    await bench.worker();
    const { id } = await killer.delay();
    const dead = await bench.take('celery.dead');
    expect(dead.headers).toMatchObject({ id, 'x-lovage-reason': 'delivery-limit' });
    expect((await bench.meta(id)).result).toEqual(exception('WorkerLostError'));
    expect(runs).toBe(3);
  });
});
