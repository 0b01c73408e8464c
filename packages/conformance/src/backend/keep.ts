import assert from 'node:assert/strict';
import { rejectsWith } from '../expect.ts';
import { type BackendTest, type BackendTrial, plain, type Store, write } from './trial.ts';

export const forget: readonly BackendTest[] = [
  {
    name: 'forget: what is forgotten is gone, the rest stays, and unknown ids are no error',
    async run(trial) {
      const { writer, reader } = await trial.pair();
      const [gone = '', stays = '', never = ''] = await trial.ids(reader, 3);
      await writer.backend.store(
        [gone, stays].map((id) => write(reader, { status: 'SUCCESS', result: id, task_id: id })),
      );
      for (const id of [gone, stays]) await trial.loaded(reader, id);
      await reader.backend.forget([gone, never]);
      await reader.backend.forget([]);
      const metas = await reader.backend.load([gone, stays, never]);
      assert.deepEqual(
        metas.map((meta) => meta?.task_id),
        [undefined, stays, undefined],
      );
    },
  },
  {
    name: 'forget: a task may be stored again after it',
    async run(trial) {
      const { writer, reader } = await trial.pair();
      const id = await trial.id(reader);
      await writer.backend.store([write(reader, { status: 'SUCCESS', result: 1, task_id: id })]);
      await trial.loaded(reader, id);
      await reader.backend.forget([id]);
      await reader.backend.expect([id]);
      await writer.backend.store([write(reader, { status: 'SUCCESS', result: 2, task_id: id })]);
      assert.equal((await trial.loaded(reader, id)).result, 2);
    },
  },
];

export const groups: readonly BackendTest[] = [
  {
    name: 'groups: a saved group is loaded by any process, and forgotten',
    async run(trial) {
      const { backend } = await trial.openShared();
      const id = trial.groupId();
      const tuple = [
        [id, null],
        [
          [['task-1', null], null],
          [['task-2', [['parent', null], null]], null],
        ],
      ];
      await backend.saveGroup(id, tuple);
      const other = await trial.open();
      assert.deepEqual(plain(await other.backend.loadGroup(id)), tuple);
      await other.backend.forgetGroup(id);
      assert.equal((await backend.loadGroup(id)) ?? null, null);
      await backend.forgetGroup(id);
    },
  },
  {
    name: 'groups: a group that was never saved is nothing',
    async run(trial) {
      const { backend } = await trial.openShared();
      assert.equal((await backend.loadGroup(trial.groupId())) ?? null, null);
    },
  },
  {
    name: 'groups: saving again replaces',
    async run(trial) {
      const { backend } = await trial.openShared();
      const id = trial.groupId();
      await backend.saveGroup(id, [[id, null], [[['a', null], null]]]);
      await backend.saveGroup(id, [[id, null], [[['b', null], null]]]);
      assert.deepEqual(plain(await backend.loadGroup(id)), [[id, null], [[['b', null], null]]]);
    },
  },
  {
    name: 'groups: a store that is not shared refuses them',
    async run(trial) {
      const { backend } = await trial.open();
      if (backend.capabilities.shared) trial.skip('capabilities.shared is true: groups are kept');
      const id = trial.groupId();
      await rejectsWith(backend.saveGroup(id, [[id, null], []]), 'ERR_UNSUPPORTED', 'saveGroup()');
      await rejectsWith(backend.loadGroup(id), 'ERR_UNSUPPORTED', 'loadGroup()');
    },
  },
];

export const expiry: readonly BackendTest[] = [
  {
    name: 'expiry: a result is gone after its time',
    patience: 2,
    async run(trial) {
      const expiresSeconds = trial.options.shortExpirySeconds ?? 1;
      const { writer, reader } = await trial.pair({ expiresSeconds });
      const id = await trial.id(reader);
      await writer.backend.store([write(reader, { status: 'SUCCESS', result: 'short', task_id: id })]);
      assert.equal((await trial.loaded(reader, id)).result, 'short');
      await trial.options.passTime?.(expiresSeconds);
      await gone(trial, reader, id);
    },
  },
  {
    name: 'expiry: a result without a time stays',
    patience: 2,
    async run(trial) {
      const expiresSeconds = trial.options.shortExpirySeconds ?? 1;
      const keeper = await trial.open({ expiresSeconds: undefined });
      const kept = await trial.id(keeper);
      await keeper.backend.store([write(keeper, { status: 'SUCCESS', result: 'kept', task_id: kept })]);
      await trial.loaded(keeper, kept);
      const reader = await trial.open({ expiresSeconds });
      if (reader.backend.capabilities.autoExpires) {
        // Gone is what was stored after it, with a time: so much time has passed.
        const id = await trial.id(reader);
        await reader.backend.store([write(reader, { status: 'SUCCESS', result: 'short', task_id: id })]);
        await trial.options.passTime?.(expiresSeconds);
        await gone(trial, reader, id);
      } else {
        // There the time is of the one who cleans up, not of the result.
        await keeper.backend.cleanup();
      }
      assert.equal((await trial.loaded(keeper, kept)).result, 'kept');
    },
  },
  {
    name: 'expiry: a group is gone after its time',
    patience: 2,
    async run(trial) {
      const expiresSeconds = trial.options.shortExpirySeconds ?? 1;
      const { backend } = await trial.openShared({ expiresSeconds });
      const id = trial.groupId();
      await backend.saveGroup(id, [[id, null], []]);
      assert.ok(await backend.loadGroup(id));
      await trial.options.passTime?.(expiresSeconds);
      await trial.deadline.until(`the group to expire after ${expiresSeconds} s`, async () => {
        if (!backend.capabilities.autoExpires) await backend.cleanup();
        return ((await backend.loadGroup(id)) ?? null) === null;
      });
    },
  },
  {
    name: 'expiry: cleanup() leaves alone what has time left',
    async run(trial) {
      const { writer, reader } = await trial.pair({ expiresSeconds: 3600 });
      const id = await trial.id(reader);
      await writer.backend.store([write(reader, { status: 'SUCCESS', result: 1, task_id: id })]);
      await trial.loaded(reader, id);
      await reader.backend.cleanup();
      await writer.backend.cleanup();
      assert.equal((await trial.loaded(reader, id)).result, 1);
    },
  },
];

/** Waits until the result has expired, and cleans up where the store does not. */
export async function gone(trial: BackendTrial, { backend }: Store, taskId: string): Promise<void> {
  await trial.deadline.until('the result to expire', async () => {
    if (!backend.capabilities.autoExpires) await backend.cleanup();
    const [meta] = await backend.load([taskId]);
    return meta === undefined;
  });
}
