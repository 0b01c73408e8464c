import assert from 'node:assert/strict';
import { type BackendTest, sameMeta, write } from './trial.ts';

export const subscribe: readonly BackendTest[] = [
  {
    name: 'subscribe: what is stored after it resolved is told',
    async run(trial) {
      const { writer, reader } = await trial.pair();
      const id = await trial.id(reader);
      const watcher = await trial.watch(reader, [id]);
      const states = ['STARTED', 'PROGRESS', 'SUCCESS'];
      for (const status of states) {
        const one = write(reader, { status, result: { of: status }, task_id: id });
        await writer.backend.store([one]);
        // A store that polls may see the last one only.
        if (reader.backend.capabilities.notifies || status === 'SUCCESS') {
          sameMeta(await watcher.until(`the state ${status}`, (meta) => meta.status === status), one.meta);
        }
      }
      const seen = watcher.statesOf(id);
      assert.deepEqual(
        seen,
        states.filter((status) => seen.includes(status)),
        'the order of the states',
      );
      assert.equal(seen.at(-1), 'SUCCESS', 'the last state');
    },
  },
  {
    name: 'subscribe: subscribing and then loading misses no result, whenever it is stored',
    async run(trial) {
      const { writer, reader } = await trial.pair();
      const ids = await trial.ids(reader, 60);
      await Promise.all(
        ids.map(async (id, index) => {
          const storing = pass(index % 20).then(() =>
            writer.backend.store([write(reader, { status: 'SUCCESS', result: id, task_id: id })]),
          );
          const watcher = await trial.watch(reader, [id]);
          const [kept] = await reader.backend.load([id]);
          if (kept === undefined) await watcher.until(`the result of task ${index}`, (meta) => meta.task_id === id);
          await storing;
        }),
      );
    },
  },
  {
    name: 'subscribe: one at a time, what is stored between subscribing and loading is not missed',
    async run(trial) {
      const { writer, reader } = await trial.pair();
      const ids = await trial.ids(reader, 12);
      for (const id of ids) {
        const watcher = await trial.watch(reader, [id]);
        await writer.backend.store([write(reader, { status: 'SUCCESS', result: id, task_id: id })]);
        const meta = await watcher.until('the result', ({ task_id }) => task_id === id);
        assert.equal(meta.result, id);
        watcher.subscription.unsubscribe();
      }
    },
  },
  {
    name: 'subscribe: one subscription may have a thousand tasks',
    async run(trial) {
      const { writer, reader } = await trial.pair();
      const ids = await trial.ids(reader, 1000);
      const watcher = await trial.watch(reader, ids);
      for (let at = 0; at < ids.length; at += 100) {
        const writes = ids
          .slice(at, at + 100)
          .map((id) => write(reader, { status: 'SUCCESS', result: id, task_id: id }));
        await writer.backend.store(writes);
      }
      await trial.deadline.until(
        'a thousand results',
        () => new Set(watcher.seen.map((meta) => meta.task_id)).size === 1000,
      );
      for (const meta of watcher.seen) assert.equal(meta.result, meta.task_id);
    },
  },
  {
    name: 'subscribe: many subscriptions are each told their own',
    async run(trial) {
      const { writer, reader } = await trial.pair();
      const ids = await trial.ids(reader, 200);
      const watchers = await Promise.all(ids.map((id) => trial.watch(reader, [id])));
      await Promise.all(
        ids.map((id) => writer.backend.store([write(reader, { status: 'SUCCESS', result: id, task_id: id })])),
      );
      for (const [index, watcher] of watchers.entries()) {
        await watcher.until(`the result of subscription ${index}`, (meta) => meta.task_id === ids[index]);
        assert.ok(
          watcher.seen.every((meta) => meta.task_id === ids[index]),
          'a state of another task was told',
        );
      }
    },
  },
  {
    name: 'subscribe: two subscriptions to one task are both told, and ending one leaves the other',
    async run(trial) {
      const { writer, reader } = await trial.pair();
      const id = await trial.id(reader);
      const one = await trial.watch(reader, [id]);
      const other = await trial.watch(reader, [id]);
      await writer.backend.store([write(reader, { status: 'STARTED', task_id: id })]);
      for (const watcher of [one, other]) await watcher.until('STARTED', ({ status }) => status === 'STARTED');
      one.subscription.unsubscribe();
      one.subscription.unsubscribe();
      await writer.backend.store([write(reader, { status: 'SUCCESS', task_id: id })]);
      await other.until('SUCCESS', ({ status }) => status === 'SUCCESS');
      await trial.barrier(writer, reader);
      assert.ok(!one.statesOf(id).includes('SUCCESS'), 'told after unsubscribe()');
    },
  },
  {
    name: 'subscribe: after unsubscribe() nothing is told, and the store goes on',
    async run(trial) {
      const { writer, reader } = await trial.pair();
      const [ended = '', next = ''] = await trial.ids(reader, 2);
      const watcher = await trial.watch(reader, [ended]);
      watcher.subscription.unsubscribe();
      await writer.backend.store([write(reader, { status: 'SUCCESS', task_id: ended })]);
      await trial.barrier(writer, reader);
      assert.deepEqual(watcher.seen, []);
      // The same task again, and another.
      const again = await trial.watch(reader, [ended, next]);
      await writer.backend.store([write(reader, { status: 'SUCCESS', task_id: next })]);
      await again.until('the state of the other task', ({ task_id }) => task_id === next);
    },
  },
];

/** So many turns of the event loop. */
async function pass(turns: number): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
}
