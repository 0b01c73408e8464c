import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { codeOf } from '../../test/support/code-of.ts';
import { decodeJson, encodeJson } from './json.ts';
import { Decimal, PlainDate, PlainTime, Uuid } from './python-values.ts';

/** What Celery 5.6.3 and Kombu print. */
const golden = JSON.parse(
  readFileSync(new URL('../protocol/golden/celery-5.6.3.test.json', import.meta.url), 'utf8'),
) as {
  tagged: { type: string; json: string }[];
  plain: string[];
};

function messageOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    return (error as Error).message;
  }
  return 'nothing was thrown';
}

/** Python's spacing and escapes do not matter. */
const compact = (text: string): string => text.replace(/": /g, '":').replace(/, /g, ',');

describe('what Python sends', () => {
  test.each(golden.tagged.map(({ type, json }) => [type, json] as const))(
    '%s %s is sent on as it came',
    (type, json) => {
      const value = decodeJson(json);
      const expected = {
        datetime: Date,
        date: PlainDate,
        time: PlainTime,
        decimal: Decimal,
        uuid: Uuid,
        bytes: Buffer,
        base64: Buffer,
      };
      expect(value).toBeInstanceOf(expected[type as keyof typeof expected]);
      expect(JSON.parse(encodeJson(value))).toEqual(JSON.parse(json));
    },
  );

  test.each(golden.plain.map((json) => [json]))('%s is sent on as it came', (json) => {
    const written = encodeJson(decodeJson(json));
    if (/NaN|Infinity/.test(json)) expect(written).toBe(json);
    else expect(compact(written)).toBe(compact(json.replace('\\u00e9', 'é')));
  });

  test('values arrive as JavaScript has them', () => {
    expect(decodeJson('{"__type__": "datetime", "__value__": "2026-01-31T12:00:00.123456+02:00"}')).toEqual(
      new Date('2026-01-31T10:00:00.123Z'),
    );
    expect(decodeJson('{"__type__": "datetime", "__value__": "2026-01-31T12:00:00"}')).toEqual(
      new Date('2026-01-31T12:00:00Z'),
    );
    expect(decodeJson('[9007199254740992, -9007199254740993, 9007199254740991]')).toEqual([
      9007199254740992n,
      -9007199254740993n,
      9007199254740991,
    ]);
    expect(decodeJson('[NaN, Infinity, -Infinity, 1e400, -0.0]')).toEqual([
      Number.NaN,
      Infinity,
      -Infinity,
      Infinity,
      -0,
    ]);
    expect(decodeJson('{"a": 1, "a": 2}')).toEqual({ a: 2 });
    expect(decodeJson('"\\ud800"')).toBe('\ud800');
    expect(decodeJson('{"__type__": "base64", "__value__": "/wAB"}')).toEqual(Buffer.from([255, 0, 1]));
  });

  test('digits in texts and fractions stay what they are', () => {
    expect(
      decodeJson('["1234567890123456789", 0.1234567890123456789, 12345678901234567890.5, 1234567890123456789e2]'),
    ).toEqual([
      '1234567890123456789',
      0.12345678901234568,
      Number('12345678901234567890.5'),
      Number('1234567890123456789e2'),
    ]);
  });

  test('a date that was changed is the new one', () => {
    const date = decodeJson('{"__type__": "datetime", "__value__": "2026-01-31T12:00:00.123456"}') as Date;
    date.setUTCFullYear(2027);
    expect(encodeJson(date)).toBe('{"__type__":"datetime","__value__":"2027-01-31T12:00:00.123000+00:00"}');
  });

  test('a tag may be spelled with escapes', () => {
    expect(decodeJson('{"\\u005f_type__": "decimal", "__value__": "1"}')).toEqual(new Decimal('1'));
  });

  test.each([
    ['{"__type__": "nope", "__value__": 1}'],
    ['{"__type__": "datetime", "__value__": "tomorrow"}'],
    ['{"__type__": "datetime", "__value__": 5}'],
    ['{"__type__": "date", "__value__": "31.1.2026"}'],
    ['{"__type__": "time", "__value__": "noon"}'],
    ['{"__type__": "decimal", "__value__": "1,5"}'],
    ['{"__type__": "uuid", "__value__": {"hex": "zz"}}'],
    ['{"__type__": "uuid", "__value__": "12345678123456781234567812345678"}'],
    ['{"__type__": ["a"], "__value__": null}'],
  ])('%s is refused', (json) => {
    expect(codeOf(() => decodeJson(json))).toBe('ERR_DECODE');
  });

  test.each(['__type__', '__value__', 'x'])('an object with three keys is no tag (%s)', (key) => {
    const json = '{"__type__":"decimal","__value__":"1","x":2}';
    expect((decodeJson(json) as Record<string, unknown>)[key]).toBe((JSON.parse(json) as Record<string, unknown>)[key]);
  });
});

describe('hostile texts', () => {
  test.each([
    ['nothing', ''],
    ['a word', 'hello'],
    ['a byte order mark', '\ufeff[]'],
    ['a comment', '[1] // one'],
    ['two values', '[1] [2]'],
    ['a trailing comma', '[1,]'],
    ['a half literal beside NaN', '[NaN, tru]'],
    ['NaN as a key', '{NaN: 1}'],
    ['a control character', '["a\u0000", NaN]'],
    ['an open string', '["a, NaN'],
    ['an integer of 5000 digits', `[${'9'.repeat(5000)}]`],
    ['a leading zero', '[0123456789012345678]'],
    ['a plus sign', '[+1234567890123456789]'],
    ['single quotes', "['NaN']"],
  ])('%s is no JSON', (_, text) => {
    expect(codeOf(() => decodeJson(text))).toBe('ERR_DECODE');
  });

  test('truncated at any place', () => {
    const text =
      '[[1, 2.5, "a\\u00e9", NaN, 12345678901234567890], {"k": {"__type__": "decimal", "__value__": "1"}}, null]';
    for (let end = 0; end < text.length; end++) expect(codeOf(() => decodeJson(text.slice(0, end)))).toBe('ERR_DECODE');
  });

  test('depth is limited both ways, and before parsing', () => {
    const nested = (depth: number): string => '['.repeat(depth) + ']'.repeat(depth);
    expect(codeOf(() => decodeJson(nested(128)))).toBe('nothing was thrown');
    expect(codeOf(() => decodeJson(nested(129)))).toBe('ERR_DECODE');
    expect(codeOf(() => decodeJson(`[NaN, ${nested(128)}]`))).toBe('ERR_DECODE');
    expect(codeOf(() => decodeJson(nested(1_000_000)))).toBe('ERR_DECODE');
    expect(codeOf(() => decodeJson('{"a":'.repeat(200_000)))).toBe('ERR_DECODE');
    expect(codeOf(() => decodeJson(`["${'['.repeat(1000)}"${',[]'.repeat(1000)}]`))).toBe('nothing was thrown');
    let deep: unknown = 1;
    for (let level = 0; level < 128; level++) deep = [deep];
    expect(codeOf(() => encodeJson(deep))).toBe('nothing was thrown');
    expect(codeOf(() => encodeJson([deep]))).toBe('ERR_ENCODE');
    expect(codeOf(() => decodeJson('[[1]]', 1))).toBe('ERR_DECODE');
  });

  test.each([
    ['{"__proto__": {"polluted": 1}, "a": 2}'],
    ['{"\\u005f_proto__": {"polluted": 1}, "a": 2}'],
    ['{"__proto__": {"polluted": 1}, "a": 2, "n": NaN}'],
    ['{"constructor": {"prototype": {"polluted": 1}}, "a": 2}'],
    ['{"\\u0063onstructor": {"prototype": {"polluted": 1}}, "a": 2}'],
  ])('%s sets no prototype', (text) => {
    const value = decodeJson(`{"deep": [${text}]}`) as { deep: [Record<string, unknown>] };
    const [inner] = value.deep;
    expect(inner['a']).toBe(2);
    expect(Object.hasOwn(inner, '__proto__')).toBe(false);
    expect(Object.hasOwn(inner, 'constructor')).toBe(false);
    expect(Object.assign({}, inner)).not.toHaveProperty('polluted');
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });

  test('a field that is called constructor stays', () => {
    expect(decodeJson('{"constructor": "Ferrari", "prototype": 1}')).toEqual({ constructor: 'Ferrari', prototype: 1 });
  });

  test('megabytes of white space, brackets or digits end soon', () => {
    const begin = performance.now();
    expect(decodeJson(`${' '.repeat(10_000_000)}1`)).toBe(1);
    expect(codeOf(() => decodeJson('1'.repeat(5_000_000)))).toBe('ERR_DECODE');
    expect(codeOf(() => decodeJson(`"${'\\'.repeat(2_000_000)}`))).toBe('ERR_DECODE');
    expect(performance.now() - begin).toBeLessThan(5000);
  });
});

describe('what we send', () => {
  test('values of JavaScript', () => {
    expect(encodeJson(new Date('2026-01-31T12:00:00.250Z'))).toBe(
      '{"__type__":"datetime","__value__":"2026-01-31T12:00:00.250000+00:00"}',
    );
    expect(encodeJson(10n ** 30n)).toBe('1000000000000000000000000000000');
    expect(encodeJson([Number.NaN, Infinity, -Infinity])).toBe('[NaN,Infinity,-Infinity]');
    expect(encodeJson(Buffer.from('é'))).toBe('{"__type__":"bytes","__value__":"é"}');
    expect(encodeJson(Uint8Array.of(255))).toBe('{"__type__":"base64","__value__":"/w=="}');
    expect(encodeJson(new ArrayBuffer(1))).toBe('{"__type__":"bytes","__value__":"\\u0000"}');
    expect(encodeJson(new Uuid('{12345678-1234-5678-1234-567812345678}'))).toBe(
      '{"__type__":"uuid","__value__":{"hex":"12345678123456781234567812345678"}}',
    );
    expect(encodeJson([new Decimal('1.50'), new PlainDate('2026-01-31'), new PlainTime('12:00')])).toBe(
      '[{"__type__":"decimal","__value__":"1.50"},{"__type__":"date","__value__":"2026-01-31"},{"__type__":"time","__value__":"12:00"}]',
    );
  });

  test('undefined, holes and toJSON are as in JSON.stringify', () => {
    class Money {
      readonly cents = 5n;
      toJSON(): unknown {
        return { amount: this.cents };
      }
    }
    expect(encodeJson(undefined)).toBe('null');
    expect(encodeJson({ a: undefined, b: [undefined, 1n] })).toBe('{"b":[null,1]}');
    // oxlint-disable-next-line no-sparse-arrays
    expect(encodeJson([, 1n])).toBe('[null,1]');
    expect(encodeJson([new Money()])).toBe('[{"amount":5}]');
    expect(
      encodeJson([
        Object(1n),
        Object('a'),
        new (class Point {
          x = 1;
        })(),
      ]),
    ).toBe('[1,"a",{"x":1}]');
    expect(encodeJson(new URL('https://example.org/'))).toBe('"https://example.org/"');
    expect(encodeJson(Object.assign(Object.create(null) as object, { a: 1 }))).toBe('{"a":1}');
    expect(encodeJson('\ud800')).toBe('"\\ud800"');
  });

  const circle: Record<string, unknown> = {};
  circle['self'] = [circle];

  test.each<[string, unknown, RegExp]>([
    ['a function', { users: [{ greet() {} }] }, /The value at users\[0\]\.greet is a function\./],
    ['a symbol', [Symbol('x')], /The value at \[0\] is a symbol\./],
    [
      'a Map',
      { 'first name': new Map() },
      /The value at \["first name"\] is a Map\. Expected Object\.fromEntries\(map\)\./,
    ],
    ['a Set', new Set([1]), /The value is a Set\. Expected \[\.\.\.set\]\./],
    ['a promise', [1, Promise.resolve(1)], /The value at \[1\] is a Promise\. Expected its value: await it\./],
    ['an error', [new Error('x')], /is an Error/],
    ['a regular expression', [/x/], /is a RegExp/],
    ['a circle', circle, /The value at self\[0\] is a reference to what it is a part of\./],
    ['an invalid date', new Date(Number.NaN), /is an invalid Date/],
    ['a date before year 1', new Date(-1e15), /years 1 to 9999/],
    ['floats', new Float64Array(2), /is a Float64Array/],
    ['a generator', (function* () {})(), /is a generator/],
    [
      'a toJSON that throws',
      { a: { toJSON: () => JSON.parse('{') as unknown } },
      /The value at a is an object whose toJSON throws\./,
    ],
    [
      'a getter that throws',
      {
        get a(): unknown {
          throw new Error('no');
        },
      },
      /reading it failed/,
    ],
    ['a proxy that throws', new Proxy({}, { getPrototypeOf: () => JSON.parse('{') as object }), /reading it failed/],
  ])('%s is refused, and its place is told', (_, value, message) => {
    expect(codeOf(() => encodeJson(value))).toBe('ERR_ENCODE');
    expect(messageOf(() => encodeJson(value))).toMatch(message);
  });

  test('a value that appears twice is no circle', () => {
    const shared = { big: 1n };
    expect(encodeJson([shared, shared])).toBe('[{"big":1},{"big":1}]');
  });
});

describe('both ways', () => {
  const special = fc.oneof(
    fc.bigInt({ min: 2n ** 53n, max: 2n ** 80n }),
    fc.bigInt({ min: -(2n ** 80n), max: -(2n ** 53n) }),
    fc.date({ min: new Date('0001-01-01T00:00:00Z'), max: new Date('9999-12-31T23:59:59.999Z'), noInvalidDate: true }),
    fc.uint8Array().map((bytes) => Buffer.from(bytes)),
    fc.uuid().map((text) => new Uuid(text)),
    fc.constantFrom(Number.NaN, Infinity, -Infinity),
  );
  const key = fc.string({ unit: 'binary' }).filter((text) => text !== '__proto__');
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      fc.string({ unit: 'binary' }),
      fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => number + 0),
      fc.maxSafeInteger(),
      fc.boolean(),
      fc.constant(null),
      special,
      fc.array(tie('value'), { maxLength: 4 }),
      fc.dictionary(key, tie('value'), { maxKeys: 4, noNullPrototype: true }),
    ),
  }));
  /** Whole numbers beyond 2^53 come back as bigints; minus zero as zero. */
  const arrives = (sent: unknown): unknown => {
    if (typeof sent === 'number') {
      if (sent === 0) return 0;
      return Number.isInteger(sent) && !Number.isSafeInteger(sent) && !String(sent).includes('e')
        ? BigInt(String(sent))
        : sent;
    }
    if (Array.isArray(sent)) return sent.map(arrives);
    if (typeof sent !== 'object' || sent === null || Object.getPrototypeOf(sent) !== Object.prototype) return sent;
    return Object.fromEntries(Object.entries(sent).map(([name, item]) => [name, arrives(item)]));
  };

  test('what was sent arrives', () => {
    fc.assert(
      fc.property(value, (sent) => {
        expect(decodeJson(encodeJson(sent))).toEqual(arrives(sent));
      }),
    );
  });

  test('any text is a value or a DecodeError', () => {
    const token = fc.constantFrom(
      '[',
      ']',
      '{',
      '}',
      '"',
      ':',
      ',',
      'NaN',
      '-',
      '1234567890123456789',
      '0',
      '.5',
      'e9',
      '\\',
      '\\u00',
      'null',
      '"__type__"',
      ' ',
    );
    fc.assert(
      fc.property(fc.array(fc.oneof(token, fc.string()), { maxLength: 12 }), (tokens) => {
        const text = tokens.join('');
        expect(['ERR_DECODE', 'nothing was thrown']).toContain(codeOf(() => decodeJson(text)));
      }),
      { numRuns: 1000 },
    );
  });
});
