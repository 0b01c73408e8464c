import { expect, test } from 'vitest';
import { readStats, ReplyReader } from './replies.ts';

const BODY = Buffer.from([0, 13, 10, 255, 82, 69]);
const STREAM = Buffer.concat([
  Buffer.from('INSERTED 7\r\nRESERVED 7 6\r\n'),
  BODY,
  Buffer.from('\r\nDEADLINE_SOON\r\nOK 9\r\n---\na: 1\n\r\nRESERVED 8 0\r\n\r\nNOT_FOUND\r\n'),
]);
const EXPECTED = [
  { word: 'INSERTED', args: ['7'], body: undefined },
  { word: 'RESERVED', args: ['7', '6'], body: BODY },
  { word: 'DEADLINE_SOON', args: [], body: undefined },
  { word: 'OK', args: ['9'], body: Buffer.from('---\na: 1\n') },
  { word: 'RESERVED', args: ['8', '0'], body: Buffer.alloc(0) },
  { word: 'NOT_FOUND', args: [], body: undefined },
];

test('replies are the same wherever the network cuts them', () => {
  for (let cut = 0; cut <= STREAM.length; cut++) {
    const reader = new ReplyReader();
    expect([...reader.read(STREAM.subarray(0, cut)), ...reader.read(STREAM.subarray(cut))]).toEqual(EXPECTED);
  }
  const reader = new ReplyReader();
  expect([...STREAM].flatMap((byte) => reader.read(Buffer.from([byte])))).toEqual(EXPECTED);
});

test.each([
  ['HTTP/1.1 400 Bad Request\r\n'],
  ['x'.repeat(2000)],
  ['RESERVED 1\r\n'],
  ['RESERVED 1 -5\r\n'],
  ['RESERVED 1 2\r\nabcd'],
])('%j is not beanstalkd', (text) => {
  expect(() => new ReplyReader().read(Buffer.from(text))).toThrow();
});

test('stats are names and values', () => {
  const stats = readStats(Buffer.from('---\nname: a.b\ncurrent-jobs-ready: 3\nversion: "1.12"\n'));
  expect([...stats]).toEqual([
    ['name', 'a.b'],
    ['current-jobs-ready', '3'],
    ['version', '1.12'],
  ]);
});
