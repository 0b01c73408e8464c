import { isLovageError } from '@lovage/core/transport';
import { ReplyError } from 'ioredis';
import { describe, expect, test } from 'vitest';
import { isFatalReply, replyCode, toLovageError } from './errors.ts';

const reply = (message: string): Error => new ReplyError(message);

describe('replies', () => {
  test.each([
    ['LOADING Redis is loading the dataset in memory', 'ERR_CONNECT', true],
    ['BUSY Redis is busy running a script', 'ERR_BLOCKED', true],
    ['MISCONF Redis is configured to save RDB snapshots', 'ERR_BLOCKED', true],
    ["OOM command not allowed when used memory > 'maxmemory'.", 'ERR_BLOCKED', true],
    ['WRONGTYPE Operation against a key', 'ERR_PRECONDITION_FAILED', false],
    ['NOAUTH Authentication required.', 'ERR_AUTH', false],
    ['WRONGPASS invalid username-password pair', 'ERR_AUTH', false],
    ["NOPERM this user has no permissions to run the 'get' command", 'ERR_AUTH', false],
    ["READONLY You can't write against a read only replica.", 'ERR_CONNECTION_LOST', true],
    ["CROSSSLOT Keys in request don't hash to the same slot", 'ERR_UNSUPPORTED', false],
    ['MOVED 3999 127.0.0.1:6381', 'ERR_UNSUPPORTED', false],
    ["ERR unknown command 'foo'", 'ERR_UNSUPPORTED', false],
  ])('%s', (message, code, retryable) => {
    const error = toLovageError(reply(message), 'open', 'redis://h');
    expect(error).toMatchObject({ code, retryable, url: 'redis://h' });
    expect(error.cause).toBeInstanceOf(ReplyError);
  });

  test('while opening, a replica is not reached and a refused setting is wrong', () => {
    expect(toLovageError(reply('READONLY x'), 'opening', 'u').code).toBe('ERR_CONNECT');
    expect(toLovageError(reply('ERR DB index is out of range'), 'opening', 'u').code).toBe('ERR_CONFIG');
  });

  test('the code is the first word', () => {
    expect(replyCode(reply('NOSCRIPT No matching script.'))).toBe('NOSCRIPT');
    expect(replyCode(new Error('NOSCRIPT'))).toBeUndefined();
    expect(isFatalReply(reply('UNBLOCKED force unblock'))).toBe(true);
    expect(isFatalReply(reply('ERR x'))).toBe(false);
  });
});

describe('connections', () => {
  test('what fails while opening is ConnectError, and for ever with a wrong certificate', () => {
    const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
    expect(toLovageError(refused, 'opening', 'u')).toMatchObject({ code: 'ERR_CONNECT', retryable: true });
    const untrusted = Object.assign(new Error('self-signed certificate'), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' });
    expect(toLovageError(untrusted, 'opening', 'u')).toMatchObject({ code: 'ERR_CONNECT', retryable: false });
  });

  test('afterwards it is a loss, and ours stay as they are', () => {
    const lost = toLovageError(new Error('Connection is closed.'), 'open', 'u');
    expect(isLovageError(lost, 'ERR_CONNECTION_LOST')).toBe(true);
    expect(toLovageError(lost, 'open', 'u')).toBe(lost);
  });
});
