import assert from 'node:assert/strict';
import type { Connection } from '@lovage/core/transport';
import { sameTexts } from '../expect.ts';
import { texts, textsOf, toQueue, type TransportTest, type TransportTrial } from './trial.ts';

const REASON = new Error('aborted by the conformance kit');

export const abort: readonly TransportTest[] = [
  {
    name: 'abort: connect() with an aborted signal rejects with its reason',
    async run(trial) {
      await rejectsWithReason(trial.open({ signal: AbortSignal.abort(REASON) }), 'connect() with an aborted signal');
    },
  },
  {
    name: 'abort: connect() that waits rejects with the reason, and leaves nothing open',
    async run(trial) {
      const link = await trial.link();
      link.stall();
      const controller = new AbortController();
      const connecting = trial.open({ link, signal: controller.signal, connectTimeoutMs: 60_000 });
      const rejected = rejectsWithReason(connecting, 'connect() while the broker is silent');
      await trial.deadline.until('the link to be asked for', () => link.connections > 0);
      controller.abort(REASON);
      await rejected;
      await link.resume();
      await trial.deadline.until('the aborted connect() to leave nothing open', () => link.connections === 0);
    },
  },
  {
    name: 'abort: connect() aborted at any moment leaves the broker usable',
    async run(trial) {
      for (let turns = 0; turns < 20; turns++) {
        const controller = new AbortController();
        const connecting = trial.open({ signal: controller.signal });
        const outcome = connecting.then(
          (connection) => connection,
          (error: unknown) => error,
        );
        await pass(turns);
        controller.abort(REASON);
        const result = await trial.deadline.of(outcome, 'connect() after it was aborted');
        if (result instanceof Error) assert.equal(result, REASON, 'what an aborted connect() rejects with');
        else await (await connecting).close();
      }
      const connection = await trial.open();
      await connection.publish([toQueue(await trial.queue(connection), 'm')]);
    },
  },
  {
    name: 'abort: publish() ends its waiting with the reason, and the session lives on',
    async run(trial) {
      const connection = await trial.open();
      const queue = await trial.queue(connection);
      const kept: string[] = [];
      const doubtful: string[] = [];
      for (let turns = 0; turns < 20; turns++) {
        const controller = new AbortController();
        const batch = texts(5, `turn${turns}-`);
        const publishing = connection
          .publish(
            batch.map((text) => toQueue(queue, text)),
            { signal: controller.signal },
          )
          .then(
            () => kept.push(...batch),
            (error: unknown) => {
              assert.equal(error, REASON, 'what an aborted publish() rejects with');
              doubtful.push(...batch);
            },
          );
        await pass(turns);
        controller.abort(REASON);
        await trial.deadline.of(publishing, 'publish() after it was aborted');
      }
      await rejectsWithReason(
        connection.publish([toQueue(queue, 'early')], { signal: AbortSignal.abort(REASON) }),
        'publish() with an aborted signal',
      );
      doubtful.push('early');
      await connection.publish([toQueue(queue, 'last')]);
      const drained = textsOf(await trial.drain(queue, [...kept, 'last']));
      assert.equal(new Set(drained).size, drained.length, 'a message came twice');
      sameTexts(
        drained.filter((text) => !doubtful.includes(text)),
        [...kept, 'last'],
        'deliveries',
      );
    },
  },
  {
    name: 'abort: cancel() at any moment loses nothing',
    async run(trial) {
      await interrupted(trial, async (consuming) => {
        await consuming.cancel();
      });
    },
  },
  {
    name: 'abort: close() at any moment loses nothing',
    async run(trial) {
      await interrupted(trial, async (consuming) => {
        await consuming.close();
      });
    },
  },
];

interface Consuming {
  cancel(): Promise<void>;
  close(): Promise<void>;
}

/** Publishes to a consumer that is ended some turns of the event loop later, again and again, each time a turn later. */
async function interrupted(trial: TransportTrial, end: (consuming: Consuming) => Promise<void>): Promise<void> {
  const publisher = await trial.open();
  const queue = await trial.queue(publisher);
  const sent: string[] = [];
  const acked: string[] = [];
  for (let turns = 0; turns < 40; turns++) {
    const connection = await trial.open();
    // Without a limit it never stops to fetch: every message is one that it may be taking just then.
    const receiver = await trial.receive(connection, queue, 0);
    const batch = texts(4, `turn${turns}-`);
    sent.push(...batch);
    const publishing = publishOneByOne(publisher, queue, batch);
    publishing.catch(() => {}); // awaited below, after what may fail first
    await pass(turns);
    await end({
      cancel: async () => {
        await receiver.consumer.cancel();
        const count = receiver.deliveries.length;
        await publishing;
        await pass(2);
        assert.equal(receiver.deliveries.length, count, 'deliveries after cancel()');
        // One of each outcome, so that messages pass through all of them while consumers come and go.
        const [first, ...others] = receiver.unsettled;
        if (first !== undefined) {
          acked.push(...textsOf([first]));
          await receiver.settle([first], 'ack');
        }
        await receiver.settle(others, 'requeue');
      },
      close: () => connection.close(),
    });
    await publishing;
    await connection.close();
  }
  const left = sent.filter((text) => !acked.includes(text));
  sameTexts(textsOf(await trial.drain(queue, left)), left, 'what was left');
}

async function publishOneByOne(connection: Connection, queue: string, batch: readonly string[]): Promise<void> {
  for (const text of batch) await connection.publish([toQueue(queue, text)]);
}

async function rejectsWithReason(promise: Promise<unknown>, what: string): Promise<void> {
  const [result] = await Promise.allSettled([promise]);
  if (result.status === 'fulfilled') assert.fail(`${what}: expected a rejection, but it resolved`);
  assert.equal(result.reason, REASON, `${what}: expected the reason of the signal, got ${String(result.reason)}`);
}

/** So many turns of the event loop. */
async function pass(turns: number): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
}
