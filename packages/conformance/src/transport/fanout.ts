import assert from 'node:assert/strict';
import { rejectsWith, sameTexts } from '../expect.ts';
import { textMessage, texts, textsOf, type TransportTest, type TransportTrial } from './trial.ts';

export const fanout: readonly TransportTest[] = [
  {
    name: 'fanout: every consumer of every session gets its copy',
    async run(trial) {
      const { exchange, queues } = await declareFanout(trial, 3);
      const sessions = [await trial.open(), await trial.open(), await trial.open()];
      const publisher = await trial.open();
      if (!publisher.capabilities.fanout) trial.skip('capabilities.fanout is false: fanout stays within a session');
      const receivers = [];
      for (const [index, session] of sessions.entries())
        receivers.push(await trial.receive(session, queues[index] ?? ''));
      // Consuming first: a native broadcast keeps nothing for who is not there yet.
      await publisher.publish(texts(10).map((text) => ({ exchange, routingKey: '', message: textMessage(text) })));
      for (const [index, receiver] of receivers.entries()) {
        const copies = await receiver.take(10, `ten copies in session ${index}`);
        sameTexts(textsOf(copies), texts(10), `copies in session ${index}`);
        await receiver.settle(copies, 'ack');
      }
      for (const [index, session] of sessions.entries()) {
        await trial.barrier(session);
        assert.equal(receivers[index]?.deliveries.length, 10, `copies in session ${index}`);
      }
    },
  },
  {
    name: 'fanout: a consumer that ended gets no more, and the others do',
    async run(trial) {
      const { exchange, queues } = await declareFanout(trial, 2);
      const connection = await trial.open();
      const other = await trial.open();
      if (!connection.capabilities.fanout) trial.skip('capabilities.fanout is false: fanout stays within a session');
      const ending = await trial.receive(connection, queues[0] ?? '');
      const staying = await trial.receive(other, queues[1] ?? '');
      const publish = (text: string) => connection.publish([{ exchange, routingKey: '', message: textMessage(text) }]);
      await publish('one');
      await ending.settle(await ending.take(1), 'ack');
      await staying.settle(await staying.take(1), 'ack');
      await ending.consumer.cancel();
      await publish('two');
      sameTexts(textsOf(await staying.take(1)), ['two'], 'the second message');
      await trial.barrier(connection);
      assert.equal(ending.deliveries.length, 1, 'deliveries after cancel()');
      await staying.settle(staying.unsettled, 'ack');
    },
  },
  {
    name: 'fanout: within a session it works, or is refused when it is declared',
    async run(trial) {
      const connection = await trial.open();
      const exchange = trial.name('fanout');
      const queues = [trial.name('queue'), trial.name('queue')];
      const topology = {
        exchanges: [{ name: exchange, type: 'fanout' as const }],
        queues: queues.map((name) => ({ name })),
        bindings: queues.map((queue) => ({ exchange, queue, routingKey: '' })),
      };
      const [declared] = await Promise.allSettled([trial.declare(connection, topology)]);
      if (declared.status === 'rejected') {
        assert.equal(connection.capabilities.fanout, false, 'fanout is claimed and refused');
        await rejectsWith(Promise.reject(declared.reason), 'ERR_UNSUPPORTED', 'declare() of a fanout exchange');
        trial.isRefused = true;
        return;
      }
      const receivers = [
        await trial.receive(connection, queues[0] ?? ''),
        await trial.receive(connection, queues[1] ?? ''),
      ];
      await connection.publish([{ exchange, routingKey: 'any', message: textMessage('m') }]);
      for (const receiver of receivers) {
        const copies = await receiver.take(1);
        sameTexts(textsOf(copies), ['m'], 'copies');
        await receiver.settle(copies, 'ack');
      }
    },
  },
];

/** By a session that stays open, or is closed with the trial; every session opened later declares it too. */
async function declareFanout(trial: TransportTrial, count: number) {
  const first = await trial.open();
  if (!first.capabilities.fanout) trial.skip('capabilities.fanout is false: fanout stays within a session');
  return trial.exchange(
    first,
    'fanout',
    Array.from({ length: count }, () => ''),
  );
}
