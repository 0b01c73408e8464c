import { expect, test } from 'vitest';
import { ReplyReader } from './replies.ts';

/** What a reader makes of bytes that come in pieces of this size. */
function read(bytes: Buffer, pieceBytes: number) {
  const reader = new ReplyReader();
  const replies = [];
  for (let at = 0; at < bytes.length; at += pieceBytes)
    replies.push(...reader.read(bytes.subarray(at, at + pieceBytes)));
  return replies.map(({ line, items }) => [
    line,
    [...items].map(([key, { value, flags, cas }]) => [key, value.toString('latin1'), flags, cas]),
  ]);
}

test.each([1, 2, 7, 1000])('replies are put together from pieces of %i bytes', (pieceBytes) => {
  const bytes = Buffer.from(
    'STORED\r\nVALUE a 16 4 7\r\n\r\n\xffx\r\nVALUE b 0 0 18446744073709551615\r\n\r\nEND\r\nEND\r\n12\r\n',
    'latin1',
  );
  expect(read(bytes, pieceBytes)).toEqual([
    ['STORED', []],
    [
      'END',
      [
        ['a', '\r\n\xffx', 16, '7'],
        ['b', '', 0, '18446744073709551615'],
      ],
    ],
    ['END', []],
    ['12', []],
  ]);
});

test.each(['VALUE a 0 99999999999 1\r\n', 'VALUE a 0 -1\r\n', 'x'.repeat(5000)])(
  'what is not the protocol is an error, not memory: %.30s',
  (text) => {
    expect(() => new ReplyReader().read(Buffer.from(text))).toThrow(/it sent/);
  },
);
