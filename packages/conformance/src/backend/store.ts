import assert from 'node:assert/strict';
import type { TaskMeta } from '@lovage/core/backend';
import { rejectsWith } from '../expect.ts';
import { type BackendTest, sameMeta, write } from './trial.ts';

const EXCEPTION = { exc_type: 'ValueError', exc_message: ['wrong value', 42, null], exc_module: 'builtins' };
const TRACEBACK = 'Traceback (most recent call last):\n  File "a.py", line 1, in f\nValueError: wrong value\n';

/** What a task may have returned, as JSON has it. */
const VALUES: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  1.5,
  2 ** 40,
  '',
  'text',
  '\u00e4\u20ac\u{1f33f} "\\\n',
  [],
  [1, [2, [3, null]]],
  {},
  { a: { b: [{ c: 'd' }] }, 'key with spaces': 1 },
  'x'.repeat(50_000),
];

const STATES: readonly (Partial<TaskMeta> & Pick<TaskMeta, 'status'>)[] = [
  { status: 'RECEIVED' },
  { status: 'STARTED', result: { pid: 42, hostname: 'celery@host' } },
  { status: 'PROGRESS', result: { current: 3, total: 10 } },
  {
    status: 'RETRY',
    result: { ...EXCEPTION, exc_type: 'Retry', exc_module: 'celery.exceptions' },
    traceback: TRACEBACK,
  },
  { status: 'FAILURE', result: EXCEPTION, traceback: TRACEBACK },
  {
    status: 'REVOKED',
    result: { exc_type: 'TaskRevokedError', exc_message: ['revoked'], exc_module: 'celery.exceptions' },
  },
  { status: 'REJECTED' },
  { status: 'IGNORED' },
  { status: 'SUCCESS', result: 42 },
];

export const store: readonly BackendTest[] = [
  {
    name: 'store: every state is loaded as it was stored, exceptions with their parts',
    async run(trial) {
      const { writer, reader } = await trial.pair();
      const ids = await trial.ids(reader, STATES.length);
      const writes = STATES.map((state, index) => write(reader, { ...state, task_id: ids[index] as string }));
      for (const one of writes) await writer.backend.store([one]);
      for (const { meta } of writes) sameMeta(await trial.loaded(reader, meta.task_id), meta);
    },
  },
  {
    name: 'store: every kind of value is loaded as it was stored',
    async run(trial) {
      const { writer, reader } = await trial.pair();
      const ids = await trial.ids(reader, VALUES.length);
      const writes = VALUES.map((result, index) =>
        write(reader, { status: 'SUCCESS', result, task_id: ids[index] as string }),
      );
      await writer.backend.store(writes);
      for (const { meta } of writes) sameMeta(await trial.loaded(reader, meta.task_id), meta);
    },
  },
  {
    name: 'store: keys named __proto__ and constructor stay keys',
    async run(trial) {
      const { writer, reader } = await trial.pair();
      const id = await trial.id(reader);
      const result = JSON.parse(
        '{"__proto__": {"polluted": 1}, "constructor": {"prototype": {"polluted": 2}}, "kept": 3}',
      );
      await writer.backend.store([write(reader, { status: 'SUCCESS', result, task_id: id })]);
      const meta = await trial.loaded(reader, id);
      assert.equal(({} as { polluted?: unknown }).polluted, undefined, 'Object.prototype was changed');
      const got = meta.result as { polluted?: unknown; kept?: unknown };
      assert.deepEqual([got.polluted, got.kept], [undefined, 3]);
    },
  },
  {
    name: 'store: children are kept, where the store has a place for them',
    async run(trial) {
      const { writer, reader } = await trial.pair();
      const id = await trial.id(reader);
      const children = [[['child-id', [['parent-id', null], null]], null]];
      const one = write(reader, { status: 'SUCCESS', children, task_id: id });
      await writer.backend.store([one]);
      sameMeta(await trial.loaded(reader, id), one.meta);
    },
  },
  {
    name: 'store: the extended fields are kept with result_extended',
    async run(trial) {
      const { writer, reader } = await trial.pair({
        settings: { ...trial.options.open?.settings, resultExtended: true },
      });
      const id = await trial.id(reader);
      const extended = {
        name: 'proj.add',
        args: [1, 'two'],
        kwargs: { three: 3 },
        worker: 'celery@host',
        retries: 2,
        queue: 'celery',
      };
      await writer.backend.store([write(reader, { status: 'SUCCESS', result: 1, ...extended, task_id: id })]);
      const { name, args, kwargs, worker, retries, queue } = await trial.loaded(reader, id);
      assert.deepEqual({ name, args, kwargs, worker, retries, queue }, extended);
    },
  },
  {
    name: 'store: load() answers in the order asked, and undefined where nothing is kept',
    async run(trial) {
      const { writer, reader } = await trial.pair();
      const ids = await trial.ids(reader, 4);
      const [one = '', unknown = '', two = '', other = ''] = ids;
      await writer.backend.store([one, two].map((id) => write(reader, { status: 'SUCCESS', result: id, task_id: id })));
      for (const id of [one, two]) await trial.loaded(reader, id);
      const asked = [two, unknown, one, other, two];
      const metas = await reader.backend.load(asked);
      assert.deepEqual(
        metas.map((meta) => meta?.task_id),
        [two, undefined, one, undefined, two],
      );
      assert.deepEqual(await reader.backend.load([]), []);
    },
  },
  {
    name: 'store: a later state replaces an earlier one',
    async run(trial) {
      const { writer, reader } = await trial.pair();
      const id = await trial.id(reader);
      for (const status of ['RECEIVED', 'STARTED', 'RETRY', 'STARTED', 'FAILURE']) {
        const one = write(reader, {
          status,
          result: ['RETRY', 'FAILURE'].includes(status) ? EXCEPTION : null,
          task_id: id,
        });
        await writer.backend.store([one]);
        sameMeta(await trial.loaded(reader, id, (meta) => meta.status === status), one.meta);
      }
    },
  },
  {
    name: 'store: of two states of a task in one batch the later stays',
    async run(trial) {
      const { writer, reader } = await trial.pair();
      const ids = await trial.ids(reader, 20);
      await writer.backend.store([
        ...ids.map((id) => write(reader, { status: 'STARTED', result: { pid: 1 }, task_id: id })),
        ...ids.map((id) => write(reader, { status: 'SUCCESS', result: id, task_id: id })),
      ]);
      for (const id of ids) {
        const meta = await trial.loaded(
          reader,
          id,
          ({ status }) => status === 'SUCCESS' || reader.backend.capabilities.shared,
        );
        assert.deepEqual([meta.status, meta.result], ['SUCCESS', id]);
      }
    },
  },
  {
    name: 'store: two calls of one tick for one task keep their order',
    async run(trial) {
      const { writer, reader } = await trial.pair();
      const ids = await trial.ids(reader, 20);
      await Promise.all(
        ids.flatMap((id) => [
          writer.backend.store([write(reader, { status: 'STARTED', result: { pid: 1 }, task_id: id })]),
          writer.backend.store([write(reader, { status: 'FAILURE', result: EXCEPTION, task_id: id })]),
        ]),
      );
      for (const id of ids) {
        const meta = await trial.loaded(
          reader,
          id,
          ({ status }) => status === 'FAILURE' || reader.backend.capabilities.shared,
        );
        assert.equal(meta.status, 'FAILURE');
      }
    },
  },
  {
    name: 'store: many writes of one tick are all kept',
    async run(trial) {
      const { writer, reader } = await trial.pair();
      const ids = await trial.ids(reader, 600);
      const writes = ids.map((id) => write(reader, { status: 'SUCCESS', result: `of ${id}`, task_id: id }));
      await Promise.all([
        ...writes.slice(0, 300).map((one) => writer.backend.store([one])),
        writer.backend.store(writes.slice(300)),
      ]);
      await trial.deadline.until('600 results', async () => {
        const metas = await reader.backend.load(ids);
        const missing = metas.filter((meta, index) => meta?.result !== `of ${ids[index]}`).length;
        if (missing > 0 && reader.backend.capabilities.shared) assert.fail(`${missing} of 600 results are missing`);
        return missing === 0;
      });
    },
  },
  {
    name: 'store: a value of 1 MiB is kept whole or refused, never cut',
    async run(trial) {
      const { writer, reader } = await trial.pair();
      const id = await trial.id(reader);
      const result = '0123456789abcdef'.repeat(65_536);
      const [stored] = await Promise.allSettled([
        writer.backend.store([write(reader, { status: 'SUCCESS', result, task_id: id })]),
      ]);
      if (stored.status === 'rejected') {
        await rejectsWith(Promise.reject(stored.reason), ['ERR_TOO_LARGE', 'ERR_ENCODE'], 'store() of 1 MiB');
        assert.deepEqual(await reader.backend.load([id]), [undefined], 'what was refused is kept');
      } else {
        const meta = await trial.loaded(reader, id);
        assert.ok(meta.result === result, 'another value is kept');
      }
    },
  },
  {
    name: 'store: a write that cannot be kept rejects, and the others of its batch are kept',
    async run(trial) {
      const { writer, reader } = await trial.pair();
      const [good = '', bad = '', last = ''] = await trial.ids(reader, 3);
      await rejectsWith(
        writer.backend.store([
          write(reader, { status: 'SUCCESS', result: 1, task_id: good }),
          write(reader, { status: 'SUCCESS', result: { value: Symbol('not for any serializer') }, task_id: bad }),
          write(reader, { status: 'SUCCESS', result: 2, task_id: last }),
        ]),
        ['ERR_ENCODE'],
        'store() with a value that no serializer knows',
      );
      assert.equal((await trial.loaded(reader, good)).result, 1);
      assert.equal((await trial.loaded(reader, last)).result, 2);
      assert.deepEqual(await reader.backend.load([bad]), [undefined]);
    },
  },
  {
    name: 'store: a call that fails does not fail the others of its tick',
    async run(trial) {
      const { writer, reader } = await trial.pair();
      const [good = '', bad = '', last = ''] = await trial.ids(reader, 3);
      const outcomes = await Promise.allSettled([
        writer.backend.store([write(reader, { status: 'SUCCESS', result: 1, task_id: good })]),
        writer.backend.store([write(reader, { status: 'SUCCESS', result: Symbol('no'), task_id: bad })]),
        writer.backend.store([write(reader, { status: 'SUCCESS', result: 2, task_id: last })]),
      ]);
      assert.deepEqual(
        outcomes.map(({ status }) => status),
        ['fulfilled', 'rejected', 'fulfilled'],
      );
      assert.equal((await trial.loaded(reader, good)).result, 1);
      assert.equal((await trial.loaded(reader, last)).result, 2);
    },
  },
  {
    name: 'store: an empty batch resolves',
    async run(trial) {
      const { backend } = await trial.open();
      await backend.store([]);
      await backend.expect([]);
    },
  },
];
