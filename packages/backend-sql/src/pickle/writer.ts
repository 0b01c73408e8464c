import { EncodeError } from '@lovage/core/backend';
import { PlainDate, Decimal, PlainTime, Uuid } from '@lovage/core/protocol';
import { MAX_DEPTH } from './reader.ts';

/** A Python tuple where an array would be a list. */
export class PythonTuple {
  readonly items: readonly unknown[];
  constructor(items: readonly unknown[]) {
    this.items = items;
  }
}

/** What Python makes by calling `module.name(*args)` when it reads the pickle. */
export class PythonCall {
  readonly module: string;
  readonly name: string;
  readonly args: readonly unknown[];
  constructor(module: string, name: string, args: readonly unknown[]) {
    this.module = module;
    this.name = name;
    this.args = args;
  }
}

/**
 * Writes plain data as a pickle of protocol 4, which every Python since 3.4 reads. Whole numbers are written as `int`,
 * a `Date` as an aware `datetime` in UTC. Throws `EncodeError` naming the place of a value that has no Python form.
 */
export function writePickle(value: unknown): Uint8Array {
  const writer = new Writer();
  writer.byte(0x80, 4);
  writer.value(value, '$', 0);
  writer.byte(0x2e);
  return writer.finish();
}

class Writer {
  #buffer = Buffer.allocUnsafe(256);
  #length = 0;

  finish(): Uint8Array {
    return Uint8Array.prototype.slice.call(this.#buffer, 0, this.#length);
  }

  byte(...bytes: readonly number[]): void {
    this.#reserve(bytes.length);
    for (const byte of bytes) this.#buffer[this.#length++] = byte;
  }

  value(value: unknown, path: string, depth: number): void {
    if (depth > MAX_DEPTH)
      throw new EncodeError(`The value at ${path} nests deeper than ${MAX_DEPTH} levels, or contains itself.`);
    switch (typeof value) {
      case 'undefined':
        return this.byte(0x4e);
      case 'boolean':
        return this.byte(value ? 0x88 : 0x89);
      case 'number':
        return this.#number(value);
      case 'bigint':
        return this.#integer(value);
      case 'string':
        return this.#text(value);
      case 'object':
        return value === null ? this.byte(0x4e) : this.#object(value, path, depth + 1);
      case 'function':
      case 'symbol':
        throw new EncodeError(`The value at ${path} is a ${typeof value}, which has no Python form.`);
    }
  }

  #object(value: object, path: string, depth: number): void {
    if (Array.isArray(value)) return this.#sequence(0x5d, 0x65, value, path, depth);
    if (value instanceof PythonTuple) return this.#tuple(value.items, path, depth);
    if (value instanceof PythonCall) return this.#call(value, path, depth);
    if (value instanceof Uint8Array) return this.#bytes(value);
    if (value instanceof Date) return this.#date(value, path, depth);
    if (value instanceof Decimal) return this.#call(new PythonCall('decimal', 'Decimal', [value.text]), path, depth);
    if (value instanceof Uuid) return this.#call(new PythonCall('uuid', 'UUID', [value.text]), path, depth);
    if (value instanceof PlainDate || value instanceof PlainTime) {
      // Their constructors take bytes of state; `fromisoformat` is no importable name of its own.
      return this.#call(stateCall(value), path, depth);
    }
    if (value instanceof Map) return this.#entries([...value], path, depth);
    if (value instanceof Set) return this.#sequence(0x8f, 0x90, [...value], path, depth);
    const { toJSON } = value as { toJSON?: unknown };
    if (typeof toJSON === 'function') return this.value((toJSON as () => unknown).call(value), path, depth);
    const prototype: unknown = Object.getPrototypeOf(value);
    if (
      prototype !== Object.prototype &&
      prototype !== null &&
      (value instanceof Error || value instanceof Promise || ArrayBuffer.isView(value))
    ) {
      throw new EncodeError(
        `The value at ${path} is a ${value.constructor.name}, which has no Python form. Convert it to an object, an array or a text.`,
      );
    }
    return this.#entries(
      Object.entries(value).filter(([, item]) => item !== undefined),
      path,
      depth,
    );
  }

  #entries(entries: readonly (readonly [unknown, unknown])[], path: string, depth: number): void {
    this.byte(0x7d);
    if (entries.length === 0) return;
    this.byte(0x28);
    for (const [key, item] of entries) {
      if (typeof key === 'object' && key !== null)
        throw new EncodeError(`A key of the Map at ${path} is an object, which cannot be hashed in Python.`);
      this.value(key, path, depth);
      this.value(item, `${path}.${String(key)}`, depth);
    }
    this.byte(0x75);
  }

  #sequence(empty: number, fill: number, items: readonly unknown[], path: string, depth: number): void {
    this.byte(empty);
    if (items.length === 0) return;
    this.byte(0x28);
    for (const [index, item] of items.entries()) this.value(item, `${path}[${index}]`, depth);
    this.byte(fill);
  }

  #tuple(items: readonly unknown[], path: string, depth: number): void {
    if (items.length === 0) return this.byte(0x29);
    this.byte(0x28);
    for (const [index, item] of items.entries()) this.value(item, `${path}[${index}]`, depth);
    this.byte(0x74);
  }

  #call({ module, name, args }: PythonCall, path: string, depth: number): void {
    this.#text(module);
    this.#text(name);
    this.byte(0x93);
    this.#tuple(args, path, depth);
    this.byte(0x52);
  }

  #date(date: Date, path: string, depth: number): void {
    const year = date.getUTCFullYear();
    if (!(year >= 1 && year <= 9999))
      throw new EncodeError(`The date at ${path} is invalid, or outside of Python's years 1 to 9999.`);
    const state = Buffer.alloc(10);
    state.writeUInt16BE(year, 0);
    state.set(
      [date.getUTCMonth() + 1, date.getUTCDate(), date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()],
      2,
    );
    state.writeUIntBE(date.getUTCMilliseconds() * 1000, 7, 3);
    const utc = new PythonCall('datetime', 'timezone', [new PythonCall('datetime', 'timedelta', [0])]);
    this.#call(new PythonCall('datetime', 'datetime', [state, utc]), path, depth);
  }

  #number(value: number): void {
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) {
      this.#reserve(9);
      this.#buffer[this.#length++] = 0x47;
      this.#buffer.writeDoubleBE(value, this.#length);
      this.#length += 8;
    } else if (value >= 0 && value < 0x100) {
      this.byte(0x4b, value);
    } else if (value >= 0 && value < 0x1_0000) {
      this.byte(0x4d, value & 0xff, value >> 8);
    } else if (value >= -0x8000_0000 && value < 0x8000_0000) {
      this.byte(0x4a, value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, (value >> 24) & 0xff);
    } else {
      this.#integer(BigInt(value));
    }
  }

  /** Two's complement in as few bytes as hold the sign. Source: Lib/pickle.py, encode_long. */
  #integer(value: bigint): void {
    const magnitude = value < 0n ? -value - 1n : value;
    const length = value === 0n ? 0 : Math.floor(magnitude.toString(2).length / 8) + 1;
    const hex = BigInt.asUintN(length * 8, value)
      .toString(16)
      .padStart(length * 2, '0');
    const bytes = Buffer.from(length === 0 ? '' : hex, 'hex').toReversed();
    if (length < 0x100) this.byte(0x8a, length);
    else {
      this.byte(0x8b);
      this.#uint32(length);
    }
    this.#copy(bytes);
  }

  #text(text: string): void {
    const length = Buffer.byteLength(text);
    this.#head(length, 0x8c, 0x58, 0x8d);
    this.#reserve(length);
    this.#length += this.#buffer.write(text, this.#length, 'utf8');
  }

  #bytes(bytes: Uint8Array): void {
    this.#head(bytes.length, 0x43, 0x42, 0x8e);
    this.#copy(bytes);
  }

  #head(length: number, short: number, middle: number, long: number): void {
    if (length < 0x100) return this.byte(short, length);
    if (length < 0x1_0000_0000) {
      this.byte(middle);
      return this.#uint32(length);
    }
    this.byte(long);
    this.#reserve(8);
    this.#buffer.writeBigUInt64LE(BigInt(length), this.#length);
    this.#length += 8;
  }

  #uint32(value: number): void {
    this.#reserve(4);
    this.#buffer.writeUInt32LE(value, this.#length);
    this.#length += 4;
  }

  #copy(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  #reserve(length: number): void {
    if (this.#length + length <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#length + length));
    this.#buffer.copy(larger, 0, 0, this.#length);
    this.#buffer = larger;
  }
}

/** `datetime.date` and `datetime.time` from the bytes of their state. */
function stateCall(value: PlainDate | PlainTime): PythonCall {
  const numbers = value.text.split(/[-:.]/);
  if (value instanceof PlainDate) {
    const [year = 0, month = 0, day = 0] = numbers.map(Number);
    return new PythonCall('datetime', 'date', [Uint8Array.of(year >> 8, year & 0xff, month, day)]);
  }
  const [hour = 0, minute = 0, second = 0] = numbers.map(Number);
  const microseconds = Number((numbers[3] ?? '0').padEnd(6, '0').slice(0, 6));
  const state = Buffer.alloc(6);
  state.set([hour, minute, second]);
  state.writeUIntBE(microseconds, 3, 3);
  return new PythonCall('datetime', 'time', [state]);
}
