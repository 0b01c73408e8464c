import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { codeOf } from '../../test/support/code-of.ts';
import { SerializerRegistry } from '../serialization/registry.ts';
import type { Message } from '../transport/message.ts';
import { decodeTaskBody, decodeTaskHeaders } from './decode.ts';

/** Messages as Celery 5.6.3 builds them. */
const golden = JSON.parse(readFileSync(new URL('golden/celery-5.6.3.test.json', import.meta.url), 'utf8')) as Record<
  'v1' | 'v2',
  { headers: Record<string, unknown>; body: unknown }
>;

const registry = new SerializerRegistry();
const HEADERS = { task: 'proj.add', id: 'the-id' };
const BODY = [[1], {}, null];

function message(headers: Record<string, unknown>, body: unknown = BODY, change: Partial<Message> = {}): Message {
  const bytes = body instanceof Uint8Array ? body : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
  return { headers, body: bytes, contentType: 'application/json', contentEncoding: 'utf-8', properties: {}, ...change };
}

/** As a worker does it. */
function decode(given: Message): {
  request: ReturnType<typeof decodeTaskHeaders>;
  body: ReturnType<typeof decodeTaskBody>;
} {
  const request = decodeTaskHeaders(given, registry);
  return { request, body: decodeTaskBody(given, registry) };
}

describe('protocol 2', () => {
  test('as Celery writes it', () => {
    const { request, body } = decode(
      message({ ...golden.v2.headers, own: 1, redelivered: true }, golden.v2.body, {
        properties: { correlationId: 'c', replyTo: 'r', priority: 3 },
      }),
    );
    expect(request).toEqual({
      id: 'the-id',
      task: 'proj.add',
      shadow: 'other',
      eta: Date.UTC(2026, 0, 31, 11, 0, 0, 500),
      expires: Date.UTC(2026, 0, 31, 12),
      group: 'g1',
      groupIndex: 1,
      retries: 2,
      timeLimit: [30, 20],
      rootId: 'r1',
      parentId: 'p1',
      argsrepr: '(2, 3)',
      kwargsrepr: "{'k': 'v'}",
      origin: 'gen1@host',
      ignoreResult: false,
      replacedTaskNesting: 0,
      stampedHeaders: ['who'],
      stamps: { who: 'me' },
      replyTo: 'r',
      correlationId: 'c',
      priority: 3,
      headers: { own: 1 },
    });
    expect(Object.getPrototypeOf(request.headers)).toBeNull();
    expect(body.args).toEqual([2, 3]);
    expect(body.callbacks.map(({ task }) => task)).toEqual(['cb']);
    expect(body.chain[0]).toMatchObject({ task: 'next', options: { task_id: 'n1' }, immutable: true });
    expect(body.chord).toMatchObject({ task: 'body' });
  });

  test.each<[string, Record<string, unknown>, unknown]>([
    ['no other headers', {}, BODY],
    [
      'null everywhere',
      Object.fromEntries(
        [
          'eta',
          'expires',
          'group',
          'group_index',
          'retries',
          'timelimit',
          'root_id',
          'parent_id',
          'argsrepr',
          'kwargsrepr',
          'origin',
          'ignore_result',
          'stamped_headers',
          'stamps',
          'shadow',
          'compression',
        ].map((name) => [name, null]),
      ),
      BODY,
    ],
    ['an empty embed', {}, [[1], {}, {}]],
    ['white space before the body', {}, ` \n${JSON.stringify(BODY)}`],
  ])('%s', (_, headers, body) => {
    const { request, body: read } = decode(message({ ...HEADERS, ...headers }, body));
    expect(request).toMatchObject({
      rootId: 'the-id',
      retries: 0,
      timeLimit: [undefined, undefined],
      ignoreResult: undefined,
      stamps: {},
    });
    expect(read).toEqual({ args: [1], kwargs: {}, callbacks: [], errbacks: [], chain: [], chord: undefined });
  });

  test('what old producers leave out of signatures is filled in', () => {
    const { callbacks } = decode(
      message(HEADERS, [
        [],
        {},
        { callbacks: [{ task: 'cb' }, { task: 'b', args: null, options: null, chord_size: 2 }] },
      ]),
    ).body;
    expect(callbacks[0]).toEqual({
      task: 'cb',
      args: [],
      kwargs: {},
      options: {},
      subtask_type: null,
      immutable: false,
    });
    expect(callbacks[1]).toMatchObject({ args: [], options: {}, chord_size: 2 });
  });

  test.each(['0001-01-01T00:00:00', '9999-12-31T23:59:59.999999-12:00'])('an eta of %s can be written again', (eta) => {
    expect(Math.abs(decodeTaskHeaders(message({ ...HEADERS, eta }), registry).eta as number)).toBeLessThanOrEqual(
      253_402_300_799_999,
    );
  });
});

describe('protocol 1', () => {
  test('as Celery writes it', () => {
    const given = message({ own: 1 }, golden.v1.body, { properties: { correlationId: 'the-id' } });
    const { request, body } = decode(given);
    expect(request).toMatchObject({
      id: 'the-id',
      task: 'proj.add',
      group: 'g1',
      groupIndex: 1,
      retries: 2,
      rootId: 'the-id',
      argsrepr: '(2, 3)',
      kwargsrepr: "{'k': 'v'}",
      headers: { own: 1 },
    });
    expect(body).toMatchObject({ args: [2, 3], kwargs: { k: 'v' }, chain: [], chord: { task: 'body' } });
    expect([body.callbacks[0]?.task, body.errbacks[0]?.task]).toEqual(['cb', 'eb']);
    expect(decodeTaskBody({ ...given }, registry)).toEqual(body);
  });

  test('a name and an id are enough; taskset wins over group', () => {
    expect(decode(message({}, { task: 'a', id: 'b' })).body).toMatchObject({ args: [], kwargs: {} });
    expect(decode(message({}, { task: 'a', id: 'b', taskset: 't', group: 'g' })).request.group).toBe('t');
  });

  test('the hybrid: fields of the body, headers over them', () => {
    const { request, body } = decode(
      message({ ...HEADERS, retries: 3 }, { task: 'x', id: 'y', args: [1], kwargs: { a: 2 }, retries: 1, group: 'g' }),
    );
    expect(request).toMatchObject({ task: 'proj.add', id: 'the-id', retries: 3, group: 'g' });
    expect(body).toMatchObject({ args: [1], kwargs: { a: 2 } });
  });

  test('a compressed hybrid', () => {
    const { body, contentType } = registry.compress(
      'zlib',
      Buffer.from(JSON.stringify({ args: [1], kwargs: {}, retries: 4 })),
    );
    const { request } = decode(message({ ...HEADERS, compression: contentType }, body));
    expect(request.retries).toBe(4);
  });
});

describe('what is no task', () => {
  const with1 = (name: string, value: unknown): [string, Message, string] => [
    `${name} ${String(JSON.stringify(value)).slice(0, 40)}`,
    message({ ...HEADERS, [name]: value }),
    'ERR_INVALID_MESSAGE',
  ];
  const embed = (value: unknown): [string, Message, string] => [
    `embed ${JSON.stringify(value).slice(0, 60)}`,
    message(HEADERS, [[], {}, value]),
    'ERR_INVALID_MESSAGE',
  ];

  test.each<[string, Message, string]>([
    ['no headers, no task in the body', message({}), 'ERR_INVALID_MESSAGE'],
    ['an empty object', message({}, {}), 'ERR_INVALID_MESSAGE'],
    ['a null body', message({}, null), 'ERR_INVALID_MESSAGE'],
    with1('task', 7),
    with1('task', ''),
    with1('task', null),
    with1('task', 'a\r\nb'),
    with1('task', 'x'.repeat(256)),
    with1('id', undefined),
    with1('id', {}),
    with1('id', 5),
    with1('id', 'x'.repeat(1 << 20)),
    with1('id', '../../x'),
    with1('id', 'a\u0006\u0016b'),
    with1('id', 'a\u2028b'),
    with1('retries', -1),
    with1('retries', 1e12),
    with1('retries', 1.5),
    with1('retries', 'x'),
    with1('eta', 'tomorrow'),
    with1('eta', 5),
    with1('eta', '+275760-09-13T00:00:00Z'),
    with1('expires', {}),
    with1('expires', '2026-02-30'),
    with1('timelimit', [1]),
    with1('timelimit', [1, 2, 3]),
    with1('timelimit', [-1, null]),
    with1('timelimit', ['1', null]),
    with1('timelimit', 5),
    with1('group', {}),
    with1('group_index', 'x'),
    with1('root_id', ['a']),
    with1('parent_id', 'a\nb'),
    with1('stamped_headers', 'x'),
    with1('stamped_headers', [1]),
    with1('stamps', []),
    with1('ignore_result', 'yes'),
    with1('replaced_task_nesting', -1),
    with1('shadow', {}),
    with1('argsrepr', []),
    ['a body of two', message(HEADERS, [[], {}]), 'ERR_INVALID_MESSAGE'],
    ['a body of four', message(HEADERS, [[], {}, {}, 1]), 'ERR_INVALID_MESSAGE'],
    ['a scalar body', message(HEADERS, 5), 'ERR_INVALID_MESSAGE'],
    ['args that are no list', message(HEADERS, [{}, {}, {}]), 'ERR_INVALID_MESSAGE'],
    ['kwargs that are no object', message(HEADERS, [[], [], {}]), 'ERR_INVALID_MESSAGE'],
    ['kwargs that are null', message(HEADERS, [[], null, {}]), 'ERR_INVALID_MESSAGE'],
    embed(5),
    embed([]),
    embed({ callbacks: 5 }),
    embed({ callbacks: { task: 'x' } }),
    embed({ callbacks: ['x'] }),
    embed({ chain: [{}] }),
    embed({ chain: [{ task: 5 }] }),
    embed({ chord: [] }),
    embed({ errbacks: [{ task: 'x', args: {} }] }),
    embed({ errbacks: [{ task: 'x', kwargs: [] }] }),
    embed({ errbacks: [{ task: 'x', options: 'x' }] }),
    embed({ callbacks: Array.from({ length: 1001 }, () => ({ task: 'x' })) }),
    embed({
      chain: [{ task: 'celery.group', kwargs: { tasks: Array.from({ length: 1000 }, () => ({ task: 'x' })) } }],
    }),
    [
      'an unknown content type',
      message(HEADERS, BODY, { contentType: 'application/x-what' }),
      'ERR_CONTENT_DISALLOWED',
    ],
    ['raw data', message(HEADERS, BODY, { contentType: 'application/data' }), 'ERR_CONTENT_DISALLOWED'],
    ['no content type', message(HEADERS, BODY, { contentType: '' }), 'ERR_CONTENT_DISALLOWED'],
    [
      'pickle',
      message(HEADERS, Buffer.from('80045d942e', 'hex'), { contentType: 'application/x-python-serialize' }),
      'ERR_CONTENT_DISALLOWED',
    ],
    [
      'protocol 1, pickled',
      message({}, Buffer.from('80045d942e', 'hex'), { contentType: 'application/x-python-serialize' }),
      'ERR_CONTENT_DISALLOWED',
    ],
    ['an unknown compression', message({ ...HEADERS, compression: 'application/x-what' }), 'ERR_UNSUPPORTED'],
    ['a wrong compression', message({ ...HEADERS, compression: 'zlib' }), 'ERR_DECODE'],
    ['an empty body', message(HEADERS, Buffer.alloc(0)), 'ERR_DECODE'],
    ['UTF-16', message(HEADERS, Buffer.from(JSON.stringify(BODY), 'utf16le')), 'ERR_DECODE'],
    ['invalid UTF-8', message(HEADERS, Buffer.from([0x5b, 0xff, 0x5d])), 'ERR_DECODE'],
    ['a byte order mark', message(HEADERS, `\ufeff${JSON.stringify(BODY)}`), 'ERR_DECODE'],
    ['depth 100,000', message(HEADERS, '['.repeat(100_000)), 'ERR_DECODE'],
    ['msgpack that says it is JSON', message(HEADERS, Buffer.from([0x93, 0x90, 0x80, 0xc0])), 'ERR_DECODE'],
  ])('%s', (_, given, code) => {
    expect(codeOf(() => decode(given))).toBe(code);
  });

  test('signatures nested deeper than the limit', () => {
    const strict = new SerializerRegistry({ limits: { maxSignatureDepth: 3 } });
    const deep = (depth: number): unknown =>
      depth === 0 ? { task: 'x' } : { task: 'x', options: { link: [deep(depth - 1)] } };
    for (const [depth, code] of [
      [3, 'nothing was thrown'],
      [4, 'ERR_INVALID_MESSAGE'],
    ] as const) {
      expect(codeOf(() => decodeTaskBody(message(HEADERS, [[], {}, { callbacks: [deep(depth)] }]), strict))).toBe(code);
    }
  });

  test.each(Object.getOwnPropertyNames(Object.prototype))(
    'the task name %s, and headers of that name, are nothing special',
    (name) => {
      const headers = Object.assign(Object.create(null) as Record<string, unknown>, HEADERS, { task: name });
      Object.defineProperty(headers, name, { value: 'x', enumerable: true });
      const request = decodeTaskHeaders(message(headers), registry);
      expect(request.task).toBe(name);
      expect(({} as Record<string, unknown>)['x']).toBeUndefined();
    },
  );

  test('anything at all is a task or one of our errors', () => {
    const before = Object.getOwnPropertyNames(Object.prototype);
    const anyHeaders = fc.dictionary(
      fc.constantFrom(...Object.keys(golden.v2.headers), '__proto__', 'constructor', 'compression', 'x'),
      fc.oneof(fc.anything({ maxDepth: 2 }), fc.constantFrom('a', 'zlib', '2026-01-01')),
      { maxKeys: 8 },
    );
    const anyBody = fc.oneof(
      fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
      fc.json().map((text) => Buffer.from(text)),
      fc.tuple(fc.json(), fc.json(), fc.json()).map((parts) => Buffer.from(`[${parts.join(',')}]`)),
    );
    const expected = new Set([
      'nothing was thrown',
      'ERR_DECODE',
      'ERR_INVALID_MESSAGE',
      'ERR_CONTENT_DISALLOWED',
      'ERR_UNSUPPORTED',
    ]);
    fc.assert(
      fc.property(anyHeaders, anyBody, fc.boolean(), (headers, body, isNamed) => {
        const given = message(isNamed ? { ...headers, ...HEADERS } : headers, body);
        expect(expected).toContain(codeOf(() => decode(given)));
      }),
      { numRuns: 500 },
    );
    expect(Object.getOwnPropertyNames(Object.prototype)).toEqual(before);
  });
});
