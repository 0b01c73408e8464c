import assert from 'node:assert/strict';
import { rejectsWith } from '../expect.ts';
import { type BackendTest, write } from './trial.ts';

export const close: readonly BackendTest[] = [
  {
    name: 'close: twice is fine, and every call after it is a ClosedError',
    async run(trial) {
      const store = await trial.open();
      const { backend } = store;
      const id = await trial.id(store);
      await trial.watch(store, [id]);
      await Promise.all([backend.close(), backend.close()]);
      await backend.close();
      await backend[Symbol.asyncDispose]();
      await rejectsWith(backend.store([write(store, { status: 'SUCCESS', task_id: id })]), 'ERR_CLOSED', 'store()');
      await rejectsWith(backend.load([id]), 'ERR_CLOSED', 'load()');
      await rejectsWith(
        backend.subscribe([id], () => {}),
        'ERR_CLOSED',
        'subscribe()',
      );
      await rejectsWith(backend.forget([id]), 'ERR_CLOSED', 'forget()');
    },
  },
  {
    name: 'close: keeps every result whose store() resolved',
    async run(trial) {
      const { reader } = await trial.pair();
      for (let turns = 0; turns < 4; turns++) {
        const writer = await trial.open();
        const ids = await trial.ids(reader, 30);
        const kept: string[] = [];
        const storing = ids.map(async (id) => {
          await writer.backend.store([write(reader, { status: 'SUCCESS', result: id, task_id: id })]);
          kept.push(id);
        });
        const outcomes = Promise.allSettled(storing);
        for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
        await writer.backend.close();
        for (const outcome of await trial.deadline.of(outcomes, 'store() under way at close()')) {
          if (outcome.status === 'fulfilled') continue;
          await rejectsWith(
            Promise.reject(outcome.reason),
            ['ERR_CLOSED', 'ERR_CONNECTION_LOST'],
            'store() under way at close()',
          );
        }
        for (const id of kept) assert.equal((await trial.loaded(reader, id)).result, id);
      }
    },
  },
  {
    name: 'close: tells nothing afterwards, and leaves other stores alone',
    async run(trial) {
      const { writer, reader } = await trial.pair();
      const closing = await trial.open();
      const own = await trial.id(closing);
      const id = await trial.id(reader);
      const ended = await trial.watch(closing, [own]);
      const watcher = await trial.watch(reader, [id]);
      await closing.backend.close();
      await writer.backend.store([
        write(closing, { status: 'SUCCESS', task_id: own }),
        write(reader, { status: 'SUCCESS', task_id: id }),
      ]);
      await watcher.until('the result', ({ task_id }) => task_id === id);
      await trial.barrier(writer, reader);
      assert.deepEqual(ended.seen, []);
    },
  },
];
