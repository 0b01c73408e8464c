import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { codeOf } from '../../test/support/code-of.ts';
import type { SignatureDict } from '../canvas/signature-dict.ts';
import { SerializerRegistry } from '../serialization/registry.ts';
import { decodeTaskBody, decodeTaskHeaders } from './decode.ts';
import { encodeTask, type TaskDraft } from './v2.ts';

/** Messages as Celery 5.6.3 builds them. */
const golden = JSON.parse(readFileSync(new URL('golden/celery-5.6.3.test.json', import.meta.url), 'utf8')) as Record<
  'v2' | 'v2Plain',
  { headers: Record<string, unknown>; body: unknown }
>;

const registry = new SerializerRegistry();
const PLAIN: TaskDraft = {
  id: 'the-id',
  task: 'proj.add',
  args: [2, 3],
  kwargs: {},
  origin: 'gen1@host',
  ignoreResult: false,
};

function signature(task: string, fields: Partial<SignatureDict> = {}): SignatureDict {
  return { task, args: [], kwargs: {}, options: {}, subtask_type: null, immutable: false, ...fields };
}

const FULL: TaskDraft = {
  ...PLAIN,
  kwargs: { k: 'v' },
  shadow: 'other',
  eta: Date.UTC(2026, 0, 31, 11, 0, 0, 500),
  expires: Date.UTC(2026, 0, 31, 12),
  group: 'g1',
  groupIndex: 1,
  retries: 2,
  timeLimit: [30, 20],
  rootId: 'r1',
  parentId: 'p1',
  stampedHeaders: ['who'],
  stamps: { who: 'me' },
  callbacks: [signature('cb', { args: [1] })],
  chain: [signature('next', { options: { task_id: 'n1' }, immutable: true })],
  chord: signature('body'),
};

describe('encodeTask', () => {
  test.each([
    ['a plain call', PLAIN, golden.v2Plain],
    ['a call with everything', FULL, golden.v2],
  ] as const)("%s: headers and body are Celery 5.6.3's, in its order", (_, draft, { headers, body }) => {
    const message = encodeTask(draft, registry);
    expect(JSON.stringify(message.headers)).toBe(JSON.stringify({ ...headers, lang: 'js' }));
    expect(JSON.parse(Buffer.from(message.body).toString())).toEqual(body);
    expect([message.contentType, message.contentEncoding]).toEqual(['application/json', 'utf-8']);
  });

  test('properties', () => {
    const now = Date.UTC(2026, 0, 31, 11, 59, 59, 1);
    expect(encodeTask(PLAIN, registry).properties).toEqual({
      correlationId: 'the-id',
      replyTo: '',
      deliveryMode: 2,
      priority: 0,
    });
    expect(
      encodeTask(
        { ...FULL, replyTo: 'me', correlationId: 'other', priority: 9, deliveryMode: 'transient' },
        registry,
        now,
      ).properties,
    ).toEqual({ correlationId: 'other', replyTo: 'me', deliveryMode: 1, priority: 9, expiration: '999' });
    expect(encodeTask(FULL, registry, now + 5000).properties.expiration).toBe('0');
  });

  test('headers of the caller lie over those of the protocol, wrong ones are refused', () => {
    const { headers } = encodeTask(
      { ...PLAIN, headers: { trace: 'abc', argsrepr: '(secret)', gone: undefined } },
      registry,
    );
    expect(headers).toMatchObject({ trace: 'abc', argsrepr: '(secret)' });
    expect('gone' in headers).toBe(false);
    for (const wrong of [
      { task: 'x' },
      { id: 'x' },
      { compression: 'zlib' },
      { retries: 'x' },
      { timelimit: 5 },
      { stamps: [] },
      { eta: 5 },
    ]) {
      expect(codeOf(() => encodeTask({ ...PLAIN, headers: wrong }, registry))).toBe('ERR_CONFIG');
    }
  });

  test('compression is named in the headers', () => {
    const { headers, body } = encodeTask({ ...PLAIN, compression: 'gzip' }, registry);
    expect(headers['compression']).toBe('application/x-gzip');
    expect(Buffer.from(body).subarray(0, 2)).toEqual(Buffer.from([0x78, 0x9c]));
  });

  test.each<[string, Partial<TaskDraft>, string]>([
    ['no id', { id: '' }, 'ERR_CONFIG'],
    ['an id with a line break', { id: 'a\nb' }, 'ERR_CONFIG'],
    ['an id that climbs', { id: '../../etc/passwd' }, 'ERR_CONFIG'],
    ['no name', { task: '' }, 'ERR_CONFIG'],
    ['a name with a space', { task: 'a b' }, 'ERR_CONFIG'],
    ['a raw body', { serializer: 'raw' }, 'ERR_CONFIG'],
    ['pickle', { serializer: 'pickle' }, 'ERR_CONFIG'],
    ['an unknown serializer', { serializer: 'xml' }, 'ERR_CONFIG'],
    ['an unknown compression', { compression: 'zip' }, 'ERR_UNSUPPORTED'],
    ['an ETA in the year 10000', { eta: 253_402_300_800_000 }, 'ERR_ENCODE'],
    ['an ETA that is no time', { eta: Number.NaN }, 'ERR_ENCODE'],
    ['an argument that JSON cannot hold', { args: [{ when: new Map() }] }, 'ERR_ENCODE'],
  ])('%s is refused', (_, change, code) => {
    expect(codeOf(() => encodeTask({ ...PLAIN, ...change }, registry))).toBe(code);
  });

  test('an argument that cannot be written is named as the caller knows it', () => {
    const place = (change: Partial<TaskDraft>): string => {
      try {
        encodeTask({ ...PLAIN, ...change }, registry);
      } catch (error) {
        return (error as Error).message;
      }
      return '';
    };
    expect(place({ args: [1, { when: new Map() }] })).toBe(
      'The value at args[1].when is a Map. Expected Object.fromEntries(map).',
    );
    expect(place({ kwargs: { to: () => 1 } })).toMatch(/^The value at kwargs\.to is a function\./);
    expect(place({ callbacks: [signature('cb', { args: [Symbol('x')] })] })).toMatch(
      /^The value at embed\.callbacks\[0\]\.args\[0\] is a symbol\./,
    );
  });

  test('names that Python allows', () => {
    expect(codeOf(() => encodeTask({ ...PLAIN, task: 'projet.tâche', id: 'order 7/é' }, registry))).toBe(
      'nothing was thrown',
    );
  });
});

test('what is sent is what is read', () => {
  const text = fc
    .string({ minLength: 1, maxLength: 20, unit: fc.constantFrom('a', 'Z', '0', '-', '_', '.', 'é') })
    .filter((value) => value !== '.' && value !== '..');
  const maybe = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
    fc.option(arbitrary, { nil: undefined });
  const instant = fc.integer({ min: Date.UTC(1970, 0, 1), max: Date.UTC(2100, 0, 1) });
  const seconds = fc.double({ min: 0.1, max: 1e6, noNaN: true });
  const drafts = fc.record({
    id: text,
    task: text,
    // A key that would set a prototype is left out on purpose.
    args: fc
      .array(fc.jsonValue({ maxDepth: 2 }))
      .map((args) => JSON.parse(JSON.stringify(args).replaceAll('__proto__', 'proto')) as unknown[]),
    kwargs: fc.constant({ k: [1] }),
    shadow: maybe(text),
    eta: maybe(instant),
    expires: maybe(instant),
    group: maybe(text),
    groupIndex: maybe(fc.nat()),
    retries: fc.nat(),
    timeLimit: fc.tuple(maybe(seconds), maybe(seconds)),
    rootId: text,
    parentId: maybe(text),
    origin: text,
    ignoreResult: maybe(fc.boolean()),
    replacedTaskNesting: fc.nat(),
    stampedHeaders: maybe(fc.array(text)),
    replyTo: maybe(text),
    correlationId: text,
    priority: fc.integer({ min: 0, max: 9 }),
    compression: maybe(fc.constant('zlib')),
    headers: maybe(fc.constant({ trace: 'abc' })),
  });
  fc.assert(
    fc.property(drafts, (draft) => {
      const message = encodeTask(draft, registry);
      // As a broker hands it over.
      const arrived = { ...message, headers: JSON.parse(JSON.stringify(message.headers)) as Record<string, unknown> };
      const { args, kwargs, compression: _, headers, ...fields } = draft;
      expect(decodeTaskHeaders(arrived, registry)).toMatchObject(fields);
      expect({ ...decodeTaskHeaders(arrived, registry).headers }).toEqual(headers ?? {});
      expect(decodeTaskBody(arrived, registry)).toEqual({
        args: decodeArgs(args),
        kwargs,
        callbacks: [],
        errbacks: [],
        chain: [],
        chord: undefined,
      });
    }),
    { numRuns: 100 },
  );

  function decodeArgs(args: unknown[]): unknown {
    return JSON.parse(JSON.stringify(args), (_, item: unknown) =>
      typeof item === 'number' && Number.isInteger(item) && !Number.isSafeInteger(item) && !String(item).includes('e')
        ? BigInt(String(item))
        : item,
    );
  }
});
