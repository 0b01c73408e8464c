import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { promisify } from 'node:util';
import { memcachedBackend } from '@lovage/backend-memcached';
import { Lovage } from '@lovage/core';
import type { ChordStore, ResultBackend } from '@lovage/core/backend';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { serviceUrl } from '../../conformance/test/service-url.ts';
import { meta, openStore } from './store.ts';

const python = process.env['LOVAGE_TEST_PYTHON'];
const url = serviceUrl('memcached') ?? '';

/** Runs Python with Celery's own backend on the server, as `app`; what it prints last is JSON. */
async function celery(program: string): Promise<unknown> {
  const before = `import json
from celery import Celery
from celery.app.task import Context
from celery.result import AsyncResult, GroupResult
app = Celery(broker='memory://', backend='${url}', set_as_current=True)
def part(gid, id, result, size, state='SUCCESS'):
    app.backend.store_result(id, result, state)
    body = {'task': 'body', 'args': [], 'kwargs': {}, 'options': {'task_id': 'body-' + gid}, 'subtask_type': None, 'chord_size': size, 'immutable': False}
    app.backend.on_chord_part_return(Context(id=id, group=gid, chord=body), state, result)
def sent():
    with app.connection_for_read() as connection:
        message = connection.default_channel.queue_declare('celery') and connection.default_channel.basic_get('celery')
        return message and json.loads(message.body)[0]
`;
  const { stdout } = await promisify(execFile)(python as string, ['-c', before + program]);
  return JSON.parse(stdout.trim().split('\n').at(-1) as string);
}

describe.skipIf(url === '' || python === undefined)('beside Celery', () => {
  let store: ResultBackend;
  let chords: ChordStore;

  beforeAll(async () => {
    store = await openStore(url);
    chords = store.chords as ChordStore;
  });
  afterAll(() => store.close());

  async function beginChord(...ids: readonly string[]): Promise<string> {
    const group = randomUUID();
    await store.saveGroup(group, [[group, null], ids.map((id) => [[id, null], null])]);
    await chords.begin(group, ids.length);
    return group;
  }
  async function part(group: string, taskId: string, result: unknown, state = 'SUCCESS') {
    await store.store([{ meta: meta(taskId, state, result) }]);
    const parts = await chords.part(group, { taskId, index: undefined, state, result });
    return parts?.map((each) => [each.state, each.result]);
  }

  test('each reads what the other stored: states, exceptions, groups', async () => {
    const [good, bad, custom, group] = Array.from({ length: 4 }, () => randomUUID());
    await celery(`
app.backend.store_result('${good}', {'a': [1, None, 'é']}, 'SUCCESS')
app.backend.store_result('${bad}', ValueError('no', 7), 'FAILURE', traceback='Traceback ...')
app.backend.store_result('${custom}', {'done': 3}, 'PROGRESS')
GroupResult('${group}', [AsyncResult('${good}'), AsyncResult('${bad}')]).save()
print('0')`);
    const app = new Lovage('test', { broker: 'memory://', backend: url, backends: [memcachedBackend] });
    expect(await app.asyncResult(good as string).get({ timeout: 50 })).toEqual({ a: [1, null, 'é'] });
    await expect(app.asyncResult(bad as string).get({ timeout: 50 })).rejects.toMatchObject({
      excType: 'ValueError',
      excMessage: ['no', 7],
    });
    expect(await app.asyncResult(custom as string).state()).toBe('PROGRESS');
    expect((await app.restoreGroup(group as string))?.results.map(({ id }) => id)).toEqual([good, bad]);
    await app.close();

    const [ours, ourGroup] = [randomUUID(), randomUUID()];
    await store.store([{ meta: meta(ours, 'SUCCESS', ['é', 1]) }]);
    await store.saveGroup(ourGroup, [[ourGroup, null], [[[ours, null], null]]]);
    expect(
      await celery(`
print(json.dumps([AsyncResult('${ours}').get(timeout=5), GroupResult.restore('${ourGroup}').join(timeout=5)]))`),
    ).toEqual([['é', 1], [['é', 1]]]);
  });

  test('a chord whose last part runs here is joined here, whose last part runs in Python there', async () => {
    const [one, two] = [randomUUID(), randomUUID()];
    const here = await beginChord(one, two);
    expect(await celery(`part('${here}', '${one}', 1, 2); print(json.dumps(sent()))`)).toBeNull();
    expect(await part(here, two, 2)).toEqual([
      ['SUCCESS', 1],
      ['SUCCESS', 2],
    ]);
    const [three, four] = [randomUUID(), randomUUID()];
    const there = await beginChord(three, four);
    expect(await part(there, three, 3)).toBeUndefined();
    expect(await celery(`part('${there}', '${four}', 4, 2); print(json.dumps(sent()))`)).toEqual([[3, 4]]);
  });

  test('a chord that Python began is joined here, and a failed part is among its parts', async () => {
    const [group, one, two] = [randomUUID(), randomUUID(), randomUUID()];
    await celery(`
app.backend.apply_chord(('${group}', [AsyncResult('${one}'), AsyncResult('${two}')]), None)
print('0')`);
    const info = { exc_type: 'ValueError', exc_message: ['no'], exc_module: 'builtins' };
    expect(await part(group, one, info, 'FAILURE')).toBeUndefined();
    expect(await part(group, two, 2)).toEqual([
      ['FAILURE', info],
      ['SUCCESS', 2],
    ]);
  });

  test('a part that comes twice counts once, and the last one gives all parts until the chord is done', async () => {
    const ids = [randomUUID(), randomUUID()] as const;
    const group = await beginChord(...ids);
    expect(await part(group, ids[0], 1)).toBeUndefined();
    expect(await part(group, ids[0], 1)).toBeUndefined();
    const all = [
      ['SUCCESS', 1],
      ['SUCCESS', 2],
    ];
    expect(await part(group, ids[1], 2)).toEqual(all);
    expect(await part(group, ids[1], 2)).toEqual(all);
    expect(await part(group, ids[0], 1)).toBeUndefined();
    await chords.finish(group);
    expect(await part(group, ids[1], 2)).toBeUndefined();
    // Nor does it reach Celery's counter twice.
    expect(await celery(`print(app.backend.client.get('chord-unlock-${group}'))`)).toBe(2);
  });

  test('a part that runs in two workers at once counts once', async () => {
    const ids = Array.from({ length: 10 }, () => randomUUID());
    const group = await beginChord(...ids);
    const other = await openStore(url);
    const stores = [chords, other.chords as ChordStore];
    await store.store(ids.map((id) => ({ meta: meta(id, 'SUCCESS', id) })));
    await Promise.all(
      ids.flatMap((taskId) =>
        stores.map((each) => each.part(group, { taskId, index: undefined, state: 'SUCCESS', result: taskId })),
      ),
    );
    expect(await celery(`print(app.backend.client.get('chord-unlock-${group}'))`)).toBe(10);
    await other.close();
  });

  test('a part whose worker died in mid-count is counted when it comes again', async () => {
    const ids = [randomUUID(), randomUUID()] as const;
    const group = await beginChord(...ids);
    expect(await part(group, ids[0], 1)).toBeUndefined();
    await celery(`
app.backend.client.set('celery-taskset-meta-${group}.j.${ids[1]}', 'counting')
print('0')`);
    expect(await part(group, ids[1], 2)).toHaveLength(2);
  });

  test('of many parts that end at once one gives all, with those that were added', async () => {
    const ids = Array.from({ length: 20 }, () => randomUUID());
    const group = await beginChord(...ids.slice(0, 18));
    await Promise.all(ids.slice(18).map((id) => chords.extend(group, id)));
    await chords.extend(group, ids[19] as string);
    const other = await openStore(url);
    const stores = [chords, other.chords as ChordStore];
    await store.store(ids.map((id) => ({ meta: meta(id, 'SUCCESS', id) })));
    const given = await Promise.all(
      ids.map((taskId, index) =>
        (stores[index % 2] as ChordStore).part(group, { taskId, index, state: 'SUCCESS', result: taskId }),
      ),
    );
    const complete = given.filter((parts) => parts !== undefined);
    expect(complete.map((parts) => parts.length)).toEqual([20]);
    expect(new Set(complete[0]?.map(({ result }) => result))).toEqual(new Set(ids));
    await other.close();
  });

  test('a chord whose header is gone says so', async () => {
    const group = randomUUID();
    await chords.begin(group, 2);
    await expect(part(group, randomUUID(), 1)).rejects.toThrow(/no longer exists/);
  });

  test('a part that comes again after Python ended the chord ends it no second time', async () => {
    const [one, two] = [randomUUID(), randomUUID()];
    const group = await beginChord(one, two);
    expect(await part(group, one, 1)).toBeUndefined();
    await celery(`
app.backend.store_result('${two}', 2, 'SUCCESS')
app.backend.client.incr('chord-unlock-${group}')
print('0')`);
    expect(await part(group, one, 1)).toBeUndefined();
  });
});
