import { acrossCopies } from '../internal/across-copies.ts';

/** A value of a Python type that JavaScript lacks, kept as text so that it is sent on as it came. */
abstract class TextValue {
  static {
    acrossCopies(TextValue, 'python-value');
  }

  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }

  toString(): string {
    return this.text;
  }

  /** Plain JSON shows the text; task arguments and results keep the type. */
  toJSON(): string {
    return this.text;
  }
}

const DECIMAL = /^[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[Ee][+-]?\d+)?|inf(?:inity)?|s?nan\d*)$/i;
const DATE = /^\d{4}-\d{2}-\d{2}$/;
const TIME = /^\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:[+-]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?$/;
const UUID = /^[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}$/;

/** Python's `decimal.Decimal`: `new Decimal('1.50')` arrives there with its trailing zero. Does no arithmetic. */
export class Decimal extends TextValue {
  static {
    acrossCopies(Decimal, 'python-decimal');
  }

  /** Throws `RangeError` for text that Python's Decimal does not read. */
  constructor(text: string) {
    super(text);
    if (!DECIMAL.test(text)) throw new RangeError(`${JSON.stringify(text)} is no decimal number.`);
  }
}

/** Python's `datetime.date`: a day without a time, `2026-01-31`. */
export class PlainDate extends TextValue {
  static {
    acrossCopies(PlainDate, 'python-date');
  }

  /** Throws `RangeError` for text that is not `YYYY-MM-DD`. */
  constructor(text: string) {
    super(text);
    if (!DATE.test(text)) throw new RangeError(`${JSON.stringify(text)} is no date. Expected YYYY-MM-DD.`);
  }
}

/** Python's `datetime.time`: a time of day, `12:30:00.250000`, with an offset or without. */
export class PlainTime extends TextValue {
  static {
    acrossCopies(PlainTime, 'python-time');
  }

  /** Throws `RangeError` for text that is not `HH:MM[:SS[.ffffff]]` with an optional offset. */
  constructor(text: string) {
    super(text);
    if (!TIME.test(text)) throw new RangeError(`${JSON.stringify(text)} is no time. Expected HH:MM:SS.`);
  }
}

/** Python's `uuid.UUID`. A task id is plain text; this is for arguments that are UUIDs in Python. */
export class Uuid extends TextValue {
  static {
    acrossCopies(Uuid, 'python-uuid');
  }

  /** Takes 32 hexadecimal digits, with hyphens or without. Throws `RangeError` otherwise. */
  constructor(text: string) {
    const hex = text.toLowerCase().replace(/^urn:uuid:|[{}-]/g, '');
    super(`${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`);
    if (!UUID.test(this.text)) throw new RangeError(`${JSON.stringify(text)} is no UUID.`);
  }

  /** The 32 digits. */
  get hex(): string {
    return this.text.replaceAll('-', '');
  }
}

/** True for the four value types. */
export function isTextValue(value: object): value is Decimal | PlainDate | PlainTime | Uuid {
  return value instanceof TextValue;
}
