import { expect, test } from 'vitest';
import { type LineProtocol, LineReader } from './line-reader.ts';

/** `DATA n` has data and is a part of the reply that the next other line ends. */
function protocol(): LineProtocol<readonly string[]> {
  const parts: string[] = [];
  return {
    dataBytes: (line) => (line.startsWith('DATA ') ? Number(line.slice(5)) : undefined),
    reply: (line, data) => {
      if (line === 'WRONG') throw new Error('it is wrong');
      parts.push(data === undefined ? line : data.toString('latin1'));
      return data === undefined ? parts.splice(0) : undefined;
    },
  };
}

const STREAM = Buffer.from(
  'ok\r\nDATA 6\r\n\0\r\n\xffR\n\r\nDATA 0\r\n\r\nEND\r\ngr\xc3\xb6\xc3\x9fe\r\n\r\n',
  'latin1',
);
const EXPECTED = [['ok'], ['\0\r\n\xffR\n', '', 'END'], ['größe'], ['']];

test('replies are the same wherever the network cuts them', () => {
  for (let cut = 0; cut <= STREAM.length; cut++) {
    const reader = new LineReader(protocol());
    expect([...reader.read(STREAM.subarray(0, cut)), ...reader.read(STREAM.subarray(cut))]).toEqual(EXPECTED);
  }
  const reader = new LineReader(protocol());
  expect([...STREAM].flatMap((byte) => [...reader.read(Buffer.from([byte]))])).toEqual(EXPECTED);
});

test.each([
  ['a line without an end', 'x'.repeat(2000)],
  ['a line that is too long', `${'x'.repeat(2000)}\r\n`],
  ['a size that is none', 'DATA x\r\n'],
  ['a size below nothing', 'DATA -5\r\n'],
  ['a size that no memory has', 'DATA 99999999999\r\n'],
  ['data that goes on', 'DATA 2\r\nabcd'],
  ['what the protocol refuses', 'WRONG\r\n'],
])('%s is an error, after the replies before it', (_, text) => {
  const replies = new LineReader(protocol()).read(Buffer.from(`ok\r\n${text}`));
  expect(replies.next().value).toEqual(['ok']);
  expect(() => replies.next()).toThrow(/^it /);
});
