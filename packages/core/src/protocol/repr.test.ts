import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeJson } from '../serialization/json.ts';
import { Decimal, PlainDate, Uuid } from '../serialization/python-values.ts';
import { reprArgs, reprKwargs, reprResult, safeRepr } from './repr.ts';

const golden = decodeJson(readFileSync(new URL('golden/celery-5.6.3.test.json', import.meta.url), 'utf8')) as {
  argsrepr: { args: unknown[]; text: string }[];
  kwargsrepr: { kwargs: Record<string, unknown>; text: string }[];
};

describe('as Celery shows them', () => {
  test.each(golden.argsrepr.map(({ text, args }) => [text.slice(0, 60), args, text] as const))(
    '%s',
    (_, args, text) => {
      expect(reprArgs(args)).toBe(text);
    },
  );

  test.each(golden.kwargsrepr.map(({ text, kwargs }) => [text.slice(0, 60), kwargs, text] as const))(
    '%s',
    (_, kwargs, text) => {
      expect(reprKwargs(kwargs)).toBe(text);
    },
  );

  // Checked against saferepr: what is cut, and which brackets are left over.
  test.each<[number, unknown, string]>([
    [8, ['}JM8Yx'], "['}JM8Yx', ..."],
    [16, ["'b''éaé ", [], [''], '', null], "['\\'b\\'\\'éaé ', , ...]]"],
    [20, { "' 'b''a'": ['b b   '], 'kOrQVwW/': null, "' é 'a": null }, "{'\\' \\'b\\'\\'a\\'': ['b...', ...}"],
    [3, -0.0000028406897205560337, '-2....'],
  ])('cut at %i', (length, value, text) => {
    expect(safeRepr(value, length)).toBe(text);
  });
});

describe('values of JavaScript', () => {
  test('a circle', () => {
    const circle: unknown[] = [1];
    circle.push(circle);
    expect(reprResult(circle)).toBe('[1, [1, [1, [...]]]]');
    const record: Record<string, unknown> = { big: 'x'.repeat(2000) };
    record['self'] = record;
    expect(reprArgs([record]).length).toBeLessThan(1100);
  });

  test.each<[unknown, string]>([
    [undefined, 'None'],
    [Number.NaN, 'nan'],
    [-Infinity, '-inf'],
    [10n ** 20n, '100000000000000000000'],
    [1e-7, '1e-07'],
    [new Date('2026-01-31T12:00:00Z'), 'datetime.datetime(2026, 1, 31, 12, 0, tzinfo=datetime.timezone.utc)'],
    [
      new Date('2026-01-31T12:00:00.250Z'),
      'datetime.datetime(2026, 1, 31, 12, 0, 0, 250000, tzinfo=datetime.timezone.utc)',
    ],
    [new Date(Number.NaN), '<Invalid Date>'],
    [Buffer.from('text'), "b'text'"],
    [Uint8Array.of(255, 0), "b'ff00'"],
    [new Decimal('1.50'), "Decimal('1.50')"],
    [new PlainDate('2026-01-31'), 'datetime.date(2026, 1, 31)'],
    [new Uuid('12345678123456781234567812345678'), "UUID('12345678-1234-5678-1234-567812345678')"],
    [new Set([1, 2]), '{1, 2}'],
    [new Set(), 'set()'],
    [new Map([['a', 1]]), "{'a': 1}"],
    [new RangeError("it's"), "RangeError('it\\'s')"],
    [Symbol('x'), '<Symbol(x)>'],
    [function named() {}, '<function named>'],
    [Promise.resolve(), '<Promise>'],
    [/x/g, '/x/g'],
    [{ toJSON: () => ({ a: [1] }) }, "{'a': [1]}"],
    [
      new (class Point {
        x = 1;
      })(),
      "{'x': 1}",
    ],
  ])('%o', (value, text) => {
    expect(reprResult(value)).toBe(text);
    expect(reprResult([value]).startsWith('[')).toBe(true);
  });

  test.each([
    ['a getter', Object.defineProperty({}, 'a', { enumerable: true, get: () => JSON.parse('{') as unknown })],
    [
      'a proxy',
      new Proxy({}, { ownKeys: () => JSON.parse('{') as string[], getPrototypeOf: () => JSON.parse('{') as object }),
    ],
    ['toJSON', { toJSON: () => JSON.parse('{') as unknown }],
  ])('%s that throws', (_, value) => {
    expect(reprResult(value)).toBe('<Unrepresentable>');
    expect(reprArgs([value])).toBe('<Unrepresentable>');
  });

  test('a megabyte is cut soon', () => {
    expect(reprArgs(['x'.repeat(1 << 20)]).length).toBeLessThan(1040);
    expect(reprArgs([Array.from({ length: 1 << 18 }, (_, index) => index)]).length).toBeLessThan(1040);
    expect(reprArgs([Buffer.alloc(1 << 20)]).length).toBeLessThan(1100);
  });

  test('never throws, and stays near its limit', () => {
    fc.assert(
      fc.property(
        fc.anything({
          withBigInt: true,
          withDate: true,
          withMap: true,
          withSet: true,
          withTypedArray: true,
          withNullPrototype: true,
        }),
        (value) => {
          expect(safeRepr(value, 64).length).toBeLessThan(220);
        },
      ),
    );
  });
});
