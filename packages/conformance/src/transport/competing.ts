import assert from 'node:assert/strict';
import { sameTexts } from '../expect.ts';
import { type Receiver, texts, textsOf, toQueue, type TransportTest } from './trial.ts';

export const competing: readonly TransportTest[] = [
  {
    name: 'competing: two sessions share a queue, none taken twice, none lost',
    async run(trial) {
      const publisher = await trial.open();
      const queue = await trial.queue(publisher);
      const sent = texts(600);
      const connections = [await trial.open(), await trial.open()];
      const receivers: Receiver[] = [];
      for (const connection of connections) receivers.push(await trial.receive(connection, queue, 10));
      const done = receivers.map(ackAll);
      for (let at = 0; at < sent.length; at += 50) {
        await publisher.publish(sent.slice(at, at + 50).map((text) => toQueue(queue, text)));
      }
      const taken = (): string[] => receivers.flatMap(({ deliveries }) => textsOf(deliveries));
      await trial.deadline.until(`${sent.length} deliveries`, () => new Set(taken()).size >= sent.length);
      for (const connection of connections) await trial.barrier(connection);
      sameTexts(taken(), sent, 'taken by both');
      for (const receiver of receivers) await receiver.consumer.cancel();
      for (const stop of done) await stop();
      assert.ok(
        receivers.every(({ deliveries }) => deliveries.length > 0),
        'one of the sessions got nothing',
      );
    },
  },
  {
    name: 'competing: two consumers of one session share a queue, none taken twice, none lost',
    async run(trial) {
      const connection = await trial.open();
      const queue = await trial.queue(connection);
      const sent = texts(300);
      const receivers = [await trial.receive(connection, queue, 5), await trial.receive(connection, queue, 5)];
      const done = receivers.map(ackAll);
      await connection.publish(sent.map((text) => toQueue(queue, text)));
      const taken = (): string[] => receivers.flatMap(({ deliveries }) => textsOf(deliveries));
      await trial.deadline.until(`${sent.length} deliveries`, () => new Set(taken()).size >= sent.length);
      await trial.barrier(connection);
      sameTexts(taken(), sent, 'taken by both');
      for (const stop of done) await stop();
    },
  },
  {
    name: 'competing: a session that holds its share leaves the rest to the others',
    async run(trial) {
      const slow = await trial.open();
      const queue = await trial.queue(slow);
      const holder = await trial.receive(slow, queue, 3);
      await slow.publish(texts(3, 'held').map((text) => toQueue(queue, text)));
      await holder.take(3);
      const quick = await trial.open();
      const other = await trial.receive(quick, queue, 20);
      await slow.publish(texts(20).map((text) => toQueue(queue, text)));
      const rest = await other.take(20);
      sameTexts(textsOf(rest), texts(20), 'taken by the other');
      await other.settle(rest, 'ack');
      assert.equal(holder.deliveries.length, 3);
      await holder.settle(holder.unsettled, 'ack');
    },
  },
];

/** Acks what comes, one by one and each in its own turn; the function waits for what is under way and stops. */
function ackAll(receiver: Receiver): () => Promise<void> {
  const stop = new AbortController();
  const loop = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      const [delivery] = receiver.unsettled;
      if (delivery === undefined) await new Promise((resolve) => setImmediate(resolve));
      else await receiver.settle([delivery], 'ack');
    }
    await receiver.settle(receiver.unsettled, 'ack');
  };
  const ended = loop();
  // A test that fails before it stops closes the connection under it.
  ended.catch(() => undefined);
  return async () => {
    stop.abort();
    await ended;
  };
}
