import { inflateSync } from 'node:zlib';
import { type StoredValue, UnsupportedError } from '@lovage/core/backend';
import type { Item } from './replies.ts';

/**
 * What a value is, as pylibmc and python-memcached say it in an item's flags, which both read.
 * Source: pylibmc/_pylibmcmodule.h, PYLIBMC_FLAG_...; memcache.py, Client._FLAG_...
 */
const INTEGER = 1 << 1;
const COMPRESSED = 1 << 3;
const TEXT = 1 << 4;

/** No value that is packed may become larger. */
const LARGEST_UNPACKED = 64 * 1024 * 1024;
const LONGEST_KEY = 250;
/** A longer time is a date to memcached. */
const THIRTY_DAYS = 30 * 24 * 3600;

export function flagsOf(value: StoredValue): number {
  return typeof value === 'string' ? TEXT : 0;
}

/** Flags of a number in digits, which the server can count up. */
export const INTEGER_FLAGS: number = INTEGER;

/** What is marked as packed and is not is given as it is: whoever decodes it says that it cannot be read. */
export function valueOf({ value, flags }: Item): StoredValue {
  if ((flags & COMPRESSED) === 0) return value;
  try {
    return inflateSync(value, { maxOutputLength: LARGEST_UNPACKED });
  } catch {
    return value;
  }
}

/**
 * When an item expires, as memcached wants to be told. Its clock ticks once a second, and the second that has begun
 * counts: one more makes sure of the whole time.
 */
export function exptimeOf(ttlSeconds: number | undefined): number {
  if (ttlSeconds === undefined) return 0;
  return ttlSeconds < THIRTY_DAYS ? ttlSeconds + 1 : Math.floor(Date.now() / 1000) + ttlSeconds + 1;
}

/** Whether memcached takes a key. Source: memcached/doc/protocol.txt, "Keys". */
export function isKey(key: string): boolean {
  return key !== '' && !/[\0- \x7f]/.test(key) && Buffer.byteLength(key) <= LONGEST_KEY;
}

/** Throws `UnsupportedError` unless all are keys: in the line of a command anything else could be another command. */
export function checkKeys(...keys: readonly string[]): void {
  const wrong = keys.find((key) => !isKey(key));
  if (wrong !== undefined) throw noKey(wrong);
}

export function noKey(key: string): Error {
  return new UnsupportedError(
    `${JSON.stringify(key.slice(0, 100))} cannot be a key in memcached. Expected an id without spaces and control characters, of 250 bytes at most with its prefix.`,
  );
}
