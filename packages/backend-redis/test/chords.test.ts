import { randomUUID } from 'node:crypto';
import { BackendUrl } from '@lovage/core/backend';
import { openRedis, readEndpoint, type RedisLink } from '@lovage/redis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RedisChords } from '../src/chords.ts';

const url = process.env.LOVAGE_TEST_REDIS_URL;

describe.skipIf(url === undefined)('chords in Redis', () => {
  let link: RedisLink;

  beforeAll(async () => {
    link = await openRedis(readEndpoint(new BackendUrl(url as string)));
  });
  afterAll(() => link.close());

  function chord(ordered = true) {
    const key = `celery-taskset-meta-${randomUUID()}`;
    const keys = { parts: `${key}.j`, added: `${key}.t`, size: `${key}.s`, claim: `${key}.c`, addedIds: `${key}.a` };
    const chords = new RedisChords(link, ordered);
    const value = (taskId: string, state: string, result: unknown) =>
      `[1, "${taskId}", "${state}", ${JSON.stringify(result)}]`;
    return {
      keys,
      begin: (size: number) => chords.begin(keys, size, 60),
      finish: () => chords.finish(keys, 60),
      extend: (taskId: string) => chords.extend(keys, taskId, 60),
      part: async (taskId: string, index: number, result: unknown, state = 'SUCCESS') =>
        (await chords.part(keys, { value: value(taskId, state, result), taskId, index }, 60))?.map(String),
      /** As a Python worker does it. */
      python: async (taskId: string, index: number, result: unknown) =>
        link.text('zadd', [keys.parts, index, value(taskId, 'SUCCESS', result)]),
    };
  }

  test('the last part is given all, in order', async () => {
    const { begin, part } = chord();
    await begin(3);
    expect(await part('c', 2, 3)).toBeUndefined();
    expect(await part('a', 0, 1)).toBeUndefined();
    expect(await part('b', 1, 2)).toEqual([
      '[1, "a", "SUCCESS", 1]',
      '[1, "b", "SUCCESS", 2]',
      '[1, "c", "SUCCESS", 3]',
    ]);
  });

  test('a part that comes again counts once, with another value too; a success stays', async () => {
    const { begin, part } = chord();
    await begin(2);
    expect(await part('a', 0, 'no', 'FAILURE')).toBeUndefined();
    expect(await part('a', 0, 1)).toBeUndefined();
    expect(await part('a', 0, 9)).toBeUndefined();
    expect(await part('b', 1, 2)).toEqual(['[1, "a", "SUCCESS", 1]', '[1, "b", "SUCCESS", 2]']);
  });

  test('a part is not taken for another whose id ends with its own', async () => {
    const { begin, part } = chord(false);
    await begin(3);
    expect(await part('order-1', 0, 1)).toBeUndefined();
    expect(await part('1', 1, 2)).toBeUndefined();
    expect(await part('order', 2, 3)).toEqual([
      '[1, "order-1", "SUCCESS", 1]',
      '[1, "1", "SUCCESS", 2]',
      '[1, "order", "SUCCESS", 3]',
    ]);
  });

  test('the completing part may ask again until the chord is finished, no other may', async () => {
    const { begin, part, finish } = chord();
    await begin(2);
    await part('a', 0, 1);
    expect(await part('b', 1, 2)).toHaveLength(2);
    expect(await part('a', 0, 1)).toBeUndefined();
    expect(await part('b', 1, 2)).toHaveLength(2);
    await finish();
    expect(await part('b', 1, 2)).toBeUndefined();
    // Published again by a task that ran again: it is done, and stays done.
    await begin(2);
    await part('a', 0, 1);
    expect(await part('b', 1, 2)).toBeUndefined();
  });

  test('parts of Python count, twice the same id once', async () => {
    const { begin, part, python } = chord();
    await begin(3);
    await python('p', 0, 1);
    await python('p', 0, 7);
    expect(await part('a', 1, 2)).toBeUndefined();
    expect(await part('b', 2, 3)).toHaveLength(3);
  });

  test('parts that were added are waited for, each once', async () => {
    const { begin, part, extend } = chord();
    await begin(1);
    await extend('x');
    await extend('x');
    expect(await part('a', 0, 1)).toBeUndefined();
    expect(await part('x', 0, 2)).toHaveLength(2);
  });

  test('before the chord has begun nothing is complete', async () => {
    const { begin, part } = chord();
    expect(await part('a', 0, 1)).toBeUndefined();
    await begin(1);
    expect(await part('a', 0, 1)).toHaveLength(1);
  });

  test('without order parts are a list, as they ended', async () => {
    const { begin, part, keys } = chord(false);
    await begin(2);
    await part('b', 1, 2);
    expect(await link.text('type', [keys.parts])).toBe('list');
    expect(await part('a', 0, 1)).toEqual(['[1, "b", "SUCCESS", 2]', '[1, "a", "SUCCESS", 1]']);
  });
});
