import { CONTROL_COMMANDS, type CommandInfo } from '@lovage/core';
import { PythonError } from './python-errors.ts';

export type Given = Readonly<Record<string, unknown>>;

/** Throws Python's `TypeError` for arguments that a command needs and has not, or does not know. */
export function checkArguments(name: string, given: Given): void {
  const { required = [], positional, variadic, named = [], isLenient } = CONTROL_COMMANDS[name] as CommandInfo;
  const missing = required.filter((argument) => given[argument] === undefined).map((argument) => `'${argument}'`);
  if (missing.length > 0) {
    const count = `${missing.length} required positional argument${missing.length === 1 ? '' : 's'}`;
    throw new PythonError('TypeError', `${name}() missing ${count}: ${missing.join(' and ')}`);
  }
  if (isLenient) return;
  const known = new Set([...positional.map(([argument]) => argument), ...named, variadic]);
  const unknown = Object.keys(given).find((argument) => !known.has(argument));
  if (unknown !== undefined) {
    throw new PythonError('TypeError', `${name}() got an unexpected keyword argument '${unknown}'`);
  }
}

/** One text or several. Throws `TypeError` for anything else. */
export function texts(given: Given, argument: string): readonly string[] {
  const list: readonly unknown[] = [given[argument] ?? []].flat();
  if (list.length > MOST_IDS) throw new PythonError('ValueError', `${argument} has more than ${MOST_IDS} items`);
  return list.map((item) => {
    if (typeof item === 'string' && item !== '') return item;
    throw new PythonError('TypeError', `${argument} holds something that is no text`);
  });
}

/** Throws `TypeError` for what is there and no text. */
export function text(given: Given, argument: string): string | undefined {
  const value = given[argument];
  if (value === undefined || value === null || value === '') return undefined;
  if (typeof value === 'string') return value;
  throw new PythonError('TypeError', `${argument} is no text`);
}

/** A number, as such or as text. Throws `ValueError` for what is there and none. */
export function number(given: Given, argument: string): number | undefined {
  const value = given[argument];
  if (value === undefined || value === null || value === '') return undefined;
  const read = typeof value === 'string' || typeof value === 'bigint' ? Number(value) : value;
  if (typeof read === 'number' && Number.isFinite(read)) return read;
  throw new PythonError('ValueError', `${argument} is no number`);
}

/** A whole number from 1 up. */
export function count(given: Given, argument: string, byDefault: number): number {
  const value = number(given, argument) ?? byDefault;
  if (Number.isInteger(value) && value > 0 && value <= MOST_SLOTS) return value;
  throw new PythonError('ValueError', `${argument} is no number from 1 to ${MOST_SLOTS}`);
}

/** Source: celery/utils/serialization.py, strtobool. */
export function flag(given: Given, argument: string): boolean {
  const value = given[argument];
  return value === true || value === 1 || (typeof value === 'string' && /^(?:true|yes|1|on)$/i.test(value));
}

const MOST_IDS = 50_000;
const MOST_SLOTS = 100_000;
