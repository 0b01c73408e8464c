import { type ResultCodec, silentLogger, type TaskMeta } from '@lovage/core/backend';
import { describe, expect, test } from 'vitest';
import { readGroup, writeGroup } from './groups.ts';
import { fromRow, inWholeSeconds, isKept, toColumnDate, toRow } from './rows.ts';

const codec: ResultCodec = {
  contentType: 'application/json',
  contentEncoding: 'utf-8',
  encode: (value) => JSON.stringify(value),
  decode: (data) => JSON.parse(String(data)) as unknown,
};

const meta: TaskMeta = {
  status: 'SUCCESS',
  result: { sum: 3 },
  traceback: null,
  children: [],
  date_done: '2026-01-02T03:04:05.123456+00:00',
  task_id: 'id',
};

function hex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, 'latin1'));
}

describe('rows of celery_taskmeta', () => {
  test.each([
    ['2026-01-02T03:04:05.123456+00:00', '2026-01-02 03:04:05.123456'],
    ['2026-01-02T03:04:05.123456', '2026-01-02 03:04:05.123456'],
    ['2026-01-02T03:04:05Z', '2026-01-02 03:04:05.000000'],
    ['2026-01-02T03:04:05.12+05:30', '2026-01-01 21:34:05.120000'],
    ['2026-01-02T23:04:05.000001-0500', '2026-01-03 04:04:05.000001'],
    ['yesterday', null],
    ['2026-13-02T03:04:05Z', null],
    [null, null],
  ])('date_done %s', (iso, column) => {
    expect(toColumnDate(iso)).toBe(column);
  });

  test('keep a result, and what Celery keeps of the rest', () => {
    expect(fromRow(toRow(meta, codec), codec, silentLogger)).toEqual({ ...meta, children: null });
  });

  test('keep the extended fields, arguments in the result serializer', () => {
    const extended = { ...meta, name: 'n', args: [1, 'ü'], kwargs: { a: null }, worker: 'w', retries: 2, queue: 'q' };
    const row = toRow(extended, codec);
    expect(Buffer.from(row.args ?? []).toString()).toBe('[1,"ü"]');
    expect(fromRow(row, codec, silentLogger)).toEqual({ ...extended, children: null });
  });

  test('keep an exception with its arguments', () => {
    const failed: TaskMeta = {
      ...meta,
      status: 'FAILURE',
      result: { exc_type: 'ValueError', exc_message: ['x', 1], exc_module: 'builtins' },
      traceback: 'cut\0here',
    };
    const row = toRow(failed, codec);
    expect(row.traceback).toBe('cut\ufffdhere');
    expect(fromRow(row, codec, silentLogger).result).toEqual(failed.result);
  });

  test('show an exception that Python pickled whole as data', () => {
    const row = {
      ...toRow(meta, codec),
      status: 'FAILURE',
      result: hex('\x80\x04\x8c\x08builtins\x8c\x08KeyError\x93\x8c\x01k\x85R.'),
    };
    expect(fromRow(row, codec, silentLogger).result).toEqual({
      exc_type: 'KeyError',
      exc_message: ['k'],
      exc_module: 'builtins',
    });
  });

  test('of a state that is no end have its time, and show none', () => {
    const at = Date.parse('2026-01-02T03:04:05.500Z');
    const row = toRow({ ...meta, status: 'STARTED', date_done: null }, codec, at);
    expect(row.date_done).toBe('2026-01-02 03:04:05.499000');
    expect(fromRow(row, codec, silentLogger).date_done).toBeNull();
    // A column that rounds may have an end of 05.500 as 06, and one of 05.499 as 05.
    expect(inWholeSeconds(row).date_done).toBe('2026-01-02 03:04:04.000000');
    expect(inWholeSeconds(toRow(meta, codec)).date_done).toBe('2026-01-02 03:04:05.123456');
  });

  test.each([
    ['SUCCESS', 'FAILURE', 60, true],
    ['SUCCESS', 'STARTED', 60, true],
    ['FAILURE', 'STARTED', -1, true],
    ['REVOKED', 'RETRY', 0, true],
    ['FAILURE', 'STARTED', 1, false],
    ['FAILURE', 'REVOKED', -60, false],
    ['STARTED', 'RETRY', -60, false],
  ])('a %s is kept from a %s %d ms later: %s', (stored, status, laterMs, kept) => {
    const doneAt = Date.parse('2026-01-02T03:04:05.123Z');
    const before = toRow({ ...meta, status: stored, date_done: '2026-01-02T03:04:05.123Z' }, codec, doneAt);
    const row = toRow({ ...meta, status, date_done: null }, codec, doneAt + laterMs);
    expect(isKept(before, row)).toBe(kept);
  });

  test('that cannot be read become a FAILURE that says why', () => {
    const row = { ...toRow(meta, codec), result: hex('cos\nsystem\n(Vid\ntR.') };
    expect(fromRow(row, codec, silentLogger)).toMatchObject({
      status: 'FAILURE',
      task_id: 'id',
      result: { exc_type: 'DecodeError', exc_message: [expect.stringContaining('os.system')] },
    });
  });
});

describe('saved groups', () => {
  const tuple = [
    ['g', null],
    [
      [['a', [['p', null], null]], null],
      [['inner', null], [[['b', null], null]]],
    ],
  ];

  test('are read back', () => {
    expect(readGroup(writeGroup(tuple))).toEqual(tuple);
  });

  test('of Python are read without its backend', () => {
    const opaque = '\x8c\x14celery.backends.base\x8c\x10unpickle_backend\x93)R';
    const result = (id: string) =>
      `\x8c\x0dcelery.result\x8c\x0bAsyncResult\x93(\x8c${String.fromCharCode(id.length)}${id}${opaque}NNNtR`;
    const group = `\x80\x04\x8c\x0dcelery.result\x8c\x0bGroupResult\x93\x8c\x01g](${result('a')}${result('b')}e\x86R.`;
    expect(readGroup(hex(group))).toEqual([
      ['g', null],
      [
        [['a', null], null],
        [['b', null], null],
      ],
    ]);
    const ofApp = '\x80\x04\x8c\x0fcelery.app.base\x8c\x11_unpickle_appattr\x93\x8c\x0bGroupResult\x8c\x01g]\x86\x86R.';
    expect(readGroup(hex(ofApp))).toEqual([['g', null], []]);
  });

  test.each(['N.', 'cos\nsystem\n(Vid\ntR.', '\x80\x04\x8c\x0dcelery.result\x8c\x0bGroupResult\x93K\x01]\x86R.'])(
    'refuses %j',
    (pickle) => {
      expect(() => readGroup(hex(pickle))).toThrow(expect.objectContaining({ code: 'ERR_DECODE' }));
    },
  );
});
