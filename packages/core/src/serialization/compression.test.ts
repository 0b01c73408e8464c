import { randomBytes } from 'node:crypto';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { beforeAll, describe, expect, test } from 'vitest';
import { codeOf } from '../../test/support/code-of.ts';
import { compress, decompress, isCompressionLoaded, loadCompression } from './compression.ts';

const TEXT = '[[2, 3], {}, {"callbacks": null}]';

/** As Python 3.11 and the zstd command wrote it. */
const FOREIGN: readonly (readonly [alias: string, type: string, bytes: string])[] = [
  ['zlib', 'application/x-gzip', 'eJyLjjbSUTCO1VGorgVipeTEnJykxOTsYiUrhbzSnJzaWACl4wqj'],
  [
    'bzip2',
    'application/x-bz2',
    'QlpoOTFBWSZTWejO2L8AAAabgFAEGBAACjgNCgogACIj0mg9Q0yFNMjExMQNVHi8k50FLc77DqokGJCPb4u5IpwoSHRnbF+A',
  ],
  ['brotli', 'application/x-brotli', 'CxCAW1syLCAzXSwge30sIHsiY2FsbGJhY2tzIjogbnVsbH1dAw=='],
  ['zstd', 'application/zstd', 'KLUv/SQhCQEAW1syLCAzXSwge30sIHsiY2FsbGJhY2tzIjogbnVsbH1d/jOgIQ=='],
];

beforeAll(async () => {
  await Promise.all(['zstd', 'bzip2'].map((name) => loadCompression(name)));
});

describe.each(FOREIGN)('%s', (alias, type, base64) => {
  test('reads what others write, by alias and by type', () => {
    for (const name of [alias, type])
      expect(Buffer.from(decompress(name, Buffer.from(base64, 'base64'))).toString()).toBe(TEXT);
  });

  test('reads what it writes', () => {
    for (const body of [
      Buffer.alloc(0),
      Buffer.from(TEXT),
      Buffer.from(TEXT.repeat(10_000)),
      Buffer.from(Array.from({ length: 5000 }, (_, index) => (index * 7919) % 251)),
    ]) {
      const { body: packed, contentType } = compress(alias, body);
      expect(contentType).toBe(type);
      expect(Buffer.from(decompress(contentType, packed)).equals(body)).toBe(true);
    }
  });

  test('truncated and damaged bodies are refused', () => {
    const bytes = Buffer.from(base64, 'base64');
    expect(codeOf(() => decompress(alias, bytes.subarray(0, bytes.length - 6)))).toBe('ERR_DECODE');
    expect(codeOf(() => decompress(alias, Buffer.alloc(0)))).toBe('ERR_DECODE');
    expect(codeOf(() => decompress(alias, Buffer.from('not compressed at all')))).toBe('ERR_DECODE');
  });

  test('bombs are refused, cheaply', () => {
    const bomb = compress(alias, Buffer.alloc(20 * 1024 * 1024)).body;
    const before = process.memoryUsage().rss;
    expect(codeOf(() => decompress(alias, bomb))).toBe('ERR_DECODE');
    expect(codeOf(() => decompress(alias, bomb, 1000))).toBe('ERR_DECODE');
    expect(process.memoryUsage().rss - before).toBeLessThan(96 * 1024 * 1024);
  });
});

test('the output may have 32 MiB', () => {
  const large = randomBytes(25 * 1024 * 1024);
  expect(decompress('zlib', deflateSync(large, { level: 0 })).length).toBe(large.length);
  expect(codeOf(() => decompress('zlib', deflateSync(Buffer.concat([large, large]), { level: 0 })))).toBe('ERR_DECODE');
});

test('beyond 1 MiB the output may be 200 times the input', () => {
  expect(decompress('zlib', deflateSync(Buffer.alloc(1024 * 1024))).length).toBe(1024 * 1024);
  expect(codeOf(() => decompress('brotli', brotliCompressSync(Buffer.alloc(1024 * 1024 + 1))))).toBe('ERR_DECODE');
});

test('zlib and gzip are both a zlib stream; a real gzip file is refused, as in Celery', () => {
  expect(compress('gzip', Buffer.from(TEXT)).body.subarray(0, 2)).toEqual(Buffer.from([0x78, 0x9c]));
  expect(codeOf(() => decompress('gzip', gzipSync(TEXT)))).toBe('ERR_DECODE');
});

test('a zstd frame that does not tell its size', () => {
  const frame = Buffer.from('KLUv/QRYCQEAW1syLCAzXSwge30sIHsiY2FsbGJhY2tzIjogbnVsbH1d/jOgIQ==', 'base64');
  expect(Buffer.from(decompress('zstandard', frame)).toString()).toBe(TEXT);
});

test('a zstd frame that claims ten gigabytes', () => {
  const frame = Buffer.from('28b52ffde0', 'hex');
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(10n * 1024n ** 3n);
  expect(codeOf(() => decompress('zstd', Buffer.concat([frame, size, Buffer.alloc(64)])))).toBe('ERR_DECODE');
});

test('what is unknown or not supported says so', async () => {
  expect(codeOf(() => decompress('application/x-what', Buffer.from('x')))).toBe('ERR_UNSUPPORTED');
  expect(codeOf(() => compress('lzma', Buffer.from('x')))).toBe('ERR_UNSUPPORTED');
  await expect(loadCompression('xz')).rejects.toThrow(
    'The compression "xz" is not supported. Expected one of: zlib, gzip, brotli, zstd, bzip2.',
  );
});

test('loading leaves the globals alone', async () => {
  await loadCompression('bzip2');
  expect(isCompressionLoaded('bzip')).toBe(true);
  expect(Object.getOwnPropertyDescriptor(globalThis, 'require')).toBeUndefined();
  expect(Object.getOwnPropertyDescriptor(globalThis, '__dirname')).toBeUndefined();
  // It would end the process with every error that nobody caught.
  const listeners = [...process.listeners('uncaughtException'), ...process.listeners('unhandledRejection')];
  expect(listeners.filter((listener) => /ExitStatus|throw reason/.test(String(listener)))).toEqual([]);
});
