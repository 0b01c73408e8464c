import { expect, test } from 'vitest';
import type { ResultCodec } from './contract.ts';
import { countedChordKeys, endOf, partsFrom, taskIdsOf } from './counted-chord.ts';

const codec: ResultCodec = {
  contentType: 'application/json',
  contentEncoding: 'utf-8',
  encode: (value) => JSON.stringify(value),
  decode: (data) => JSON.parse(String(data)) as unknown,
};

const keysOf = (group: string) => {
  const key = `app_celery-taskset-meta-${group}`;
  return { parts: `${key}.j`, added: `${key}.t`, size: `${key}.s`, claim: `${key}.c`, addedIds: `${key}.a` };
};

test("keys are Celery's, with the prefix of all, whatever the group is called", () => {
  for (const id of ['g1', 'celery-taskset-meta.j']) {
    const { counter, group, taskKey } = countedChordKeys(keysOf(id));
    expect([group, taskKey('t')]).toEqual([`app_celery-taskset-meta-${id}`, 'app_celery-task-meta-t']);
    expect(counter).toBe(`app_chord-unlock-${id}`);
  }
});

test('tasks of a saved group are those of its groups too', () => {
  const tuple = [
    ['g', null],
    [
      [['a', null], null],
      [['inner', null], [[['b', null], null]]],
      ['c', null],
    ],
  ];
  expect(taskIdsOf(JSON.stringify({ result: tuple }), codec)).toEqual(['a', 'b', 'c']);
  expect(taskIdsOf('{"result": null}', codec)).toEqual([]);
  expect(taskIdsOf('null', codec)).toEqual([]);
});

test('parts are what is kept of ended tasks, and the own one as it was given', () => {
  const kept = (status: string, result: unknown) => JSON.stringify({ status, result });
  const own = { taskId: 'own', value: '[1,"own","FAILURE",0]' };
  const results = [
    ['a', kept('SUCCESS', { x: 1 })],
    ['own', undefined],
    ['b', kept('REVOKED', null)],
  ] as const;
  expect(partsFrom(results, own, codec)?.map((part) => JSON.parse(String(part)) as unknown)).toEqual([
    [1, 'a', 'SUCCESS', { x: 1 }],
    [1, 'own', 'FAILURE', 0],
    [1, 'b', 'REVOKED', null],
  ]);
  expect(partsFrom([...results, ['c', undefined]], own, codec)).toBeUndefined();
  expect(partsFrom([...results, ['c', kept('STARTED', null)]], own, codec)).toBeUndefined();
  expect(endOf(kept('RETRY', null), codec)).toBeUndefined();
});
