import assert from 'node:assert/strict';
import { describe, publishRejectsWith, rejectsWith, sameTexts } from '../expect.ts';
import { texts, textsOf, toQueue, type TransportTest } from './trial.ts';

export const close: readonly TransportTest[] = [
  {
    name: 'close: resolves "closed" and every "done", and twice is fine',
    async run(trial) {
      const connection = await trial.open();
      const queue = await trial.queue(connection);
      const receiver = await trial.receive(connection, queue, 1);
      await Promise.all([connection.close(), connection.close()]);
      await connection.close();
      await trial.deadline.of(connection.closed, '"closed" to resolve');
      await trial.deadline.of(receiver.consumer.done, '"done" to resolve');
      await connection[Symbol.asyncDispose]();
    },
  },
  {
    name: 'close: every call after it is a ClosedError',
    async run(trial) {
      const connection = await trial.open();
      const queue = await trial.queue(connection);
      await connection.publish([toQueue(queue, 'm')]);
      const receiver = await trial.receive(connection, queue, 1);
      const delivery = await receiver.takeOne();
      await connection.close();
      await publishRejectsWith(connection.publish([toQueue(queue, 'm')]), ['ERR_CLOSED'], 'publish()');
      await rejectsWith(
        connection.consume([queue], () => {}, { prefetch: 1 }),
        'ERR_CLOSED',
        'consume()',
      );
      await rejectsWith(connection.settle([{ delivery, outcome: 'ack' }]), 'ERR_CLOSED', 'settle()');
      await rejectsWith(connection.declare({ queues: [{ name: queue }] }), 'ERR_CLOSED', 'declare()');
      await rejectsWith(connection.inspect(queue), 'ERR_CLOSED', 'inspect()');
      await rejectsWith(connection.purge(queue), 'ERR_CLOSED', 'purge()');
      await rejectsWith(connection.remove({ queues: [{ name: queue }] }), 'ERR_CLOSED', 'remove()');
    },
  },
  {
    name: 'close: gives back what is unsettled, at once',
    async run(trial) {
      const connection = await trial.open();
      const queue = await trial.queue(connection);
      const sent = texts(8);
      await connection.publish(sent.map((text) => toQueue(queue, text)));
      const receiver = await trial.receive(connection, queue, 6);
      const [acked] = await receiver.take(6);
      assert.ok(acked);
      await receiver.settle([acked], 'ack');
      const left = sent.filter((text) => text !== textsOf([acked])[0]);
      const startedAt = performance.now();
      await connection.close();
      const next = await trial.open();
      const after = await trial.receive(next, queue);
      const again = await after.take(left.length, 'what close() gave back');
      const { leaseMs } = next.capabilities;
      const tookMs = performance.now() - startedAt;
      assert.ok(leaseMs === 0 || tookMs < leaseMs, `it took ${tookMs} ms, which is no less than the lease`);
      sameTexts(textsOf(again), left, 'given back');
      await after.settle(again, 'ack');
    },
  },
  {
    name: 'close: keeps every message whose publish resolved',
    async run(trial) {
      const kept: string[] = [];
      const admin = await trial.open();
      const queue = await trial.queue(admin);
      for (let round = 0; round < 5; round++) {
        const connection = await trial.open();
        const publishes = texts(40, `round${round}-`).map(async (text) => {
          await connection.publish([toQueue(queue, text)]);
          kept.push(text);
        });
        const outcomes = Promise.allSettled(publishes);
        for (let turn = 0; turn < round; turn++) await new Promise((resolve) => setImmediate(resolve));
        await connection.close();
        for (const outcome of await trial.deadline.of(outcomes, 'publishes under way at close()')) {
          if (outcome.status === 'fulfilled') continue;
          const { code } = outcome.reason as { code?: string };
          assert.ok(
            code === 'ERR_CLOSED' || code === 'ERR_PUBLISH' || code === 'ERR_CONNECTION_LOST',
            `publish() at close() rejected with ${describe(outcome.reason)}`,
          );
        }
      }
      const drained = textsOf(await trial.drain(queue, kept));
      assert.equal(new Set(drained).size, drained.length, 'a message came twice');
    },
  },
  {
    name: 'close: with work in flight and more arriving loses nothing',
    async run(trial) {
      const publisher = await trial.open();
      const queue = await trial.queue(publisher);
      const sent: string[] = [];
      const settled: string[] = [];
      for (let round = 0; round < 8; round++) {
        const batch = texts(20, `round${round}-`);
        sent.push(...batch);
        const connection = await trial.open();
        const receiver = await trial.receive(connection, queue, 5);
        const publishing = publisher.publish(batch.map((text) => toQueue(queue, text)));
        publishing.catch(() => {}); // awaited below, after what may fail first
        if (round % 2 === 0) {
          const delivery = await receiver.takeOne();
          await receiver.settle([delivery], 'ack');
          settled.push(...textsOf([delivery]));
        }
        for (let turn = 0; turn < round; turn++) await new Promise((resolve) => setImmediate(resolve));
        await connection.close();
        await publishing;
      }
      const left = sent.filter((text) => !settled.includes(text));
      sameTexts(textsOf(await trial.drain(queue, left)), left, 'left after all');
    },
  },
];
