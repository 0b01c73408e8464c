import assert from 'node:assert/strict';
import { type AnyTask, Lovage, type TaskContext } from '@lovage/core';
import type { ChordStore } from '@lovage/core/backend';
import { memoryTransport } from '@lovage/core/memory';
import { Retry } from '@lovage/core/protocol';
import { rejectsWith } from '../expect.ts';
import { gone } from './keep.ts';
import { type BackendTest, type BackendTrial, type OpenOptions, plain, type Store, write } from './trial.ts';

export const chords: readonly BackendTest[] = [
  {
    name: 'chords: who completes a chord is given all parts, in the order of the header',
    async run(trial) {
      const chord = await begin(trial, 3);
      assert.equal(await chord.end(2), undefined);
      assert.equal(await chord.end(0, { by: 1 }), undefined);
      assert.deepEqual(await chord.end(1), chord.all());
    },
  },
  {
    name: 'chords: a part that comes twice counts once, and a success is not replaced',
    async run(trial) {
      const chord = await begin(trial, 2);
      for (const by of [0, 1, 0]) assert.equal(await chord.end(0, { by }), undefined, 'complete by one part of two');
      assert.equal(await chord.end(0, { state: 'FAILURE', result: failure('late') }), undefined);
      assert.deepEqual(await chord.end(1, { by: 1 }), chord.all());
    },
  },
  {
    name: 'chords: a part that failed is one, with its exception, and a success takes its place',
    async run(trial) {
      const chord = await begin(trial, 3);
      const failed = { state: 'FAILURE', result: failure('no') };
      assert.equal(await chord.end(0, failed), undefined);
      assert.equal(await chord.end(1, failed), undefined);
      assert.equal(await chord.end(1), undefined);
      const all = chord.all();
      assert.deepEqual(await chord.end(2), [{ ...all[0], ...failed }, all[1], all[2]]);
    },
  },
  {
    name: 'chords: of parts that end at once, again and again, one completes',
    patience: 2,
    async run(trial) {
      const size = 12;
      const chord = await begin(trial, size);
      const ends = Array.from({ length: size * 2 }, (_, turn) => chord.end(turn % size, { by: turn % 2 }));
      const given = (await Promise.all(ends)).map((parts, turn) => ({ parts, part: turn % size }));
      const complete = given.filter(({ parts }) => parts !== undefined);
      assert.ok(complete.length > 0, 'no part was told that the chord is complete');
      assert.equal(new Set(complete.map(({ part }) => part)).size, 1, 'parts that complete the chord');
      for (const { parts } of complete) assert.deepEqual(parts, chord.all());
    },
  },
  {
    name: 'chords: who completes a chord may ask again until it is finished, and nobody else',
    async run(trial) {
      const chord = await begin(trial, 2);
      await chord.end(0);
      assert.deepEqual(await chord.end(1), chord.all());
      assert.equal(await chord.end(0, { by: 1 }), undefined, 'given to another part');
      assert.deepEqual(await chord.end(1, { by: 1 }), chord.all());
      await chord.finish();
      assert.equal(await chord.end(1), undefined, 'given after the end');
      // Published again by a task that ran again.
      await chord.begin();
      await chord.end(0);
      assert.equal(await chord.end(1), undefined, 'a chord that was finished begins again');
    },
  },
  {
    name: 'chords: parts that were added are waited for, each once',
    async run(trial) {
      const chord = await begin(trial, 1, 1);
      await chord.extend(1);
      await chord.extend(1, 1);
      assert.equal(await chord.end(0), undefined);
      const parts = await chord.end(1);
      assert.deepEqual(
        parts?.map(({ taskId }) => taskId).toSorted(),
        chord
          .all()
          .map(({ taskId }) => taskId)
          .toSorted(),
      );
    },
  },
  {
    name: 'chords: nothing is complete before the chord has begun',
    async run(trial) {
      const chord = await make(trial, 2);
      assert.equal(await chord.end(0), undefined);
      await chord.begin();
      assert.deepEqual(await chord.end(1), chord.all());
    },
  },
  {
    name: 'chords: two do not touch each other',
    async run(trial) {
      const [one, other] = [await begin(trial, 2), await begin(trial, 1)];
      await one.end(0);
      assert.deepEqual(await other.end(0), other.all());
      await other.finish();
      assert.deepEqual(await one.end(1), one.all());
    },
  },
  {
    name: "chords: parts of Python's workers are counted, and one that is there twice counts once",
    async run(trial) {
      const pythonPart =
        trial.options.pythonPart ?? trial.skip('no "pythonPart": no counting that Celery shares on this store');
      const chord = await begin(trial, 3);
      const [first] = chord.all();
      for (let times = 0; times < 2; times++) await pythonPart(chord.id, { ...(first as Told), index: 0 });
      assert.equal(await chord.end(1), undefined);
      assert.deepEqual(await chord.end(2), chord.all());
    },
  },
  {
    name: 'chords: what is left of one that never ended is gone after its time',
    patience: 3,
    async run(trial) {
      const expiresSeconds = trial.options.shortExpirySeconds ?? 1;
      const chord = await begin(trial, 2, 0, { expiresSeconds });
      await chord.end(0);
      // Stored after it, with the same time.
      const [store] = chord.stores;
      const id = await trial.id(store);
      await store.backend.store([write(store, { status: 'SUCCESS', task_id: id })]);
      await trial.options.passTime?.(expiresSeconds);
      await gone(trial, store, id);
      await chord.begin();
      assert.equal(await chord.end(1), undefined, 'complete with a part that has expired');
    },
  },
  {
    name: 'chords: on a store that does not count, celery.chord_unlock sends the body when all parts have ended',
    async run(trial) {
      const { backend } = await trial.openShared();
      if (backend.chords !== undefined) trial.skip('the store counts the parts of chords');
      const app = new Lovage('lovage-kit', {
        broker: `memory://lovage-kit-${trial.groupId()}`,
        transports: [memoryTransport],
        backends: [{ schemes: ['lovage-kit'], open: async () => backend }],
        backend: 'lovage-kit://',
      });
      const store = { backend, oid: '' };
      const ids = await trial.ids(store, 2);
      const body = await trial.id(store);
      const call = app.signature('kit.body', { taskId: body, queue: 'kit' }).toJSON();
      const args = [trial.groupId(), call, 1, null, ids.map((id) => [[id, null], null])];
      let looks = 0;
      const unlock = app.tasks.get('celery.chord_unlock') as AnyTask;
      const context = {
        retry: () => {
          looks++;
          throw new Retry();
        },
      } as unknown as TaskContext;
      const look = async (): Promise<unknown> => unlock.run(context, args, {});
      const connection = await app.producerConnection().connection({ timeoutMs: 5000 });
      const sent = async (): Promise<number> => (await connection.inspect('kit').catch(() => ({ ready: 0 }))).ready;
      try {
        await rejectsWith(look(), 'ERR_RETRY', 'celery.chord_unlock');
        for (const [index, id] of ids.entries()) {
          await backend.store([write(store, { status: 'SUCCESS', result: index, task_id: id })]);
          if (index === 0) await rejectsWith(look(), 'ERR_RETRY', 'celery.chord_unlock');
        }
        assert.equal(await sent(), 0, 'bodies that were sent too early');
        await look();
        assert.equal(await sent(), 1, 'bodies that were sent');
        // The message that looks after the chord may come twice.
        if (backend.documents !== undefined) {
          await look();
          assert.equal(await sent(), 1, 'bodies that were sent after a second look');
        }
        assert.equal(looks, 2);
      } finally {
        await connection.close();
      }
    },
  },
];

const failure = (message: string) => ({ exc_type: 'RangeError', exc_message: [message], exc_module: 'builtins' });

interface Told {
  readonly taskId: string;
  readonly state: string;
  readonly result: unknown;
}

/** A chord whose parts end on two stores, as on two workers. */
class Chord {
  readonly id: string;
  readonly stores: readonly [Store, Store];
  readonly #taskIds: readonly string[];
  readonly #size: number;

  constructor(id: string, stores: readonly [Store, Store], taskIds: readonly string[], size: number) {
    this.id = id;
    this.stores = stores;
    this.#taskIds = taskIds;
    this.#size = size;
  }

  async begin(): Promise<void> {
    const store = this.#store(0);
    if (store.joinsResults === true) {
      const header = this.#taskIds.slice(0, this.#size).map((id) => [[id, null], null]);
      await this.stores[0].backend.saveGroup(this.id, [[this.id, null], header]);
    }
    await store.begin(this.id, this.#size);
  }

  /** Ends a part with its own number, or as told. */
  async end(
    index: number,
    { by = 0, state = 'SUCCESS', result = index }: { by?: number; state?: string; result?: unknown } = {},
  ): Promise<readonly Told[] | undefined> {
    const store = this.#store(by);
    const taskId = this.#taskIds[index] as string;
    const at = this.stores[by] as Store;
    if (store.joinsResults === true) await at.backend.store([write(at, { status: state, result, task_id: taskId })]);
    const parts = await store.part(this.id, { taskId, index, state, result });
    return parts?.map((part) => ({ taskId: part.taskId, state: part.state, result: plain(part.result) }));
  }

  extend(index: number, by = 0): Promise<void> {
    return this.#store(by).extend(this.id, this.#taskIds[index] as string);
  }

  finish(): Promise<void> {
    return this.#store(0).finish(this.id);
  }

  /** All parts as successes. */
  all(): readonly Told[] {
    return this.#taskIds.map((taskId, result) => ({ taskId, state: 'SUCCESS', result }));
  }

  #store(by: number): ChordStore {
    return this.stores[by]?.backend.chords as ChordStore;
  }
}

/** `added`: parts that may be added to it later. */
async function make(trial: BackendTrial, size: number, added = 0, options: OpenOptions = {}): Promise<Chord> {
  const { writer, reader } = await trial.pair(options);
  if (writer.backend.chords === undefined) trial.skip('no "chords": celery.chord_unlock looks after chords');
  const taskIds = await trial.ids(reader, size + added);
  return new Chord(trial.groupId(), [writer, reader], taskIds, size);
}

async function begin(...of: Parameters<typeof make>): Promise<Chord> {
  const chord = await make(...of);
  await chord.begin();
  return chord;
}
