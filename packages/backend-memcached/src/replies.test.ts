import { expect, test } from 'vitest';
import { Replies } from './replies.ts';

test('a reply is its last line, with the items before it', () => {
  const replies = new Replies();
  expect(replies.dataBytes('VALUE a 16 4 7')).toBe(4);
  expect(replies.reply('VALUE a 16 4 7', Buffer.from('abcd'))).toBeUndefined();
  expect(replies.reply('VALUE b 0 0 18446744073709551615', Buffer.alloc(0))).toBeUndefined();
  expect(replies.dataBytes('END')).toBeUndefined();
  expect(replies.reply('END', undefined)).toEqual({
    line: 'END',
    items: new Map([
      ['a', { value: Buffer.from('abcd'), flags: 16, cas: '7' }],
      ['b', { value: Buffer.alloc(0), flags: 0, cas: '18446744073709551615' }],
    ]),
  });
  for (const line of ['END', 'STORED', '12']) {
    expect(replies.dataBytes(line)).toBeUndefined();
    expect(replies.reply(line, undefined)).toEqual({ line, items: new Map() });
  }
});

test.each(['ERROR', 'CLIENT_ERROR bad data chunk'])('after "%s" nothing is in step', (line) => {
  expect(() => new Replies().reply(line, undefined)).toThrow(/^it did not understand a command/);
});
