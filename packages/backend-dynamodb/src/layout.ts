import type { Item } from './table.ts';

/** Names of attributes. Source: celery/backends/dynamodb.py, _key_field and its neighbours. */
export const KEY = 'id';
export const VALUE = 'result';
export const TIMESTAMP = 'timestamp';
export const TTL = 'ttl';
export const COUNT = 'chord_count';

/** The most that an item may have: its attributes' names and values. Source: quotas of DynamoDB. */
export const MOST_BYTES = 400 * 1024;

/**
 * The `id` of an item: Celery writes the text that Python has for a key of bytes, `b'celery-task-meta-...'` with the b and
 * the quotes. Source: celery/backends/dynamodb.py, get and set.
 */
export function idOf(key: string): string {
  const bytes = Buffer.from(key);
  const quote = key.includes("'") && !key.includes('"') ? '"' : "'";
  let text = '';
  for (const byte of bytes) {
    const char = String.fromCharCode(byte);
    if (char === '\\' || char === quote) text += `\\${char}`;
    else if (char === '\t') text += '\\t';
    else if (char === '\n') text += '\\n';
    else if (char === '\r') text += '\\r';
    else if (byte < 0x20 || byte >= 0x7f) text += `\\x${byte.toString(16).padStart(2, '0')}`;
    else text += char;
  }
  return `b${quote}${text}${quote}`;
}

/** DynamoDB removes what has expired within days: until then it counts as gone. */
export function hasExpired(item: Item): boolean {
  const ttl = item[TTL]?.N;
  return ttl !== undefined && Number(ttl) <= Date.now() / 1000;
}

/** The time and, where there is one, the end of an item that is written now. Whole seconds, rounded up. */
export function timesOf(ttlSeconds: number | undefined): Item {
  const now = Date.now() / 1000;
  return {
    [TIMESTAMP]: { N: String(now) },
    ...(ttlSeconds === undefined ? {} : { [TTL]: { N: String(Math.ceil(now + ttlSeconds)) } }),
  };
}
