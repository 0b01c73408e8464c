import assert from 'node:assert/strict';
import { type BackendTest, write } from './trial.ts';

const EXCEPTION = { exc_type: 'WorkerLostError', exc_message: ['late'], exc_module: 'billiard.exceptions' };

export const success: readonly BackendTest[] = [
  {
    name: 'success: no later state overwrites it',
    async run(trial) {
      const { writer, reader } = await trial.pair();
      const later = ['FAILURE', 'RETRY', 'STARTED', 'REVOKED', 'PROGRESS', 'SUCCESS'];
      const ids = await trial.ids(reader, later.length);
      const zombie = await trial.open();
      await writer.backend.store(ids.map((id) => write(reader, { status: 'SUCCESS', result: 'first', task_id: id })));
      for (const id of ids) await trial.loaded(reader, id);
      // Of another process, and one by one: the late worker knows nothing of the first one.
      for (const [index, status] of later.entries()) {
        const result = ['FAILURE', 'RETRY', 'REVOKED'].includes(status) ? EXCEPTION : 'second';
        await zombie.backend.store([write(reader, { status, result, task_id: ids[index] as string })]);
      }
      await trial.barrier(zombie, reader);
      for (const [index, id] of ids.entries()) {
        const { status, result } = await trial.loaded(reader, id);
        assert.deepEqual([status, result], ['SUCCESS', 'first'], `after ${later[index]}`);
      }
    },
  },
  {
    name: 'success: nothing that follows in its batch or its tick overwrites it',
    async run(trial) {
      const { writer, reader } = await trial.pair();
      const [batch = '', tick = ''] = await trial.ids(reader, 2);
      await writer.backend.store([
        write(reader, { status: 'SUCCESS', result: 'first', task_id: batch }),
        write(reader, { status: 'FAILURE', result: EXCEPTION, task_id: batch }),
      ]);
      await Promise.all([
        writer.backend.store([write(reader, { status: 'SUCCESS', result: 'first', task_id: tick })]),
        writer.backend.store([write(reader, { status: 'RETRY', result: EXCEPTION, task_id: tick })]),
        writer.backend.store([write(reader, { status: 'FAILURE', result: EXCEPTION, task_id: tick })]),
      ]);
      await trial.barrier(writer, reader);
      for (const id of [batch, tick]) {
        const { status, result } = await trial.loaded(reader, id);
        assert.deepEqual([status, result], ['SUCCESS', 'first']);
      }
    },
  },
  {
    name: 'success: no state that another process stores at the same time overwrites it',
    async run(trial) {
      const { writer, reader } = await trial.pair();
      const zombie = await trial.open();
      const ids = await trial.ids(reader, 60);
      for (const [index, id] of ids.entries()) {
        const good = () => writer.backend.store([write(reader, { status: 'SUCCESS', result: id, task_id: id })]);
        const late = () => zombie.backend.store([write(reader, { status: 'FAILURE', result: EXCEPTION, task_id: id })]);
        await Promise.all(index % 2 === 0 ? [good(), late()] : [late(), good()]);
      }
      await trial.barrier(writer, reader);
      await trial.barrier(zombie, reader);
      for (const id of ids) {
        const { status, result } = await trial.loaded(
          reader,
          id,
          (meta) => meta.status === 'SUCCESS' || reader.backend.capabilities.shared,
        );
        assert.deepEqual([status, result], ['SUCCESS', id]);
      }
    },
  },
  {
    name: 'success: an end stays when a state arrives late that the task was in before',
    async run(trial) {
      const worker = await trial.openShared();
      const zombie = await trial.open();
      const ends = ['FAILURE', 'REVOKED', 'SUCCESS'];
      const states = ['STARTED', 'RETRY', 'PROGRESS'];
      const cases = ends.flatMap((end) => states.map((state) => ({ end, state })));
      const ids = await trial.ids(worker, cases.length);
      const written = (status: string, id: string) =>
        write(worker, { status, result: status === 'SUCCESS' ? 1 : EXCEPTION, task_id: id });
      await worker.backend.store(cases.map(({ end }, index) => written(end, ids[index] as string)));
      const beforeMs = Date.now() - 5000;
      // Of the same process, whose first link was lost with the write, and of another one.
      for (const { backend } of [worker, zombie]) {
        await backend.store(
          cases.map(({ state }, index) => ({ ...written(state, ids[index] as string), at: beforeMs })),
        );
        const seen = (await worker.backend.load(ids)).map((meta) => meta?.status);
        assert.deepEqual(
          seen,
          cases.map(({ end }) => end),
        );
      }
      // A task that is sent again shows how far it is.
      const again = ids.slice(0, 2 * states.length);
      const afterMs = Date.now() + 5000;
      await zombie.backend.store(again.map((id) => ({ ...written('PROGRESS', id), at: afterMs })));
      const seen = (await worker.backend.load(again)).map((meta) => meta?.status);
      assert.deepEqual(
        seen,
        again.map(() => 'PROGRESS'),
      );
    },
  },
  {
    name: 'success: it overwrites a failure',
    async run(trial) {
      const { writer, reader } = await trial.pair();
      const id = await trial.id(reader);
      await writer.backend.store([write(reader, { status: 'FAILURE', result: EXCEPTION, task_id: id })]);
      // Of a message that was read nobody promises another look at its queue.
      if (reader.backend.capabilities.shared) assert.equal((await trial.loaded(reader, id)).status, 'FAILURE');
      await writer.backend.store([write(reader, { status: 'SUCCESS', result: 'after all', task_id: id })]);
      const { result } = await trial.loaded(reader, id, ({ status }) => status === 'SUCCESS');
      assert.equal(result, 'after all');
    },
  },
];
