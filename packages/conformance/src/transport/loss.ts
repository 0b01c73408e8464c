import assert from 'node:assert/strict';
import type { Connection } from '@lovage/core/transport';
import type { FaultyLink } from '../faulty-link.ts';
import { describe, publishRejectsWith, rejectsWith, sameTexts } from '../expect.ts';
import { textOf, texts, textsOf, toQueue, type TransportTest, type TransportTrial } from './trial.ts';

/** What is under way when a link breaks may be known as lost, or as unknown. */
const LOST = ['ERR_CONNECTION_LOST'] as const;

export const loss: readonly TransportTest[] = [
  ...(['cut', 'reset', 'halfClose'] as const).map(
    (fault): TransportTest => ({
      name: `loss: ${fault === 'halfClose' ? 'a half-closed' : fault === 'cut' ? 'a cut' : 'a reset'} link is said once, by every promise`,
      patience: 2,
      async run(trial) {
        await isLost(trial, (link) => link[fault]());
      },
    }),
  ),
  {
    name: 'loss: a silent peer is lost after two heartbeats',
    patience: 3,
    async run(trial) {
      const tookMs = await isLost(trial, (link) => link.stall());
      const limitMs = 2 * trial.heartbeatSeconds * 1000 + 2000;
      assert.ok(tookMs <= limitMs, `it took ${Math.round(tookMs)} ms, and ${limitMs} is the limit`);
    },
  },
  {
    name: 'loss: an idle link outlives many heartbeats',
    patience: 2,
    async run(trial) {
      const link = await trial.link();
      const connection = await trial.open({ link, heartbeatSeconds: trial.heartbeatSeconds });
      const queue = await trial.queue(connection);
      const receiver = await trial.receive(connection, queue, 1);
      // The promise is about this time: four heartbeats with nothing to say.
      const idleMs = trial.heartbeatSeconds * 4000;
      const lost = await Promise.race([
        connection.closed.then(
          () => 'closed',
          (error: unknown) => describe(error),
        ),
        new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), idleMs)),
      ]);
      assert.equal(lost, undefined, 'an idle session was lost');
      await connection.publish([toQueue(queue, 'm')]);
      await receiver.settle(await receiver.take(1), 'ack');
    },
  },
  {
    name: 'loss: what a lost session held comes again, and its late ack reaches nobody',
    patience: 3,
    async run(trial) {
      const options = { leaseMs: trial.shortLeaseMs };
      const admin = await trial.open(options);
      const queue = await trial.queue(admin);
      await admin.publish(texts(5).map((text) => toQueue(queue, text)));
      const link = await trial.link();
      const connection = await trial.open({ ...options, link });
      const receiver = await trial.receive(connection, queue, 5);
      const held = await receiver.take(5);
      link.cut();
      await lostPromise(trial, connection);
      await rejectsWith(receiver.settle(held, 'ack'), LOST, 'settle() after the loss');
      const heir = await trial.receive(admin, queue, 5);
      const again = await heir.take(5, 'what the lost session held');
      sameTexts(textsOf(again), texts(5), 'deliveries after the loss');
      await heir.settle(again, 'ack');
    },
  },
  {
    name: 'loss: no message whose publish resolved is missing, wherever the link is cut',
    patience: 4,
    async run(trial) {
      const admin = await trial.open();
      const queue = await trial.queue(admin);
      const link = await trial.link();
      const kept: string[] = [];
      const doubtful = new Set<string>();
      for (let round = 0; round < 16; round++) {
        const connection = await trial.open({ link });
        void link.cutAfter(1 + round * (round < 8 ? 37 : 311), round % 2 === 0 ? 'toServer' : 'toClient');
        const publishes = texts(20, `round${round}-`).map(async (text) => {
          try {
            await connection.publish([toQueue(queue, text)]);
            kept.push(text);
          } catch (error) {
            doubtful.add(text);
            await publishRejectsWith(Promise.reject(error), LOST, 'publish() over a link that is cut');
          }
        });
        await trial.deadline.of(Promise.all(publishes), `round ${round}: every publish() to end`);
        await link.resume();
        link.cut();
        await connection.close();
      }
      const drained = textsOf(await trial.drain(queue, kept));
      const missing = new Set(kept);
      for (const text of drained) missing.delete(text);
      sameTexts(missing, [], 'resolved and missing');
      assert.ok(doubtful.size > 0, 'no publish met the cut: this test has shown nothing');
    },
  },
  {
    name: 'loss: no message is missing, wherever the link of a consumer is cut',
    patience: 6,
    async run(trial) {
      const options = { leaseMs: trial.shortLeaseMs };
      const admin = await trial.open(options);
      const queue = await trial.queue(admin);
      const link = await trial.link();
      const sent: string[] = [];
      const acked = new Set<string>();
      for (let round = 0; round < 16; round++) {
        const batch = texts(10, `round${round}-`);
        sent.push(...batch);
        const connection = await trial.open({ ...options, link });
        const receiver = await trial.receive(connection, queue, 4);
        const cut = link.cutAfter(1 + round * 97, round % 2 === 0 ? 'toClient' : 'toServer');
        await admin.publish(batch.map((text) => toQueue(queue, text)));
        const acks = (async () => {
          for (let count = 0; count < 10; count++) {
            const delivery = await receiver.takeOne();
            acked.add(textOf(delivery));
            await receiver.settle([delivery], 'ack');
          }
        })().catch(() => {});
        await trial.deadline.of(Promise.race([acks, cut]), `round ${round}: ten acks or the cut`);
        await link.resume();
        link.cut();
        await connection.close();
      }
      // An ack under way at the cut may have arrived or not; what nobody began to ack has to be there.
      const left = sent.filter((text) => !acked.has(text));
      assert.ok(left.length > 0, 'no round met the cut: this test has shown nothing');
      await trial.drain(queue, left, options);
    },
  },
  {
    name: 'loss: bytes that come one by one, and late, are the same bytes',
    patience: 3,
    async run(trial) {
      const link = await trial.link();
      link.slice(1);
      const connection = await trial.open({ link, connectTimeoutMs: 20_000, heartbeatSeconds: 30 });
      const queue = await trial.queue(connection);
      const receiver = await trial.receive(connection, queue);
      await connection.publish(texts(5, 'sliced \u00e4\u{1f33f} ').map((text) => toQueue(queue, text)));
      const sliced = await receiver.take(5);
      sameTexts(textsOf(sliced), texts(5, 'sliced \u00e4\u{1f33f} '), 'deliveries');
      await receiver.settle(sliced, 'ack');
      await link.resume();
      link.delay(30);
      await connection.publish(texts(5).map((text) => toQueue(queue, text)));
      const late = await receiver.take(5);
      sameTexts(textsOf(late), texts(5), 'deliveries');
      await receiver.settle(late, 'ack');
    },
  },
  {
    name: 'loss: close() ends although the peer is silent',
    patience: 2,
    async run(trial) {
      const link = await trial.link();
      const connection = await trial.open({ link, heartbeatSeconds: trial.heartbeatSeconds });
      const queue = await trial.queue(connection);
      await connection.publish(texts(3).map((text) => toQueue(queue, text)));
      const receiver = await trial.receive(connection, queue, 2);
      await receiver.take(2);
      link.stall();
      const startedAt = performance.now();
      await trial.deadline.of(connection.close(), 'close() over a stalled link');
      const tookMs = performance.now() - startedAt;
      const limitMs = 2 * trial.heartbeatSeconds * 1000 + 5000;
      assert.ok(tookMs <= limitMs, `close() took ${Math.round(tookMs)} ms, and ${limitMs} is the limit`);
    },
  },
  {
    name: 'loss: connect() to nobody is a ConnectError',
    async run(trial) {
      const link = await trial.link();
      await link.refuse();
      await rejectsWith(trial.open({ link }), 'ERR_CONNECT', 'connect() to a port that nobody listens on');
    },
  },
  {
    name: 'loss: connect() to a silent peer ends in time',
    async run(trial) {
      const link = await trial.link();
      link.stall();
      const startedAt = performance.now();
      await rejectsWith(
        trial.open({ link, connectTimeoutMs: 1000 }),
        ['ERR_CONNECT', 'ERR_TIMEOUT'],
        'connect() to a silent peer',
      );
      const tookMs = performance.now() - startedAt;
      assert.ok(tookMs < 4000, `connect() with a timeout of 1000 ms took ${Math.round(tookMs)} ms`);
      await link.resume();
      await trial.deadline.until('nothing to be left open', () => link.connections === 0);
    },
  },
];

/** Holds what every promise of a session says after the fault; how long it took until `closed` did. */
async function isLost(trial: TransportTrial, fault: (link: FaultyLink) => void): Promise<number> {
  const link = await trial.link();
  const connection = await trial.open({ link, heartbeatSeconds: trial.heartbeatSeconds });
  const queue = await trial.queue(connection);
  const receiver = await trial.receive(connection, queue, 1);
  await connection.publish([toQueue(queue, 'm')]);
  const delivery = await receiver.takeOne();
  const startedAt = performance.now();
  const closed = lostPromise(trial, connection);
  const done = rejectsWith(receiver.consumer.done, LOST, '"done"');
  // Both are awaited below, after what may fail first.
  closed.catch(() => {});
  done.catch(() => {});
  fault(link);
  const publishing = Promise.allSettled([connection.publish([toQueue(queue, 'late')])]);
  await closed;
  const tookMs = performance.now() - startedAt;
  await trial.deadline.of(done, '"done" to reject');
  // It may have been confirmed before the fault, or through a link that is closed on one side only.
  const [late] = await trial.deadline.of(publishing, 'publish() under way to end');
  if (late.status === 'rejected') await publishRejectsWith(Promise.reject(late.reason), LOST, 'publish() under way');
  await rejectsWith(connection.settle([{ delivery, outcome: 'ack' }]), LOST, 'settle() after the loss');
  await publishRejectsWith(connection.publish([toQueue(queue, 'm')]), LOST, 'publish() after the loss');
  await rejectsWith(connection.declare({ queues: [{ name: queue }] }), LOST, 'declare() after the loss');
  await rejectsWith(connection.inspect(queue), LOST, 'inspect() after the loss');
  await rejectsWith(
    connection.consume([queue], () => {}, { prefetch: 1 }),
    LOST,
    'consume() after the loss',
  );
  await connection.close();
  await link.resume();
  await trial.deadline.until('the lost session to leave nothing open', () => link.connections === 0);
  return tookMs;
}

async function lostPromise(trial: TransportTrial, connection: Connection): Promise<void> {
  await trial.deadline.of(rejectsWith(connection.closed, LOST, '"closed"'), '"closed" to reject');
}
