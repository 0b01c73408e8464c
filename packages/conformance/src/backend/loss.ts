import assert from 'node:assert/strict';
import { rejectsWith } from '../expect.ts';
import { type BackendTest, type BackendTrial, type Store, write } from './trial.ts';

const LOST = ['ERR_CONNECTION_LOST', 'ERR_CONNECT', 'ERR_TIMEOUT'] as const;

/** What every call may take, and what a busy machine adds. */
const CALL_MS = 10_000;
const SLACK_MS = 3000;

export const loss: readonly BackendTest[] = [
  ...(['cut', 'reset'] as const).map(
    (fault): BackendTest => ({
      name: `loss: after a link is ${fault} the store heals by itself`,
      patience: 2,
      async run(trial) {
        const direct = await trial.openShared();
        const link = await trial.link();
        const store = await trial.open({ link });
        const [before = '', after = ''] = await trial.ids(store, 2);
        await store.backend.store([write(store, { status: 'SUCCESS', result: 1, task_id: before })]);
        for (let round = 0; round < 3; round++) {
          link[fault]();
          await healed(trial, store, before);
        }
        await store.backend.store([write(store, { status: 'SUCCESS', result: 2, task_id: after })]);
        assert.equal((await trial.loaded(direct, after)).result, 2);
      },
    }),
  ),
  {
    name: 'loss: what is stored while a subscription has no link is told when it has one again',
    patience: 2,
    async run(trial) {
      const writer = await trial.openShared();
      const link = await trial.link();
      const reader = await trial.open({ link });
      const [missed = '', later = ''] = await trial.ids(reader, 2);
      const watcher = await trial.watch(reader, [missed, later]);
      await link.refuse();
      link.cut();
      await writer.backend.store([write(reader, { status: 'SUCCESS', result: 'missed', task_id: missed })]);
      await link.resume();
      const told = await watcher.until('what was stored without a link', ({ task_id }) => task_id === missed);
      assert.equal(told.result, 'missed');
      await writer.backend.store([write(reader, { status: 'SUCCESS', result: 'later', task_id: later })]);
      await watcher.until('what was stored afterwards', ({ task_id }) => task_id === later);
    },
  },
  {
    name: 'loss: of many who wait everybody is told what is stored before, while and after the link is gone',
    patience: 3,
    async run(trial) {
      const writer = await trial.openShared();
      const link = await trial.link();
      const reader = await trial.open({ link });
      const ids = await trial.ids(reader, 300);
      const watchers = await Promise.all(ids.map((id) => trial.watch(reader, [id])));
      const store = (from: number, to: number) =>
        writer.backend.store(ids.slice(from, to).map((id) => write(reader, { status: 'SUCCESS', task_id: id })));
      await store(0, 100);
      await link.refuse();
      link.cut();
      await store(100, 200);
      await link.resume();
      await store(200, 300);
      for (const [index, watcher] of watchers.entries()) {
        await watcher.until(`result ${index} of ${ids.length}`, ({ task_id }) => task_id === ids[index]);
      }
    },
  },
  {
    name: 'loss: no result whose store() resolved is missing, wherever the link is cut',
    patience: 4,
    async run(trial) {
      const direct = await trial.openShared();
      const link = await trial.link();
      const kept: string[] = [];
      let failed = 0;
      const ids = await trial.ids(direct, 160);
      for (let round = 0; round < 16; round++) {
        const store = await trial.open({ link });
        void link.cutAfter(1 + round * (round < 8 ? 41 : 409), round % 2 === 0 ? 'toServer' : 'toClient');
        await Promise.all(
          ids.slice(round * 10, round * 10 + 10).map(async (id) => {
            try {
              await store.backend.store([write(direct, { status: 'SUCCESS', result: id, task_id: id })]);
              kept.push(id);
            } catch (error) {
              failed++;
              await rejectsWith(Promise.reject(error), LOST, 'store() over a link that is cut');
            }
          }),
        );
        await link.resume();
        await store.backend.close();
      }
      const metas = await direct.backend.load(kept);
      assert.deepEqual(
        metas.map((meta) => meta?.result),
        kept,
      );
      assert.ok(failed + kept.length === ids.length);
    },
  },
  {
    name: 'loss: every call ends although the server is silent',
    patience: 3,
    async run(trial) {
      await trial.openShared();
      const link = await trial.link();
      const store = await trial.open({ link });
      const id = await trial.id(store);
      await store.backend.store([write(store, { status: 'STARTED', task_id: id })]);
      link.stall();
      const startedAt = performance.now();
      const { backend } = store;
      const calls = [
        rejectsWith(backend.store([write(store, { status: 'SUCCESS', task_id: id })]), LOST, 'store()'),
        rejectsWith(backend.load([id]), LOST, 'load()'),
        rejectsWith(backend.forget([id]), LOST, 'forget()'),
        rejectsWith(backend.loadGroup(trial.groupId()), LOST, 'loadGroup()'),
      ];
      await trial.deadline.of(Promise.all(calls), 'calls to a silent server to reject');
      const tookMs = performance.now() - startedAt;
      assert.ok(tookMs < CALL_MS + SLACK_MS, `the calls took ${Math.round(tookMs)} ms, and ${CALL_MS} is the limit`);
      await link.resume();
      link.cut();
      await healed(trial, store, id);
    },
  },
  {
    name: 'loss: close() ends although the server is silent',
    patience: 2,
    async run(trial) {
      await trial.openShared();
      const link = await trial.link();
      const { backend } = await trial.open({ link });
      link.stall();
      const startedAt = performance.now();
      await trial.deadline.of(backend.close(), 'close() with a silent server');
      const tookMs = performance.now() - startedAt;
      assert.ok(tookMs < CALL_MS + SLACK_MS, `close() took ${Math.round(tookMs)} ms, and ${CALL_MS} is the limit`);
    },
  },
  {
    name: 'loss: opening a store that nobody serves is a ConnectError',
    async run(trial) {
      await trial.openShared();
      const link = await trial.link();
      await link.refuse();
      await rejectsWith(trial.open({ link }), 'ERR_CONNECT', 'open() to a port that nobody listens on');
    },
  },
];

/** Asks until it answers; what it says until then is that the link is lost. */
async function healed(trial: BackendTrial, store: Store, taskId: string): Promise<void> {
  await trial.deadline.until('the store to answer again', async () => {
    const [result] = await Promise.allSettled([store.backend.load([taskId])]);
    if (result.status === 'rejected') {
      await rejectsWith(Promise.reject(result.reason), LOST, 'load() after the loss');
      return false;
    }
    assert.equal(result.value[0]?.task_id, taskId, 'load() after the loss');
    return true;
  });
}
