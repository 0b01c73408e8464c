import { expect, test } from 'vitest';
import { readStats, REPLIES } from './replies.ts';

test.each([
  ['INSERTED 7', undefined, ['7']],
  ['RESERVED 7 6', 6, ['7', '6']],
  ['FOUND 7 0', 0, ['7', '0']],
  ['OK 9', 9, ['9']],
  ['DEADLINE_SOON', undefined, []],
  ['RESERVED 1', Number.NaN, ['1']],
])('%s', (line, bytes, args) => {
  const body = bytes === undefined ? undefined : Buffer.alloc(bytes || 0);
  expect(REPLIES.dataBytes(line)).toBe(bytes);
  expect(REPLIES.reply(line, body)).toEqual({ word: line.split(' ')[0], args, body });
});

test.each(['HTTP/1.1 400 Bad Request', '', 'BAD_FORMAT', 'UNKNOWN_COMMAND', 'EXPECTED_CRLF'])(
  'after "%s" nothing is in step',
  (line) => {
    expect(() => REPLIES.reply(line, undefined)).toThrow(/^it /);
  },
);

test('stats are names and values', () => {
  const stats = readStats(Buffer.from('---\nname: a.b\ncurrent-jobs-ready: 3\nversion: "1.12"\n'));
  expect([...stats]).toEqual([
    ['name', 'a.b'],
    ['current-jobs-ready', '3'],
    ['version', '1.12'],
  ]);
});
