import { readFileSync } from 'node:fs';
import { isLovageError } from '@lovage/core/backend';
import { PlainDate, Decimal, PlainTime, Uuid } from '@lovage/core/protocol';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PickledObject } from './objects.ts';
import { readPickle, readPickleTree } from './reader.ts';
import { PythonCall, PythonTuple, writePickle } from './writer.ts';

/** name -> protocol -> hex, as Python wrote it. */
const vectors = JSON.parse(readFileSync(new URL('./vectors.test.json', import.meta.url), 'utf8')) as Record<
  string,
  Record<string, string>
>;

const expected: Record<string, unknown> = {
  none: null,
  true: true,
  false: false,
  int0: 0,
  int255: 255,
  int256: 256,
  int65536: 65536,
  neg1: -1,
  'neg2^31': -(2 ** 31),
  '2^31': 2 ** 31,
  '2^53': 2n ** 53n,
  '-2^63': -(2n ** 63n),
  '2^64': 2n ** 64n,
  '2^2100': 2n ** 2100n,
  float: 1.5,
  inf: Number.POSITIVE_INFINITY,
  ninf: Number.NEGATIVE_INFINITY,
  negzero: -0,
  str: 'héllo 😀',
  empty: '',
  long: 'x'.repeat(300),
  bytes: Uint8Array.of(0, 255),
  bytearray: Uint8Array.of(97, 98),
  list: [1, [2, []], {}],
  tuple: [],
  t1: [1],
  t2: [1, 2],
  t3: [1, 2, 3],
  t4: [1, 2, 3, 4],
  intkeys: new Map<unknown, unknown>([
    [1, 'a'],
    [2.5, 'b'],
    [null, 'c'],
    [[1, 2], 'd'],
  ]),
  set: new Set([1]),
  frozenset: new Set([1]),
  dt: new Date('2024-01-02T03:04:05.678Z'),
  dtutc: new Date('2024-01-02T03:04:05.678Z'),
  dtoff: new Date('2024-01-01T21:34:05Z'),
  date: new PlainDate('2024-01-02'),
  time: new PlainTime('01:02:03.000004'),
  td: 86_402.000003,
  dec: new Decimal('1.50'),
  odict: { a: 1 },
  exc: { exc_type: 'ValueError', exc_message: ['x', 1], exc_module: 'builtins' },
  shared: [['s'], ['s']],
};

function bytesOf(hex: string | undefined): Uint8Array {
  return Uint8Array.from(Buffer.from(hex ?? '', 'hex'));
}

function text(ascii: string): Uint8Array {
  return Uint8Array.from(Buffer.from(ascii, 'latin1'));
}

function refusal(bytes: Uint8Array): unknown {
  try {
    return { value: readPickle(bytes) };
  } catch (error) {
    return isLovageError(error, 'ERR_DECODE') ? 'refused' : error;
  }
}

describe('reading what Python wrote', () => {
  test.each(Object.keys(expected))('%s in every protocol', (name) => {
    for (const [protocol, hex] of Object.entries(vectors[name] ?? {})) {
      expect(readPickle(bytesOf(hex)), `protocol ${protocol}`).toEqual(expected[name]);
    }
    expect(Object.keys(vectors[name] ?? {})).toHaveLength(6);
  });

  test('UUID', () => {
    for (const protocol of ['2', '3', '4', '5']) {
      expect(readPickle(bytesOf(vectors['uuid']?.[protocol]))).toEqual(
        new Uuid('12345678-1234-5678-1234-567812345678'),
      );
    }
  });

  test('a key "__proto__" is an own property', () => {
    for (const hex of Object.values(vectors['dict'] ?? {})) {
      const value = readPickle(bytesOf(hex)) as Record<string, unknown>;
      expect(Object.keys(value)).toEqual(['a', 'b', '__proto__']);
      expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    }
  });

  test.each(['rec', 'complex'])('%s is refused', (name) => {
    for (const hex of Object.values(vectors[name] ?? {})) expect(refusal(bytesOf(hex))).toBe('refused');
  });
});

describe('hostile pickles', () => {
  const deep = Buffer.concat([
    Buffer.from([0x80, 4]),
    Buffer.alloc(100_000, 0x5d),
    Buffer.alloc(99_999, 0x61),
    Buffer.from('.'),
  ]);
  test.each<[string, Uint8Array]>([
    ['os.system', text('cos\nsystem\n(Vid\ntR.')],
    ['builtins.eval by STACK_GLOBAL', text('\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.')],
    ['getattr', text('\x80\x04\x8c\x08builtins\x8c\x07getattr\x93N\x8c\x01x\x86R.')],
    ['INST', text('(Vid\nios\nsystem\n.')],
    ['OBJ', text('(cos\nsystem\no.')],
    ['NEWOBJ of an unknown class', text('\x80\x02csubprocess\nPopen\n)\x81.')],
    ['an unknown class inside a list', text('\x80\x04](cos\nsystem\ne.')],
    ['an unknown class as a key', text('\x80\x04}cos\nsystem\nK\x01s.')],
    ['BUILD of a dict', text('\x80\x02}}b.')],
    ['EXT1', text('\x80\x02\x82\x01.')],
    ['PERSID', text('Pabc\n.')],
    ['a text of 4 GB', text('\x80\x04X\xff\xff\xff\xffabc.')],
    ['a text of 2^63 bytes', text('\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc.')],
    ['bytes of 2^64', text('\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\xffabc.')],
    ['a frame longer than the rest', text('\x80\x04\x95\xff\x00\x00\x00\x00\x00\x00\x00N.')],
    ['an integer of 1 GB', text('\x80\x02\x8b\x00\x00\x00\x40\x01.')],
    ['an integer of 100 000 digits', text(`I${'9'.repeat(100_000)}\n.`)],
    ['100 000 nested lists', Uint8Array.from(deep)],
    ['APPENDS without a mark', text('\x80\x02]e.')],
    ['POP of nothing', text('\x80\x020.')],
    ['GET of nothing', text('\x80\x02h\x05.')],
    ['no end', text('\x80\x02N')],
    ['nothing', new Uint8Array()],
    ['two values', text('\x80\x02NN.')],
    ['an odd number of keys and values', text('\x80\x02}(K\x01u.')],
    ['a newer protocol', text('\x80\x09N.')],
    ['a datetime of 3 bytes', text('\x80\x04\x8c\x08datetime\x8c\x08datetime\x93C\x03abc\x85R.')],
    ['an invalid code point', text('V\\U7fffffff\n.')],
  ])('%s', (_, bytes) => {
    expect(refusal(bytes)).toBe('refused');
  });

  test('sharing does not multiply', () => {
    // Ten levels of ten references to the level below would be 10^10 values.
    let body = ']q\x00';
    for (let level = 1; level <= 10; level++)
      body += `](${`h${String.fromCharCode(level - 1)}`.repeat(10)}eq${String.fromCharCode(level)}`;
    const bytes = text(`\x80\x02(${body}l.`);
    expect(refusal(bytes)).toHaveProperty('value');
  });

  test('any bytes give a value or a DecodeError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const outcome = refusal(bytes);
        expect(outcome === 'refused' || (outcome as object).hasOwnProperty('value')).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  test('an exception stays data', () => {
    const tree = readPickleTree(text('\x80\x04\x8c\x08builtins\x8c\x0aValueError\x93\x8c\x01x\x85R.'));
    expect(tree).toBeInstanceOf(PickledObject);
    expect(String((tree as PickledObject).callable)).toBe('builtins.ValueError');
    expect((tree as PickledObject).args).toEqual(['x']);
  });
});

describe('writing', () => {
  test('reads back what it wrote', () => {
    const value = fc.letrec((tie) => ({
      leaf: fc.oneof(
        fc.string({ unit: 'grapheme' }),
        fc.integer(),
        fc.maxSafeInteger(),
        fc.double(),
        fc.boolean(),
        fc.constant(null),
        fc.bigInt().filter((big) => !Number.isSafeInteger(Number(big))),
        fc.uint8Array(),
        fc.date({ min: new Date('0001-01-01'), max: new Date('9999-12-31'), noInvalidDate: true }),
      ),
      any: fc.oneof(
        { maxDepth: 4 },
        tie('leaf'),
        fc.array(tie('any')),
        fc.dictionary(fc.string(), tie('any'), { noNullPrototype: true }),
      ),
    })).any;
    fc.assert(
      fc.property(value, (sample) => {
        expect(readPickle(writePickle(sample))).toEqual(sample);
      }),
    );
  });

  test('tuples and calls', () => {
    expect(readPickle(writePickle(new PythonTuple([1, new PythonTuple([])])))).toEqual([1, []]);
    const tree = readPickleTree(
      writePickle(new PythonCall('celery.result', 'result_from_tuple', [new PythonTuple(['id', null])])),
    );
    expect((tree as PickledObject).args).toEqual([['id', null]]);
    expect(
      readPickle(
        writePickle([
          new Uuid('12345678-1234-5678-1234-567812345678'),
          new Decimal('1.10'),
          new PlainDate('2024-02-29'),
          new PlainTime('23:59:59.5'),
        ]),
      ),
    ).toEqual([
      new Uuid('12345678-1234-5678-1234-567812345678'),
      new Decimal('1.10'),
      new PlainDate('2024-02-29'),
      new PlainTime('23:59:59.500000'),
    ]);
  });

  test('says what cannot be written', () => {
    const cyclic: unknown[] = [];
    cyclic.push(cyclic);
    for (const value of [
      () => 1,
      Symbol('x'),
      new Error('x'),
      new Date(Number.NaN),
      Promise.resolve(),
      cyclic,
      { deep: [{ value: () => 1 }] },
    ]) {
      expect(() => writePickle(value)).toThrow(expect.objectContaining({ code: 'ERR_ENCODE' }));
    }
  });
});
