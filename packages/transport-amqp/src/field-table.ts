import { DecodeError, EncodeError } from '@lovage/core/transport';
import type { ByteWriter } from './byte-writer.ts';

/** Deeper tables are refused in both directions: recursion must not be the sender's to choose. */
const MAX_DEPTH = 64;

const INT32_MIN = -0x8000_0000;
const INT32_MAX = 0x7fff_ffff;
const INT64_MAX = 0x7fff_ffff_ffff_ffffn;
const INT64_MIN = -0x8000_0000_0000_0000n;

const TAG_ARRAY = 0x41; // A
const TAG_TABLE = 0x46; // F
const TAG_INT32 = 0x49; // I
const TAG_INT64_PYTHON = 0x4c; // L
const TAG_STRING = 0x53; // S
const TAG_TIMESTAMP = 0x54; // T
const TAG_VOID = 0x56; // V
const TAG_DOUBLE = 0x64; // d
const TAG_INT64 = 0x6c; // l
const TAG_BOOLEAN = 0x74; // t
const TAG_BYTES = 0x78; // x

/**
 * Writes an AMQP field table: `S` strings, `I` integers, `l` and `L` (negative) only for what exceeds 32 bits, `d` other numbers,
 * `t`, `V`, `A`, `F`, `x` bytes, `T` dates. Members that are `undefined` are left out.
 *
 * Small integers are `I` too: `s` and `b`, which other clients choose for them, are read by py-amqp before 5.4 as a
 * string and as unsigned. Throws `EncodeError`. Source: py-amqp, amqp/serialization.py, _write_item.
 */
export function writeTable(out: ByteWriter, table: Readonly<Record<string, unknown>>, depth = 0): void {
  if (depth > MAX_DEPTH) throw new EncodeError(`A header is nested deeper than ${MAX_DEPTH} levels.`);
  const sizeAt = out.reserve(4);
  const start = out.length;
  for (const key of Object.keys(table)) {
    const value = table[key];
    if (value === undefined) continue;
    out.shortString(key, 'header name');
    writeValue(out, value, key, depth);
  }
  out.patchU32(sizeAt, out.length - start);
}

function writeValue(out: ByteWriter, value: unknown, key: string, depth: number): void {
  switch (typeof value) {
    case 'string':
      out.u8(TAG_STRING);
      out.longString(value);
      return;
    case 'number':
      if (value >= INT32_MIN && value <= INT32_MAX && Number.isInteger(value)) {
        out.u8(TAG_INT32);
        out.u32(value);
      } else if (Number.isSafeInteger(value)) {
        out.u8(longTag(value));
        out.i64(BigInt(value));
      } else {
        out.u8(TAG_DOUBLE);
        out.f64(value);
      }
      return;
    case 'bigint':
      if (value < INT64_MIN || value > INT64_MAX)
        throw new EncodeError(`The header "${key}" holds an integer beyond 64 bits.`);
      out.u8(longTag(value));
      out.i64(value);
      return;
    case 'boolean':
      out.u8(TAG_BOOLEAN);
      out.u8(value ? 1 : 0);
      return;
    case 'undefined':
      out.u8(TAG_VOID);
      return;
    case 'object':
      writeObject(out, value, key, depth);
      return;
    case 'function':
    case 'symbol':
      throw new EncodeError(`The header "${key}" holds a ${typeof value}. Expected what JSON has, bytes or a Date.`);
  }
}

/** py-amqp before 5.4 reads `l` as unsigned; `L`, its own, is signed in all versions, but unknown to other clients. */
function longTag(value: number | bigint): number {
  return value < 0 ? TAG_INT64_PYTHON : TAG_INT64;
}

function writeObject(out: ByteWriter, value: object | null, key: string, depth: number): void {
  if (value === null) {
    out.u8(TAG_VOID);
  } else if (Array.isArray(value)) {
    if (depth >= MAX_DEPTH) throw new EncodeError(`The header "${key}" is nested deeper than ${MAX_DEPTH} levels.`);
    out.u8(TAG_ARRAY);
    const sizeAt = out.reserve(4);
    const start = out.length;
    for (const item of value) writeValue(out, item, key, depth + 1);
    out.patchU32(sizeAt, out.length - start);
  } else if (value instanceof Uint8Array) {
    out.u8(TAG_BYTES);
    out.u32(value.length);
    out.raw(value);
  } else if (value instanceof Date) {
    out.u8(TAG_TIMESTAMP);
    out.i64(BigInt(Math.floor(value.getTime() / 1000)));
  } else {
    out.u8(TAG_TABLE);
    writeTable(out, value as Record<string, unknown>, depth + 1);
  }
}

/**
 * Reads the field table that fills `bytes`, length prefix excluded. Objects have a null prototype; integers beyond
 * 2^53 are `bigint`, timestamps are `Date`, decimals numbers. Throws `DecodeError` on anything that is not a table.
 */
export function readTable(bytes: Buffer): Record<string, unknown> {
  const reader = new TableReader(bytes);
  try {
    return reader.table(bytes.length, 0);
  } catch (cause) {
    if (cause instanceof RangeError) throw new DecodeError('A header table ends in the middle of a value.', { cause });
    throw cause;
  }
}

class TableReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  table(end: number, depth: number): Record<string, unknown> {
    const table: Record<string, unknown> = Object.create(null);
    while (this.#at < end) {
      const length = this.#bytes[this.#at++] as number;
      const key = this.#text(length, end);
      table[key] = this.#value(end, depth);
    }
    if (this.#at !== end) throw new DecodeError('A header table ends in the middle of a value.');
    return table;
  }

  #skip(count: number, end: number): number {
    const at = this.#at;
    if (count > end - at) throw new DecodeError('A header table ends in the middle of a value.');
    this.#at = at + count;
    return at;
  }

  #text(length: number, end: number): string {
    const at = this.#skip(length, end);
    return this.#bytes.toString('utf8', at, at + length);
  }

  #value(end: number, depth: number): unknown {
    const bytes = this.#bytes;
    const tag = bytes[this.#skip(1, end)] as number;
    switch (tag) {
      case TAG_STRING:
        return this.#text(bytes.readUInt32BE(this.#skip(4, end)), end);
      case TAG_VOID:
        return null;
      case TAG_INT32:
        return bytes.readInt32BE(this.#skip(4, end));
      case TAG_BOOLEAN:
        return bytes[this.#skip(1, end)] !== 0;
      case TAG_DOUBLE:
        return bytes.readDoubleBE(this.#skip(8, end));
      case TAG_INT64:
      case TAG_INT64_PYTHON:
        return plainInteger(bytes.readBigInt64BE(this.#skip(8, end)));
      case TAG_BYTES: {
        const length = bytes.readUInt32BE(this.#skip(4, end));
        const at = this.#skip(length, end);
        return Buffer.from(bytes.subarray(at, at + length));
      }
      case TAG_TIMESTAMP:
        return new Date(Number(bytes.readBigInt64BE(this.#skip(8, end))) * 1000);
      case TAG_TABLE:
      case TAG_ARRAY: {
        if (depth >= MAX_DEPTH) throw new DecodeError(`A header is nested deeper than ${MAX_DEPTH} levels.`);
        const length = bytes.readUInt32BE(this.#skip(4, end));
        if (length > end - this.#at) throw new DecodeError('A header table ends in the middle of a value.');
        return tag === TAG_TABLE ? this.table(this.#at + length, depth + 1) : this.#array(this.#at + length, depth + 1);
      }
      case 0x44: {
        // D: decimal
        const places = bytes[this.#skip(1, end)] as number;
        return bytes.readInt32BE(this.#skip(4, end)) / 10 ** places;
      }
      case 0x66: // f
        return bytes.readFloatBE(this.#skip(4, end));
      case 0x69: // i
        return bytes.readUInt32BE(this.#skip(4, end));
      case 0x73: // s: an int16 to RabbitMQ, whatever the specification says
        return bytes.readInt16BE(this.#skip(2, end));
      case 0x75: // u
        return bytes.readUInt16BE(this.#skip(2, end));
      case 0x62: // b
        return bytes.readInt8(this.#skip(1, end));
      case 0x42: // B
        return bytes[this.#skip(1, end)];
      default:
        throw new DecodeError(`A header has the unknown type tag 0x${tag.toString(16)}.`);
    }
  }

  #array(end: number, depth: number): unknown[] {
    const items: unknown[] = [];
    while (this.#at < end) items.push(this.#value(end, depth));
    if (this.#at !== end) throw new DecodeError('A header list ends in the middle of a value.');
    return items;
  }
}

function plainInteger(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
