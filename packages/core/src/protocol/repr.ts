import { isUtf8 } from 'node:buffer';
import { types } from 'node:util';
import { Decimal, isTextValue, PlainDate, PlainTime } from '../serialization/python-values.ts';

/** Celery's limit for arguments and results. Source: celery/app/amqp.py, argsrepr_maxsize. */
const REPR_LENGTH = 1024;
const MAX_LEVELS = 3;

/** `argsrepr`: the arguments as Python shows a tuple. For people; nobody may parse it. */
export function reprArgs(args: readonly unknown[], maxLength: number = REPR_LENGTH): string {
  if (args.length === 0) return '()';
  return show(args, '(', args.length === 1 ? ',)' : ')', maxLength);
}

/** `kwargsrepr`: keyword arguments as Python shows a dict. */
export function reprKwargs(kwargs: Readonly<Record<string, unknown>>, maxLength: number = REPR_LENGTH): string {
  return show(kwargs, '{', '}', maxLength);
}

/** A result as Celery shows it in logs and events. Never throws. */
export function reprResult(value: unknown, maxLength: number = REPR_LENGTH): string {
  return safeRepr(value, maxLength);
}

/**
 * A value as Celery's `saferepr` shows the Python value that it becomes: at most about `maxLength` characters, three
 * levels of containers, closing brackets always there. Never throws, whatever getters do.
 * Source: celery/utils/saferepr.py.
 */
export function safeRepr(value: unknown, maxLength: number = REPR_LENGTH): string {
  try {
    const text = quick(value, 0, maxLength);
    if (text !== undefined && text.length < maxLength) return text;
    return new Stream(maxLength).run(value, undefined);
  } catch {
    return '<Unrepresentable>';
  }
}

function show(value: object, open: string, close: string, maxLength: number): string {
  try {
    const text = quickSequence(value, open, close, 0, maxLength);
    if (text !== undefined && text.length < maxLength) return text;
    return new Stream(maxLength).run(value, [open, close]);
  } catch {
    return '<Unrepresentable>';
  }
}

/** What small values of plain types look like; undefined: ask {@link Stream}, which cuts. */
function quick(value: unknown, level: number, budget: number): string | undefined {
  switch (typeof value) {
    case 'string':
      return value.length < budget ? quote(value) : undefined;
    case 'number':
      return number(value);
    case 'boolean':
      return value ? 'True' : 'False';
    case 'undefined':
      return 'None';
    case 'bigint':
    case 'symbol':
    case 'function':
      return other(value);
    case 'object':
      break;
  }
  if (value === null) return 'None';
  if (Array.isArray(value)) return quickSequence(value, '[', ']', level, budget);
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return undefined;
  return typeof (value as { toJSON?: unknown }).toJSON === 'function'
    ? undefined
    : quickSequence(value, '{', '}', level, budget);
}

function quickSequence(value: object, open: string, close: string, level: number, budget: number): string | undefined {
  if (level >= MAX_LEVELS) return `${open}...${close}`;
  let text = open;
  let separator = '';
  if (Array.isArray(value)) {
    for (const item of value as unknown[]) {
      const shown = quick(item, level + 1, budget);
      if (shown === undefined) return undefined;
      text += separator + shown;
      if (text.length >= budget) return undefined;
      separator = ', ';
    }
    return text + close;
  }
  for (const key in value) {
    if (!Object.hasOwn(value, key)) continue;
    const shown = quick((value as Record<string, unknown>)[key], level + 1, budget);
    if (shown === undefined) return undefined;
    text += `${separator + quote(key)}: ${shown}`;
    if (text.length >= budget) return undefined;
    separator = ', ';
  }
  return text + close;
}

/** saferepr token by token: every token counts against the budget, and what is too long is cut. */
class Stream {
  #left: number;
  #text = '';
  #isFull = false;
  readonly #open: object[] = [];

  constructor(maxLength: number) {
    this.#left = maxLength;
  }

  run(value: unknown, brackets: readonly [string, string] | undefined): string {
    if (brackets === undefined) this.#value(value);
    else this.#sequence(value as object, value as object, ...brackets);
    return this.#text;
  }

  /** False when the budget is used up: then only closing brackets follow. */
  #token(make: (left: number) => string): boolean {
    if (this.#isFull) return false;
    if (this.#left <= 0) {
      this.#text += ', ...';
      this.#isFull = true;
      return false;
    }
    const shown = make(this.#left);
    this.#text += shown;
    this.#left -= shown.length;
    return true;
  }

  #value(value: unknown): void {
    if (typeof value === 'string') {
      this.#token((left) => quote(truncate(value, left)));
      return;
    }
    if (typeof value !== 'object' || value === null) {
      this.#token((left) => truncate(quick(value, 0, left) as string, left));
      return;
    }
    if (Array.isArray(value)) this.#sequence(value, value, '[', ']');
    else if (types.isSet(value)) {
      if (value.size === 0) this.#token((left) => truncate('set()', left));
      else this.#sequence(value, [...(value as Set<unknown>)], '{', '}');
    } else if (types.isMap(value)) this.#sequence(value, value, '{', '}');
    else this.#object(value);
  }

  #object(value: object): void {
    if (value instanceof Uint8Array) {
      this.#token((left) => bytes(value, left));
      return;
    }
    const special = describe(value);
    if (special !== undefined) {
      this.#token((left) => truncate(special, left));
      return;
    }
    const { toJSON } = value as { toJSON?: unknown };
    if (typeof toJSON === 'function') {
      if (this.#isSeen(value)) return;
      this.#open.push(value);
      this.#value((toJSON as (key: string) => unknown).call(value, ''));
      this.#open.pop();
      return;
    }
    this.#sequence(value, value, '{', '}');
  }

  #isSeen(value: object): boolean {
    if (!this.#open.includes(value)) return false;
    this.#token((left) => truncate(`<Recursion on ${Array.isArray(value) ? 'list' : 'dict'}>`, left));
    return true;
  }

  #sequence(identity: object, value: object, open: string, close: string): void {
    if (this.#isFull) return;
    if (this.#open.length >= MAX_LEVELS) {
      this.#token((left) => truncate(`${open}...${close}`, left));
      return;
    }
    if (this.#isSeen(identity)) return;
    if (!this.#token(() => open)) {
      // As in Celery, which has its end in hand already.
      this.#text += close;
      return;
    }
    this.#open.push(identity);
    let isFirst = true;
    for (const [key, item] of entries(value)) {
      if (!isFirst && !this.#token(() => ', ')) break;
      isFirst = false;
      if (key !== undefined) {
        if (!this.#token((left) => safeRepr(key, left)) || !this.#token(() => ': ')) break;
      }
      this.#value(item);
      if (this.#isFull) break;
    }
    this.#open.pop();
    // What was cut is closed all the same; a bracket that is itself one too many is not shown, as in Celery.
    if (this.#isFull) this.#text += close;
    else this.#token(() => close);
  }
}

function* entries(value: object): Generator<readonly [unknown, unknown]> {
  if (Array.isArray(value)) for (const item of value) yield [undefined, item];
  else if (types.isMap(value)) yield* value as Map<unknown, unknown>;
  else for (const key of Object.keys(value)) yield [key, (value as Record<string, unknown>)[key]];
}

/** Source: celery/utils/text.py, truncate. */
function truncate(text: string, left: number): string {
  if (text.length < left) return text;
  const head = text.slice(0, left);
  const space = head.lastIndexOf(' ');
  return `${space < 0 ? head : head.slice(0, space)}...`;
}

function quote(text: string): string {
  return `'${text.includes("'") ? text.replaceAll("'", "\\'") : text}'`;
}

function number(value: number): string {
  if (value - value !== 0) return Number.isNaN(value) ? 'nan' : value > 0 ? 'inf' : '-inf';
  // Python writes small numbers with an exponent earlier, and two digits of it at least.
  const text = value !== 0 && Math.abs(value) < 1e-4 ? value.toExponential() : String(value);
  return text.includes('e') ? text.replace(/e([+-])(\d)$/, 'e$10$2') : text;
}

function bytes(value: Uint8Array, left: number): string {
  const isCut = value.length > left;
  const chunk = isCut ? value.subarray(0, left) : value;
  const text = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length).toString(isUtf8(chunk) ? 'utf8' : 'hex');
  return `b'${text}${isCut ? '...' : ''}'`;
}

function other(value: bigint | symbol | Function): string {
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'symbol') return `<${value.toString()}>`;
  return value.name === '' ? '<function>' : `<function ${value.name}>`;
}

/** How Python shows the value that this one becomes there; undefined: it is a container. */
function describe(value: object): string | undefined {
  if (types.isDate(value)) return dateRepr(value);
  if (isTextValue(value)) {
    if (value instanceof Decimal) return `Decimal('${value.text}')`;
    if (value instanceof PlainDate) return `datetime.date(${value.text.split('-').map(Number).join(', ')})`;
    if (value instanceof PlainTime) return `datetime.time(${value.text})`;
    return `UUID('${value.text}')`;
  }
  if (types.isNativeError(value)) return `${value.name}(${quote(String(value.message))})`;
  if (types.isPromise(value)) return '<Promise>';
  if (types.isRegExp(value)) return String(value);
  if (types.isBoxedPrimitive(value)) return quick(value.valueOf(), 0, Number.POSITIVE_INFINITY);
  return undefined;
}

function dateRepr(date: Date): string {
  if (Number.isNaN(date.getTime())) return '<Invalid Date>';
  const parts = [
    date.getUTCFullYear(),
    date.getUTCMonth() + 1,
    date.getUTCDate(),
    date.getUTCHours(),
    date.getUTCMinutes(),
  ];
  const seconds = date.getUTCSeconds();
  const micros = date.getUTCMilliseconds() * 1000;
  if (seconds > 0 || micros > 0) parts.push(seconds);
  if (micros > 0) parts.push(micros);
  return `datetime.datetime(${parts.join(', ')}, tzinfo=datetime.timezone.utc)`;
}
