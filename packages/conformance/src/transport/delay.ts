import assert from 'node:assert/strict';
import type { Publication } from '@lovage/core/transport';
import { publishRejectsWith } from '../expect.ts';
import { textOf, textsOf, toQueue, type TransportTest } from './trial.ts';

/** What a clock of milliseconds may be off when two processes read it. */
const CLOCK_MS = 20;

export const delay: readonly TransportTest[] = [
  {
    name: 'delay: a delayed message comes after its delay, and one without before it',
    async run(trial) {
      const connection = await trial.open();
      if (connection.capabilities.maxDelayMs === 0) trial.skip('capabilities.maxDelayMs is 0: no delayed publishing');
      const queue = await trial.queue(connection);
      const receiver = await trial.receive(connection, queue, 1);
      const publishedAt = Date.now();
      await connection.publish([delayed(queue, 'later', 1500), toQueue(queue, 'now')]);
      const now = await receiver.takeOne();
      assert.equal(textOf(now), 'now');
      await receiver.settle([now], 'ack');
      const later = await receiver.takeOne('the delayed message');
      const tookMs = Date.now() - publishedAt;
      assert.equal(textOf(later), 'later');
      assert.ok(tookMs >= 1500 - CLOCK_MS, `it came after ${tookMs} of 1500 ms`);
      await receiver.settle([later], 'ack');
    },
  },
  {
    name: 'delay: delayed messages come in the order of their times',
    async run(trial) {
      const connection = await trial.open();
      if (connection.capabilities.maxDelayMs === 0) trial.skip('capabilities.maxDelayMs is 0: no delayed publishing');
      const queue = await trial.queue(connection);
      await connection.publish([delayed(queue, 'second', 2000), delayed(queue, 'first', 1000), toQueue(queue, 'now')]);
      // Alone, with nobody waiting while they become due, as a queue without workers has it.
      await connection.close();
      const next = await trial.open();
      const receiver = await trial.receive(next, queue);
      assert.deepEqual(textsOf(await receiver.take(3)), ['now', 'first', 'second']);
      await receiver.settle(receiver.unsettled, 'ack');
    },
  },
  {
    name: 'delay: inspect() counts a delayed message as waiting',
    async run(trial) {
      const connection = await trial.open();
      if (connection.capabilities.maxDelayMs === 0) trial.skip('capabilities.maxDelayMs is 0: no delayed publishing');
      const queue = await trial.queue(connection);
      await connection.publish([delayed(queue, 'later', 60_000), toQueue(queue, 'now')]);
      await trial.ready(connection, queue, 2);
    },
  },
  {
    name: 'delay: a delay beyond what the broker can keep is refused',
    async run(trial) {
      const connection = await trial.open();
      const { maxDelayMs } = connection.capabilities;
      const queue = await trial.queue(connection);
      const delayMs = maxDelayMs === 0 ? 1000 : maxDelayMs + 1000;
      await publishRejectsWith(
        connection.publish([delayed(queue, 'never', delayMs)]),
        ['ERR_UNSUPPORTED'],
        `publish() with a delay of ${delayMs} ms, where ${maxDelayMs} is the limit`,
      );
      const receiver = await trial.receive(connection, queue);
      await trial.barrier(connection);
      assert.deepEqual(textsOf(receiver.deliveries), [], 'what was refused came at once');
    },
  },
];

function delayed(queue: string, text: string, delayMs: number): Publication {
  return { ...toQueue(queue, text), delayMs };
}
