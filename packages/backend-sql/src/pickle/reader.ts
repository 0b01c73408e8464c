import { DecodeError } from '@lovage/core/backend';
import { PlainDate, Decimal, PlainTime, Uuid } from '@lovage/core/protocol';
import { PickledGlobal, PickledObject } from './objects.ts';

/** Values nest no deeper than this. */
export const MAX_DEPTH = 128;
/** Python refuses longer decimal numbers as well: reading them takes time that grows with the square. */
const MAX_DIGITS = 4300;
const MAX_INTEGER_BYTES = 8192;

/**
 * Reads a pickle of plain data, protocols 0 to 5, without executing anything of it: `None`, booleans, numbers (bigint
 * beyond 2^53), texts, bytes (`Uint8Array`), lists and tuples (arrays), dicts (objects, or a `Map` when a key is no
 * text), sets, `datetime` (a `Date`; without a zone it counts as UTC), `date`, `time`, `timedelta` (seconds),
 * `Decimal` and `UUID`.
 *
 * Throws `DecodeError` for whatever else it holds: other classes and functions, values that contain themselves, that
 * nest deeper than 128 levels, or that are cut off. Source: Lib/pickletools.py.
 */
export function readPickle(bytes: Uint8Array): unknown {
  return new Plainer().plain(readPickleTree(bytes), 0);
}

/**
 * The same, with objects of unknown classes kept as {@link PickledObject}: data, in the shape in which they were
 * written. Dicts are `Map`s here.
 */
export function readPickleTree(bytes: Uint8Array): unknown {
  try {
    return new Machine(bytes).run();
  } catch (error) {
    if (error instanceof RangeError || error instanceof TypeError || error instanceof SyntaxError) {
      throw new DecodeError('A pickle is damaged.', { cause: error });
    }
    throw error;
  }
}

/** Pickle's stack machine. */
class Machine {
  readonly #bytes: Buffer;
  #at = 0;
  #stack: unknown[] = [];
  readonly #marks: unknown[][] = [];
  readonly #memo = new Map<number, unknown>();

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  run(): unknown {
    for (;;) {
      const opcode = this.#take(1)[0] as number;
      if (opcode === 0x2e) {
        if (this.#stack.length !== 1 || this.#marks.length > 0) throw damaged('it ends with more than one value');
        return this.#stack[0];
      }
      this.#step(opcode);
    }
  }

  #step(opcode: number): void {
    switch (opcode) {
      case 0x80: // PROTO
        if ((this.#take(1)[0] as number) > 5) throw damaged('its protocol is newer than 5');
        return;
      case 0x95: // FRAME
        this.#checkRoom(this.#uint64());
        return;
      case 0x4e: // NONE
        return this.#push(null);
      case 0x88: // NEWTRUE
        return this.#push(true);
      case 0x89: // NEWFALSE
        return this.#push(false);
      case 0x4a: // BININT
        return this.#push(this.#take(4).readInt32LE());
      case 0x4b: // BININT1
        return this.#push(this.#take(1)[0]);
      case 0x4d: // BININT2
        return this.#push(this.#take(2).readUInt16LE());
      case 0x8a: // LONG1
        return this.#push(integerOf(this.#take(this.#take(1)[0] as number)));
      case 0x8b: // LONG4
        return this.#push(integerOf(this.#take(this.#take(4).readUInt32LE())));
      case 0x49: // INT
        return this.#push(this.#int());
      case 0x4c: // LONG
        return this.#push(decimalOf(this.#line().replace(/L$/, '')));
      case 0x47: // BINFLOAT
        return this.#push(this.#take(8).readDoubleBE());
      case 0x46: // FLOAT
        return this.#push(floatOf(this.#line()));
      case 0x8c: // SHORT_BINUNICODE
        return this.#push(this.#take(this.#take(1)[0] as number).toString('utf8'));
      case 0x58: // BINUNICODE
        return this.#push(this.#take(this.#take(4).readUInt32LE()).toString('utf8'));
      case 0x8d: // BINUNICODE8
        return this.#push(this.#take(this.#uint64()).toString('utf8'));
      case 0x56: // UNICODE
        return this.#push(rawUnicode(this.#line()));
      case 0x43: // SHORT_BINBYTES
        return this.#push(Uint8Array.from(this.#take(this.#take(1)[0] as number)));
      case 0x42: // BINBYTES
        return this.#push(Uint8Array.from(this.#take(this.#take(4).readUInt32LE())));
      case 0x8e: // BINBYTES8
      case 0x96: // BYTEARRAY8
        return this.#push(Uint8Array.from(this.#take(this.#uint64())));
      case 0x54: // BINSTRING, of Python 2
        return this.#push(this.#take(this.#take(4).readUInt32LE()).toString('latin1'));
      case 0x55: // SHORT_BINSTRING, of Python 2
        return this.#push(this.#take(this.#take(1)[0] as number).toString('latin1'));
      case 0x5d: // EMPTY_LIST
      case 0x29: // EMPTY_TUPLE
        return this.#push([]);
      case 0x7d: // EMPTY_DICT
        return this.#push(new Map());
      case 0x8f: // EMPTY_SET
        return this.#push(new Set());
      case 0x28: // MARK
        this.#marks.push(this.#stack);
        this.#stack = [];
        return;
      case 0x6c: // LIST
      case 0x74: // TUPLE
        return this.#push(this.#popMark());
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        return this.#push(this.#popMany(opcode - 0x84));
      case 0x64: // DICT
        return this.#push(putAll(new Map(), this.#popMark()));
      case 0x91: // FROZENSET
        return this.#push(new Set(this.#popMark()));
      case 0x61: // APPEND
        return append(this.#top(-2), [this.#pop()]);
      case 0x65: // APPENDS
        return this.#onMark(append);
      case 0x73: {
        // SETITEM
        const pair = this.#popMany(2);
        putAll(this.#top(), pair);
        return;
      }
      case 0x75: // SETITEMS
        return this.#onMark((target, items) => void putAll(target, items));
      case 0x90: // ADDITEMS
        return this.#onMark((target, items) => {
          if (!(target instanceof Set)) throw damaged('something is added to what is no set');
          for (const item of items) target.add(item);
        });
      case 0x30: // POP
        if (this.#stack.length > 0) this.#stack.pop();
        else this.#popMark();
        return;
      case 0x31: // POP_MARK
        this.#popMark();
        return;
      case 0x32: // DUP
        return this.#push(this.#top());
      case 0x94: // MEMOIZE
        this.#memo.set(this.#memo.size, this.#top());
        return;
      case 0x71: // BINPUT
        this.#memo.set(this.#take(1)[0] as number, this.#top());
        return;
      case 0x72: // LONG_BINPUT
        this.#memo.set(this.#take(4).readUInt32LE(), this.#top());
        return;
      case 0x70: // PUT
        this.#memo.set(Number(decimalOf(this.#line())), this.#top());
        return;
      case 0x68: // BINGET
        return this.#recall(this.#take(1)[0] as number);
      case 0x6a: // LONG_BINGET
        return this.#recall(this.#take(4).readUInt32LE());
      case 0x67: // GET
        return this.#recall(Number(decimalOf(this.#line())));
      case 0x63: {
        // GLOBAL
        const module = this.#line();
        return this.#push(new PickledGlobal(module, this.#line()));
      }
      case 0x93: {
        // STACK_GLOBAL
        const [module, name] = this.#popMany(2);
        if (typeof module !== 'string' || typeof name !== 'string') throw damaged('the name of a class is no text');
        return this.#push(new PickledGlobal(module, name));
      }
      case 0x52: // REDUCE
      case 0x81: {
        // NEWOBJ
        const [callable, args] = this.#popMany(2);
        return this.#push(make(callable, args));
      }
      case 0x92: {
        // NEWOBJ_EX
        const [callable, args, named] = this.#popMany(3);
        return this.#push(make(callable, [...asArray(args), named]));
      }
      case 0x62: {
        // BUILD
        const state = this.#pop();
        this.#push(build(this.#pop(), state));
        return;
      }
      default:
        throw damaged(`it holds the instruction 0x${opcode.toString(16)}, which is not read here`);
    }
  }

  #take(length: number): Buffer {
    this.#checkRoom(length);
    const start = this.#at;
    this.#at += length;
    return this.#bytes.subarray(start, this.#at);
  }

  #checkRoom(length: number): void {
    if (length > this.#bytes.length - this.#at) throw damaged('it is cut off');
  }

  #uint64(): number {
    const value = this.#take(8).readBigUInt64LE();
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw damaged('it is cut off');
    return Number(value);
  }

  #line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#at);
    if (end < 0) throw damaged('it is cut off');
    const line = this.#bytes.toString('latin1', this.#at, end);
    this.#at = end + 1;
    return line;
  }

  #int(): unknown {
    const line = this.#line();
    return line === '00' ? false : line === '01' ? true : decimalOf(line);
  }

  #push(value: unknown): void {
    this.#stack.push(value);
  }

  #pop(): unknown {
    if (this.#stack.length === 0) throw damaged('it takes a value where there is none');
    return this.#stack.pop();
  }

  #popMany(count: number): unknown[] {
    if (this.#stack.length < count) throw damaged('it takes a value where there is none');
    return this.#stack.splice(-count);
  }

  #top(offset = -1): unknown {
    if (this.#stack.length < -offset) throw damaged('it takes a value where there is none');
    return this.#stack.at(offset);
  }

  #popMark(): unknown[] {
    const items = this.#stack;
    const outer = this.#marks.pop();
    if (outer === undefined) throw damaged('it ends a group that was not begun');
    this.#stack = outer;
    return items;
  }

  #onMark(apply: (target: unknown, items: readonly unknown[]) => void): void {
    const items = this.#popMark();
    apply(this.#top(), items);
  }

  #recall(index: number): void {
    if (!this.#memo.has(index)) throw damaged('it refers to a value that it did not keep');
    this.#push(this.#memo.get(index));
  }
}

/** Makes what is known to be plain data; keeps the rest as it was written. */
function make(callable: unknown, args: unknown): unknown {
  if (!(callable instanceof PickledGlobal)) throw damaged('it calls what is neither class nor function');
  const list = asArray(args);
  return MAKERS.get(String(callable))?.(list) ?? new PickledObject(callable, list);
}

/** Returns undefined for arguments that are not of the expected shape: they stay an unknown object. */
const MAKERS: ReadonlyMap<string, (args: readonly unknown[]) => unknown> = new Map([
  ['datetime.datetime', ([state, zone]) => datetimeOf(bytesOf(state), zone)],
  ['datetime.date', ([state]) => dateOf(bytesOf(state))],
  ['datetime.time', ([state]) => timeOf(bytesOf(state))],
  ['datetime.timedelta', timedeltaOf],
  ['uuid.UUID', ([text]) => (typeof text === 'string' ? new Uuid(text) : undefined)],
  ['decimal.Decimal', ([text]) => (typeof text === 'string' ? new Decimal(text) : undefined)],
  ...['builtins', '__builtin__'].flatMap((module): [string, (args: readonly unknown[]) => unknown][] => [
    [`${module}.set`, ([items]) => new Set(asArray(items ?? []))],
    [`${module}.frozenset`, ([items]) => new Set(asArray(items ?? []))],
    [`${module}.bytes`, ([bytes]) => bytes ?? new Uint8Array()],
    [`${module}.bytearray`, ([bytes]) => Uint8Array.from(bytesOf(bytes) ?? [])],
  ]),
  // How protocols 0 to 2 write bytes.
  [
    '_codecs.encode',
    ([text, encoding]) =>
      typeof text === 'string' && encoding === 'latin1' ? Uint8Array.from(Buffer.from(text, 'latin1')) : undefined,
  ],
  ['collections.OrderedDict', (args) => (args.length === 0 ? new Map() : undefined)],
]);

function build(object: unknown, state: unknown): unknown {
  if (!(object instanceof PickledObject)) throw damaged('it sets the state of what is no object');
  const number = state instanceof Map ? (state as Map<unknown, unknown>).get('int') : undefined;
  if (
    String(object.callable) === 'uuid.UUID' &&
    (typeof number === 'bigint' || typeof number === 'number') &&
    number >= 0
  ) {
    const digits = BigInt(number).toString(16).padStart(32, '0');
    if (digits.length === 32) return new Uuid(digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5'));
  }
  object.state = state;
  return object;
}

/** Source: Modules/_datetimemodule.c, `__getstate__`: the month's high bit is `fold`. */
function datetimeOf(state: Buffer | undefined, zone: unknown): Date | undefined {
  if (state?.length !== 10) return undefined;
  const offsetMs = zone === undefined || zone === null ? 0 : offsetOf(zone);
  if (offsetMs === undefined) return undefined;
  const milliseconds = Math.floor(state.readUIntBE(7, 3) / 1000);
  const [, , month = 0, day = 0, hour = 0, minute = 0, second = 0] = state;
  const date = new Date(0);
  date.setUTCFullYear(state.readUInt16BE(0), (month & 0x7f) - 1, day);
  date.setUTCHours(hour, minute, second, milliseconds);
  return new Date(date.getTime() - offsetMs);
}

/** `datetime.timezone(timedelta)`; other zones need a database of zones, which a result does not bring along. */
function offsetOf(zone: unknown): number | undefined {
  if (!(zone instanceof PickledObject)) return undefined;
  const isUtc = ['pytz._UTC', 'pytz.UTC'].includes(String(zone.callable));
  if (isUtc) return 0;
  const [seconds] = zone.args;
  return String(zone.callable) === 'datetime.timezone' && typeof seconds === 'number' ? seconds * 1000 : undefined;
}

function dateOf(state: Buffer | undefined): PlainDate | undefined {
  if (state?.length !== 4) return undefined;
  return new PlainDate(`${digits(state.readUInt16BE(0), 4)}-${digits(state[2], 2)}-${digits(state[3], 2)}`);
}

function timeOf(state: Buffer | undefined): PlainTime | undefined {
  if (state?.length !== 6) return undefined;
  const microseconds = state.readUIntBE(3, 3);
  const fraction = microseconds === 0 ? '' : `.${digits(microseconds, 6)}`;
  return new PlainTime(
    `${digits((state[0] as number) & 0x7f, 2)}:${digits(state[1], 2)}:${digits(state[2], 2)}${fraction}`,
  );
}

function timedeltaOf([days, seconds = 0, microseconds = 0]: readonly unknown[]): number | undefined {
  if (typeof days !== 'number' || typeof seconds !== 'number' || typeof microseconds !== 'number') return undefined;
  return days * 86_400 + seconds + microseconds / 1e6;
}

function digits(value: number | undefined, width: number): string {
  return String(value ?? 0).padStart(width, '0');
}

function bytesOf(value: unknown): Buffer | undefined {
  if (typeof value === 'string') return Buffer.from(value, 'latin1');
  return value instanceof Uint8Array ? Buffer.from(value.buffer, value.byteOffset, value.byteLength) : undefined;
}

function asArray(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw damaged('the arguments of a call are no tuple');
  return value as readonly unknown[];
}

function append(target: unknown, items: readonly unknown[]): void {
  if (target instanceof PickledObject) return; // a subclass of list: unknown, and so is what it holds
  if (!Array.isArray(target)) throw damaged('something is appended to what is no list');
  for (const item of items) target.push(item);
}

function putAll(target: unknown, items: readonly unknown[]): unknown {
  if (items.length % 2 !== 0) throw damaged('a key has no value');
  if (target instanceof PickledObject) return target; // a subclass of dict
  if (!(target instanceof Map)) throw damaged('a key is set in what is no dict');
  for (let index = 0; index < items.length; index += 2) target.set(items[index], items[index + 1]);
  return target;
}

/** Two's complement, little endian. Source: Lib/pickle.py, decode_long. */
function integerOf(bytes: Buffer): number | bigint {
  if (bytes.length === 0) return 0;
  if (bytes.length > MAX_INTEGER_BYTES) throw damaged('it holds an integer that is too long');
  const magnitude = BigInt(`0x${Buffer.from(bytes.toReversed()).toString('hex')}`);
  return narrow(BigInt.asIntN(bytes.length * 8, magnitude));
}

function decimalOf(text: string): number | bigint {
  if (!/^-?\d+$/.test(text) || text.length > MAX_DIGITS) throw damaged('it holds an integer that is none, or too long');
  return narrow(BigInt(text));
}

function narrow(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function floatOf(text: string): number {
  const special = { inf: Number.POSITIVE_INFINITY, '-inf': Number.NEGATIVE_INFINITY, nan: Number.NaN }[text];
  if (special !== undefined) return special;
  if (!/^-?\d+(\.\d*)?(e[+-]?\d+)?$/.test(text)) throw damaged('it holds a number that is none');
  return Number(text);
}

/** Python's raw-unicode-escape: Latin-1 with `\uXXXX` and `\UXXXXXXXX`. */
function rawUnicode(text: string): string {
  return text.replace(
    /\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})/g,
    (_, short: string | undefined, long: string | undefined) =>
      String.fromCodePoint(Number.parseInt(short ?? long ?? '', 16)),
  );
}

/** Turns a tree into plain values, or says what is in the way. */
class Plainer {
  /** undefined: under way, so meeting it again means that it contains itself. */
  readonly #done = new Map<object, unknown>();

  plain(value: unknown, depth: number): unknown {
    if (typeof value !== 'object' || value === null) return value;
    if (value instanceof PickledObject) {
      throw new DecodeError(
        `A result holds an object of "${String(value.callable)}", which is not read: nothing in a pickle is executed.`,
      );
    }
    if (value instanceof PickledGlobal) {
      throw new DecodeError(
        `A result holds "${String(value)}" itself, which is not read: nothing in a pickle is executed.`,
      );
    }
    if (depth > MAX_DEPTH) throw new DecodeError(`A result nests deeper than ${MAX_DEPTH} levels.`);
    const isContainer = Array.isArray(value) || value instanceof Map || value instanceof Set;
    if (!isContainer) return value;
    if (this.#done.has(value)) {
      const done = this.#done.get(value);
      if (done === undefined) throw new DecodeError('A result contains itself.');
      return done;
    }
    this.#done.set(value, undefined);
    const plain = this.#container(value, depth + 1);
    this.#done.set(value, plain);
    return plain;
  }

  #container(value: readonly unknown[] | Map<unknown, unknown> | Set<unknown>, depth: number): unknown {
    if (value instanceof Set) return new Set([...value].map((item) => this.plain(item, depth)));
    if (!(value instanceof Map)) return value.map((item) => this.plain(item, depth));
    const entries = [...value].map(([key, item]) => [this.plain(key, depth), this.plain(item, depth)] as const);
    if (!entries.every(([key]) => typeof key === 'string')) return new Map(entries);
    // Own properties whatever they are called: an assignment to "__proto__" would not be one.
    return Object.fromEntries(entries as readonly (readonly [string, unknown])[]);
  }
}

function damaged(what: string): Error {
  return new DecodeError(`A pickle cannot be read: ${what}.`);
}
