import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ByteWriter } from './byte-writer.ts';
import { readTable, writeTable } from './field-table.ts';

function encode(table: Record<string, unknown>): Buffer {
  const out = new ByteWriter();
  writeTable(out, table);
  return out.take().subarray(4);
}

/** The type tag of the only value in a table. */
function tagOf(value: unknown): string {
  return String.fromCharCode(encode({ k: value })[2] as number);
}

/** The value of a table with one entry of this type. */
const number = (tag: string, bytes: number[]): unknown =>
  readTable(Buffer.from([1, 0x6b, tag.charCodeAt(0), ...bytes]))['k'];

const leaf = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.boolean(),
  fc.constant(null),
  fc.maxSafeInteger(),
  fc.double({ noNaN: true }).map((value) => (Object.is(value, -0) ? 0 : value)),
  fc.uint8Array().map((bytes) => Buffer.from(bytes)),
  fc.bigInt({ min: 2n ** 53n, max: 2n ** 62n - 1n }),
);
const { table } = fc.letrec<{ table: Record<string, unknown>; value: unknown }>((tie) => ({
  value: fc.oneof({ maxDepth: 4 }, leaf, fc.array(tie('value')), tie('table')),
  table: fc.dictionary(fc.string({ maxLength: 60 }), tie('value'), { noNullPrototype: false }),
}));

describe('field tables', () => {
  test('come back as they were written', () => {
    fc.assert(
      fc.property(table, (value) => {
        expect(readTable(encode(value))).toStrictEqual(nullPrototypes(value));
      }),
    );
  });

  test('hold integers as int32 wherever they fit: 128 to 32767 are read as something else by older py-amqp', () => {
    for (const value of [0, 1, -1, 127, 128, 300, 32_767, -128, -129, 65_536, 2 ** 31 - 1, -(2 ** 31)])
      expect(tagOf(value)).toBe('I');
    for (const value of [2 ** 31, Number.MAX_SAFE_INTEGER]) expect(tagOf(value)).toBe('l');
    expect(tagOf(-(2 ** 31) - 1)).toBe('L');
    expect([0.5, 1e300, Number.NaN].map(tagOf)).toEqual(['d', 'd', 'd']);
    expect([null, true, 'x', [], {}, Buffer.alloc(1), new Date(0), 2n ** 62n].map(tagOf)).toEqual([
      'V',
      't',
      'S',
      'A',
      'F',
      'x',
      'T',
      'l',
    ]);
  });

  test('keep keys of objects to themselves', () => {
    const read = readTable(encode({ ['__proto__']: { polluted: 1 }, constructor: 'x' }));
    expect(Object.getPrototypeOf(read)).toBeNull();
    expect(Object.keys(read)).toEqual(['__proto__', 'constructor']);
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
  });

  test('leave out undefined', () => {
    expect(readTable(encode({ a: undefined, b: 1 }))).toEqual({ b: 1 });
  });

  test('read the types that other clients choose', () => {
    expect(number('s', [0xff, 0xfe])).toBe(-2);
    expect(number('u', [0xff, 0xfe])).toBe(65_534);
    expect(number('b', [0xff])).toBe(-1);
    expect(number('B', [0xff])).toBe(255);
    expect(number('i', [0xff, 0xff, 0xff, 0xff])).toBe(4_294_967_295);
    expect(number('L', [0, 0, 0, 1, 0, 0, 0, 0])).toBe(4_294_967_296);
    expect(number('D', [2, 0, 0, 1, 0])).toBe(2.56);
    expect(number('f', [0x3f, 0x80, 0, 0])).toBe(1);
  });

  test('that are cut off, nested without end or of unknown types are decode errors and nothing else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          readTable(Buffer.from(bytes));
        } catch (error) {
          expect((error as { code?: unknown }).code).toBe('ERR_DECODE');
        }
      }),
      { numRuns: 2000 },
    );
    fc.assert(
      fc.property(table, fc.nat(), (value, at) => {
        const bytes = encode(value);
        if (bytes.length === 0) return;
        const cut = bytes.subarray(0, at % bytes.length);
        try {
          readTable(cut);
        } catch (error) {
          expect((error as { code?: unknown }).code).toBe('ERR_DECODE');
        }
      }),
    );
    let nested: Record<string, unknown> = {};
    for (let depth = 0; depth < 100; depth++) nested = { n: nested };
    expect(() => encode(nested)).toThrowError(/nested deeper/);
  });

  test('refuse what AMQP cannot hold', () => {
    expect(() => encode({ ['k'.repeat(256)]: 1 })).toThrowError(/256 bytes/);
    expect(() => encode({ k: () => 1 })).toThrowError(/function/);
    expect(() => encode({ k: 2n ** 63n })).toThrowError(/64 bits/);
  });
});

function nullPrototypes(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(nullPrototypes);
  if (typeof value !== 'object' || value === null || Buffer.isBuffer(value)) return value;
  return Object.assign(
    Object.create(null),
    Object.fromEntries(Object.entries(value).map(([key, item]) => [key, nullPrototypes(item)])),
  ) as unknown;
}
