import { isUtf8 } from 'node:buffer';
import { types } from 'node:util';
import { DecodeError, EncodeError, isLovageError } from '../errors.ts';
import { FIRST_INSTANT_MS, formatTime, LAST_INSTANT_MS, readTime } from '../protocol/time.ts';
import { Decimal, isTextValue, PlainDate, PlainTime, Uuid } from './python-values.ts';
import { endOfString, parseTolerantly } from './json-parser.ts';

/** Containers may nest this deep, both ways. */
export const MAX_DEPTH = 128;

/**
 * A value as the JSON that Celery sends. Beyond plain JSON:
 *
 * - `Date`, `Uint8Array`, {@link Decimal}, {@link PlainDate}, {@link PlainTime} and {@link Uuid} become Kombu's tagged
 *   objects, which Python reads as `datetime`, `bytes`, `Decimal`, `date`, `time`, `UUID`. A `Date` that came from
 *   Python and was not changed goes back with its microseconds and its offset, or without one.
 * - `bigint` becomes an integer of any size; NaN and the infinities become Python's literals.
 * - `toJSON` is respected, `undefined` is left out of objects and null in arrays, as in `JSON.stringify`.
 *
 * Throws `EncodeError`, with the place of the culprit in `path`, for what would be lost silently (functions, symbols,
 * `Map`, `Set`, promises, errors ...), for circles and for more than `maxDepth` levels.
 * Source: kombu/utils/json.py (Kombu 5.3 and later).
 */
export function encodeJson(value: unknown, maxDepth: number = MAX_DEPTH): string {
  try {
    if (isPlain(value, maxDepth)) return JSON.stringify(value) ?? 'null';
    return new Writer(maxDepth).write(value, '') ?? 'null';
  } catch (error) {
    if (isLovageError(error)) throw error;
    throw new EncodeError('A value cannot be serialized: reading it failed.', { cause: error });
  }
}

/** True when `JSON.stringify` loses nothing. */
function isPlain(value: unknown, depth: number): boolean {
  switch (typeof value) {
    case 'string':
    case 'boolean':
    case 'undefined':
      return true;
    case 'number':
      return value - value === 0;
    case 'bigint':
    case 'function':
    case 'symbol':
      return false;
    case 'object':
      break;
  }
  if (value === null) return true;
  if (depth === 0) return false;
  if (Array.isArray(value)) {
    for (const item of value as unknown[]) if (!isPlain(item, depth - 1)) return false;
    return (value as { toJSON?: unknown }).toJSON === undefined;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return false;
  for (const key in value) if (!isPlain((value as Record<string, unknown>)[key], depth - 1)) return false;
  return true;
}

/** What JSON would write as `{}` or worse, and what to write instead. */
const REFUSED: readonly (readonly [test: (value: unknown) => boolean, name: string, advice: string])[] = [
  [types.isMap, 'a Map', 'Object.fromEntries(map)'],
  [types.isSet, 'a Set', '[...set]'],
  [types.isPromise, 'a Promise', 'its value: await it'],
  [types.isNativeError, 'an Error', 'its message, or throw it'],
  [types.isRegExp, 'a RegExp', 'its source'],
  [types.isWeakMap, 'a WeakMap', 'an object'],
  [types.isWeakSet, 'a WeakSet', 'a list'],
  [types.isGeneratorObject, 'a generator', '[...generator]'],
];

class Writer {
  readonly #maxDepth: number;
  readonly #path: (string | number)[] = [];
  readonly #open = new Set<object>();

  constructor(maxDepth: number) {
    this.#maxDepth = maxDepth;
  }

  /** undefined: nothing is written. */
  write(value: unknown, key: string): string | undefined {
    switch (typeof value) {
      case 'string':
        return JSON.stringify(value);
      case 'number':
        return numberText(value);
      case 'boolean':
        return value ? 'true' : 'false';
      case 'bigint':
        return value.toString();
      case 'undefined':
        return undefined;
      case 'function':
        throw this.#refuse('a function');
      case 'symbol':
        throw this.#refuse('a symbol');
      case 'object':
        return value === null ? 'null' : this.#object(value, key);
    }
  }

  #object(value: object, key: string): string | undefined {
    const tagged = this.#tagged(value);
    if (tagged !== undefined) return tagged;
    if (types.isBoxedPrimitive(value)) return this.write(value.valueOf(), key);
    if (this.#open.has(value)) throw this.#refuse('a reference to what it is a part of');
    if (this.#open.size >= this.#maxDepth) {
      throw this.#refuse(`nested deeper than ${this.#maxDepth} levels`, 'a flatter value');
    }
    this.#open.add(value);
    const text = this.#container(value, key);
    this.#open.delete(value);
    return text;
  }

  #container(value: object, key: string): string | undefined {
    const { toJSON } = value as { toJSON?: unknown };
    if (typeof toJSON === 'function') {
      let replacement: unknown;
      try {
        replacement = (toJSON as (key: string) => unknown).call(value, key);
      } catch (cause) {
        throw this.#refuse('an object whose toJSON throws', undefined, cause);
      }
      // What says that it is its own replacement is written like any object.
      if (replacement !== value) return this.write(replacement, key);
    }
    if (Array.isArray(value)) {
      // Not map, which skips holes.
      const items = Array.from(value as unknown[], (item, index) => this.#at(index, item) ?? 'null');
      return `[${items.join(',')}]`;
    }
    for (const [test, name, advice] of REFUSED) if (test(value)) throw this.#refuse(name, advice);
    const parts: string[] = [];
    for (const name of Object.keys(value)) {
      const text = this.#at(name, (value as Record<string, unknown>)[name]);
      if (text !== undefined) parts.push(`${JSON.stringify(name)}:${text}`);
    }
    return `{${parts.join(',')}}`;
  }

  #at(key: string | number, value: unknown): string | undefined {
    this.#path.push(key);
    const text = this.write(value, String(key));
    this.#path.pop();
    return text;
  }

  #tagged(value: object): string | undefined {
    if (types.isDate(value)) {
      const time = value.getTime();
      if (Number.isNaN(time)) throw this.#refuse('an invalid Date', 'a valid one');
      return tag('datetime', originalOf(value) ?? formatTime(time));
    }
    if (ArrayBuffer.isView(value)) {
      if (!(value instanceof Uint8Array))
        throw this.#refuse(`a ${value.constructor.name}`, 'Array.from(it), or its bytes');
      return bytesTag(value);
    }
    if (types.isAnyArrayBuffer(value)) return bytesTag(new Uint8Array(value));
    if (!isTextValue(value)) return undefined;
    if (value instanceof Decimal) return tag('decimal', value.text);
    if (value instanceof PlainDate) return tag('date', value.text);
    if (value instanceof PlainTime) return tag('time', value.text);
    return `{"__type__":"uuid","__value__":{"hex":"${value.hex}"}}`;
  }

  #refuse(what: string, advice?: string, cause?: unknown): Error {
    const expected = advice === undefined ? 'plain values, dates, bytes and bigints' : advice;
    return new EncodeError(`The value${describePath(this.#path)} is ${what}. Expected ${expected}.`, {
      facts: { path: [...this.#path] },
      ...(cause === undefined ? {} : { cause }),
    });
  }
}

/** ` at [0].user.name`; empty for the top. */
export function describePath(path: readonly (string | number)[]): string {
  if (path.length === 0) return '';
  const steps = path.map((step) =>
    typeof step === 'number' ? `[${step}]` : /^[A-Za-z_$][\w$]*$/.test(step) ? `.${step}` : `[${JSON.stringify(step)}]`,
  );
  return ` at ${steps.join('').replace(/^\./, '')}`;
}

function numberText(value: number): string {
  if (value - value === 0) return JSON.stringify(value);
  return Number.isNaN(value) ? 'NaN' : value > 0 ? 'Infinity' : '-Infinity';
}

function tag(type: string, value: string): string {
  return `{"__type__":"${type}","__value__":${JSON.stringify(value)}}`;
}

function bytesTag(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return isUtf8(buffer) ? tag('bytes', buffer.toString('utf8')) : tag('base64', buffer.toString('base64'));
}

/** Python's text of dates that say more than a `Date` can, and the time it stood for. */
const originals = new WeakMap<Date, { readonly text: string; readonly time: number }>();

function originalOf(date: Date): string | undefined {
  const original = originals.get(date);
  // A date that was changed since is the caller's own.
  return original !== undefined && original.time === date.getTime() ? original.text : undefined;
}

const ESCAPED_ASCII = /\\u00[2-7]/;
/** From so many digits on an integer may be beyond 2^53. */
const LONG = 16;
const LONG_INTEGER = /(?<![\d.])\d{16,}(?![\d.Ee])/;
const PYTHON_LITERAL = /NaN|Infinity/;

/**
 * Reads JSON as Python writes it: tagged values (see {@link encodeJson}), `NaN` and the infinities, integers beyond
 * 2^53 as `bigint`. A tagged `datetime` becomes a `Date` (one without an offset is UTC), `bytes` a `Buffer`. Of
 * duplicate keys the last one counts. Keys named `__proto__`, and `constructor` with a `prototype` inside, are dropped.
 *
 * Throws `DecodeError` for anything else that is not JSON, unknown tags, and more than `maxDepth` levels.
 */
export function decodeJson(text: string, maxDepth: number = MAX_DEPTH): unknown {
  return decode(text, maxDepth, false);
}

/**
 * {@link decodeJson} for what this program has written itself: an object that only looks like a tagged value stays the
 * object that it was.
 */
export function decodeOwnJson(text: string): unknown {
  return decode(text, MAX_DEPTH, true);
}

function decode(text: string, maxDepth: number, keepsUnknown: boolean): unknown {
  // Two characters are needed for each level, and a bracket.
  const mayBeDeep = text.length > 2 * maxDepth && hasMore(text, maxDepth);
  const isLong = text.length > MOST_PARSED_UNCHECKED;
  if (mayBeDeep && isLong) checkDepth(text, maxDepth);
  const value = parse(text, maxDepth);
  if (mayBeDeep && !isLong) checkLevels(value, maxDepth);
  const isSuspect =
    text.includes('__') || text.includes('"constructor"') || (text.includes('\\u00') && ESCAPED_ASCII.test(text));
  return isSuspect ? revive(value, keepsUnknown) : value;
}

function parse(text: string, maxDepth: number): unknown {
  if (hasLongDigits(text) && LONG_INTEGER.test(text)) return parseTolerantly(text, maxDepth);
  try {
    return JSON.parse(text);
  } catch (cause) {
    if (PYTHON_LITERAL.test(text)) return parseTolerantly(text, maxDepth);
    throw new DecodeError('The text is not JSON.', { cause });
  }
}

/** `/\d{16}/`, looking at every sixteenth character only: most texts have uuids, which make the expression slow. */
function hasLongDigits(text: string): boolean {
  const isDigit = (at: number): boolean => {
    const code = text.charCodeAt(at);
    return code >= 0x30 && code <= 0x39;
  };
  for (let end = LONG - 1; end < text.length; ) {
    let start = end + 1;
    while (start > end - LONG + 1 && isDigit(start - 1)) start--;
    if (start === end - LONG + 1) return true;
    end = start + LONG - 1;
  }
  return false;
}

/** True when more than `count` lists and objects begin, those in strings counted too: most texts have fewer. */
function hasMore(text: string, count: number): boolean {
  let left = count;
  for (const bracket of ['[', '{']) {
    for (let at = text.indexOf(bracket); at >= 0; at = text.indexOf(bracket, at + 1)) if (--left < 0) return true;
  }
  return false;
}

/** In characters. What is nested as deep as so much text can be does no harm before {@link checkLevels} has seen it. */
const MOST_PARSED_UNCHECKED = 256 * 1024;

/** Level by level: `JSON.parse` does not recurse, and whatever comes behind may. Several times cheaper than the text. */
function checkLevels(value: unknown, maxDepth: number): void {
  let level: object[] = typeof value === 'object' && value !== null ? [value] : [];
  for (let depth = 1; level.length > 0; depth++) {
    if (depth > maxDepth) throw tooDeep(maxDepth);
    const next: object[] = [];
    for (const container of level) {
      if (Array.isArray(container)) {
        for (const item of container as unknown[]) if (typeof item === 'object' && item !== null) next.push(item);
      } else {
        for (const key in container) {
          const item = (container as Record<string, unknown>)[key];
          if (typeof item === 'object' && item !== null) next.push(item);
        }
      }
    }
    level = next;
  }
}

function tooDeep(maxDepth: number): Error {
  return new DecodeError(`The JSON is nested deeper than ${maxDepth} levels.`);
}

/** Before parsing, so that nothing behind runs out of memory or stack. */
function checkDepth(text: string, maxDepth: number): void {
  let depth = 0;
  for (let index = 0; index < text.length; index++) {
    switch (text.charCodeAt(index)) {
      case 0x22: // "
        index = endOfString(text, index);
        break;
      case 0x5b: // [
      case 0x7b: // {
        if (++depth > maxDepth) throw tooDeep(maxDepth);
        break;
      case 0x5d: // ]
      case 0x7d: // }
        depth--;
        break;
    }
  }
}

/** Replaces tagged objects by what they stand for and drops dangerous keys, in place. */
function revive(value: unknown, keepsUnknown: boolean): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) value[index] = revive(value[index], keepsUnknown);
    return value;
  }
  const record = value as Record<string, unknown>;
  const keys = Object.keys(record);
  for (const key of keys) {
    if (key === '__proto__') {
      delete record[key];
      continue;
    }
    const item = record[key];
    if (typeof item !== 'object' || item === null) continue;
    if (key === 'constructor' && Object.hasOwn(item, 'prototype')) delete record[key];
    else record[key] = revive(item, keepsUnknown);
  }
  if (keys.length === 2 && Object.hasOwn(record, '__type__') && Object.hasOwn(record, '__value__')) {
    try {
      return untag(record['__type__'], record['__value__']);
    } catch (error) {
      if (!keepsUnknown) throw error;
    }
  }
  return record;
}

function untag(type: unknown, value: unknown): unknown {
  if (typeof value === 'string') {
    try {
      switch (type) {
        case 'datetime':
          return dateOf(value);
        case 'date':
          return new PlainDate(readTime(value) === undefined ? value : value.slice(0, 10));
        case 'time':
          return new PlainTime(value);
        case 'decimal':
          return new Decimal(value);
        case 'bytes':
          return Buffer.from(value, 'utf8');
        case 'base64':
          return Buffer.from(value, 'base64');
      }
    } catch (cause) {
      throw malformedTag(type, cause);
    }
  } else if (type === 'uuid' && typeof value === 'object' && value !== null) {
    const hex = (value as { hex?: unknown }).hex;
    try {
      if (typeof hex === 'string' && Object.keys(value).length === 1) return new Uuid(hex);
    } catch (cause) {
      throw malformedTag(type, cause);
    }
  }
  throw malformedTag(type);
}

function malformedTag(type: unknown, cause?: unknown): Error {
  return new DecodeError(
    `A value of the tagged type ${JSON.stringify(type)} cannot be read.`,
    cause === undefined ? {} : { cause },
  );
}

function dateOf(text: string): Date {
  const read = readTime(text);
  if (read === undefined) throw new RangeError('The text is no time.');
  const time = read.ms;
  const date = new Date(time);
  // An offset can lead out of the years that Python knows.
  const isInRange = time >= FIRST_INSTANT_MS && time <= LAST_INSTANT_MS;
  if (!isInRange || formatTime(time) !== text) originals.set(date, { text, time });
  return date;
}
