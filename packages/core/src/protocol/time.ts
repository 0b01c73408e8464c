import { EncodeError } from '../errors.ts';

/** The instants that Python's datetime knows: years 1 to 9999. */
export const FIRST_INSTANT_MS = -62_135_596_800_000;
export const LAST_INSTANT_MS = 253_402_300_799_999;

let lastInstant = Number.NaN;
let lastText = '';

/**
 * An instant as Python's `isoformat` writes it: `2026-01-31T12:00:00.250000+00:00`, microseconds only if they are not
 * zero. `instant` is epoch milliseconds, its fraction microseconds; `offsetMinutes` is the zone's offset east of UTC.
 * Throws `EncodeError` outside the years 1 to 9999, which Python cannot read.
 */
export function formatTime(instant: number, offsetMinutes = 0): string {
  // Many results of one tick carry the same instant.
  if (instant === lastInstant && offsetMinutes === 0) return lastText;
  let ms = Math.floor(instant);
  let micros = Math.round((instant - ms) * 1000);
  if (micros === 1000) {
    ms++;
    micros = 0;
  }
  const local = ms + offsetMinutes * 60_000;
  if (!(local >= FIRST_INSTANT_MS && local <= LAST_INSTANT_MS)) {
    throw new EncodeError(`The instant ${instant} ms cannot be written. Expected a time in the years 1 to 9999.`);
  }
  const iso = new Date(local).toISOString();
  const fraction = iso.slice(20, 23) + String(micros).padStart(3, '0');
  const text = iso.slice(0, 19) + (fraction === '000000' ? '' : `.${fraction}`) + formatOffset(offsetMinutes);
  if (offsetMinutes === 0) {
    lastInstant = instant;
    lastText = text;
  }
  return text;
}

function formatOffset(minutes: number): string {
  const size = Math.abs(minutes);
  const hours = String(Math.floor(size / 60)).padStart(2, '0');
  return `${minutes < 0 ? '-' : '+'}${hours}:${String(size % 60).padStart(2, '0')}`;
}

const ISO =
  /^(\d{4})(?:-(\d{2})(?:-(\d{2}))?|(\d{2})(\d{2}))?(?:[Tt ](\d{2})(?::?(\d{2})(?::?(\d{2})(?:[.,](\d+))?)?)?([Zz]|[+-]\d{2}(?::?\d{2})?)?)?$/;
const LONGEST = 64;

/**
 * Reads ISO 8601 as Celery does: date and time, date only, year and month, with or without separators, `Z` or an
 * offset; without one it is UTC. Gives epoch milliseconds with the microseconds as their fraction, or undefined when
 * the text is no time. Source: dateutil.parser.isoparse; week and ordinal dates are not read.
 */
export function parseTime(text: string): number | undefined {
  const time = readTime(text);
  return time === undefined ? undefined : time.ms + time.micros / 1000;
}

/** {@link parseTime} in two integers: far from 1970 one number cannot hold the microseconds. */
export function readTime(text: string): { readonly ms: number; readonly micros: number } | undefined {
  if (text.length > LONGEST) return undefined;
  const match = ISO.exec(text);
  if (match === null) return undefined;
  const [, y, m1, d1, m2, d2, h = '0', min = '0', s = '0', fraction = '', zone] = match;
  const year = Number(y);
  const month = Number(m1 ?? m2 ?? 1);
  const day = Number(d1 ?? d2 ?? 1);
  const hour = Number(h);
  const minute = Number(min);
  const second = Number(s);
  const micros = Number(fraction.slice(0, 6).padEnd(6, '0'));
  if (year < 1 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month)) return undefined;
  if (minute > 59 || second > 59 || hour > 24) return undefined;
  if (hour === 24 && minute + second + micros > 0) return undefined;
  const offset = zone === undefined ? 0 : offsetOf(zone);
  if (offset === undefined) return undefined;
  // Date.UTC takes years below 100 for 19xx.
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  const seconds = (hour * 60 + minute - offset) * 60 + second;
  return { ms: date.getTime() + seconds * 1000 + Math.floor(micros / 1000), micros: micros % 1000 };
}

function offsetOf(zone: string): number | undefined {
  if (zone === 'Z' || zone === 'z') return 0;
  const hours = Number(zone.slice(1, 3));
  const minutes = zone.length > 3 ? Number(zone.slice(-2)) : 0;
  if (hours > 23 || minutes > 59) return undefined;
  return (zone.startsWith('-') ? -1 : 1) * (hours * 60 + minutes);
}

function daysIn(year: number, month: number): number {
  if (month === 2) return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0 ? 29 : 28;
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
}
