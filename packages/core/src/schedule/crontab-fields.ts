import { ConfigError } from '../errors.ts';

/** A field as Celery takes it: a number, text in its grammar, or numbers. */
export type CrontabField = number | string | readonly number[] | ReadonlySet<number>;

interface FieldKind {
  /** As in Celery's own arguments. */
  readonly name: string;
  readonly min: number;
  readonly max: number;
  /** First three letters of English names, at their numbers from `min` on. */
  readonly names?: readonly string[];
}

export const FIELDS = {
  minute: { name: 'minute', min: 0, max: 59 },
  hour: { name: 'hour', min: 0, max: 23 },
  dayOfWeek: { name: 'day_of_week', min: 0, max: 6, names: ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'] },
  dayOfMonth: { name: 'day_of_month', min: 1, max: 31 },
  monthOfYear: {
    name: 'month_of_year',
    min: 1,
    max: 12,
    names: ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'],
  },
} as const satisfies Record<string, FieldKind>;

/** How a field is written back: Celery's `*`, or what was given. */
export function showField(value: CrontabField): string {
  return typeof value === 'object' ? [...value].join(',') : String(value);
}

/**
 * The numbers that a field stands for, rising. Grammar of Celery: parts joined by `,`, each `*`, a number or name, or a
 * range `a-b` that may wrap (`fri-mon`, `22-3`); a range or `*` may have a step `/n`. Throws `ConfigError`.
 *
 * Source: celery/schedules.py, crontab_parser.
 */
export function parseField(value: CrontabField, kind: FieldKind): readonly number[] {
  const numbers =
    typeof value === 'string'
      ? value.split(',').flatMap((part) => parsePart(part, kind, value))
      : typeof value === 'number'
        ? [value]
        : [...value];
  for (const number of numbers) {
    if (!Number.isInteger(number) || number < kind.min || number > kind.max)
      throw wrong(kind, showField(value), `${number} is not from ${kind.min} to ${kind.max}`);
  }
  if (numbers.length === 0) throw wrong(kind, showField(value), 'nothing is left of it');
  return [...new Set(numbers)].sort((a, b) => a - b);
}

const PART = /^(?:(\*)|(\w+)(?:-(\w+))?)(?:\/(\d+))?$/;

function parsePart(part: string, kind: FieldKind, whole: string): readonly number[] {
  const match = PART.exec(part);
  if (match === null) throw wrong(kind, whole, `${JSON.stringify(part)} cannot be read`);
  const [, star, from = '', to, step] = match;
  let range: number[];
  if (star !== undefined) range = between(kind.min, kind.max);
  else {
    const first = parseNumber(from, kind, whole);
    if (to === undefined) {
      if (step !== undefined)
        throw wrong(kind, whole, `a step needs "*" or a range before it, not ${JSON.stringify(from)}`);
      return [first];
    }
    const last = parseNumber(to, kind, whole);
    range = last < first ? [...between(first, kind.max), ...between(kind.min, last)] : between(first, last);
  }
  if (step === undefined) return range;
  const every = Number(step);
  if (every === 0) throw wrong(kind, whole, 'a step of 0 leads nowhere');
  return range.filter((_, index) => index % every === 0);
}

function parseNumber(text: string, kind: FieldKind, whole: string): number {
  if (/^\d+$/.test(text)) {
    const number = Number(text);
    if (number < kind.min || number > kind.max)
      throw wrong(kind, whole, `${number} is not from ${kind.min} to ${kind.max}`);
    return number;
  }
  const index = kind.names?.indexOf(text.slice(0, 3).toLowerCase()) ?? -1;
  if (index < 0) throw wrong(kind, whole, `${JSON.stringify(text)} is no number${kind.names ? ' and no name' : ''}`);
  return kind.min + index;
}

function between(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

function wrong(kind: FieldKind, value: string, why: string): Error {
  return new ConfigError(
    `The crontab field ${kind.name} is ${JSON.stringify(value)}: ${why}. Expected ${kind.min} to ${kind.max}${
      kind.names === undefined ? '' : ` or names such as "${kind.names[1]}"`
    }, as in "*", "*/5", "1,15" or "8-18/2".`,
  );
}
