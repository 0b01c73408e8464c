import { ConfigError, type LovageError } from '../errors.ts';
import { nearestName } from '../internal/nearest-name.ts';

/** Checks and converts the value of one option; `name` is for the error. Throws `ConfigError`. */
export type OptionReader<T> = (value: unknown, name: string) => T;

/** What {@link readOptions} gives for a table of readers. */
export type OptionValues<T extends Readonly<Record<string, OptionReader<unknown>>>> = {
  readonly [K in keyof T]?: ReturnType<T[K]>;
};

/**
 * Reads options by a table of camelCase names; each name may be given in snake_case too, values may be URL text
 * (`"5"`, `"true"`); null and undefined count as not given. Throws `ConfigError` for a wrong value, for a name given
 * twice, and for an unknown one with the nearest known name.
 */
export function readOptions<T extends Readonly<Record<string, OptionReader<unknown>>>>(
  given: Readonly<Record<string, unknown>>,
  readers: T,
  where: string,
): OptionValues<T> {
  const values: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(given)) {
    const key = toCamelCase(name);
    const reader = Object.hasOwn(readers, key) ? readers[key] : undefined;
    if (reader === undefined) {
      throw new ConfigError(
        `${where} has no option ${JSON.stringify(name)}.${nearestName(
          name,
          Object.keys(readers).flatMap((known) => [known, toSnakeCase(known)]),
        )} Expected one of: ${Object.keys(readers).join(', ')}.`,
      );
    }
    if (value === undefined || value === null) continue;
    if (Object.hasOwn(values, key)) {
      throw new ConfigError(
        `${where} has the option ${JSON.stringify(key)} twice, as "${key}" and "${toSnakeCase(key)}".`,
      );
    }
    values[key] = reader(value, name);
  }
  return values as OptionValues<T>;
}

export function toCamelCase(name: string): string {
  return name.replace(/_+([a-z0-9])/gi, (_, letter: string) => letter.toUpperCase());
}

export function toSnakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function wrong(name: string, value: unknown, expected: string): LovageError {
  return wrongKind(name, JSON.stringify(value), expected);
}

/** For options that may be secrets, a password written as a number for one: their values are not shown. */
function wrongKind(name: string, kind: string, expected: string): LovageError {
  return new ConfigError(`The option "${name}" is ${kind}. Expected ${expected}.`);
}

function kindOf(value: unknown): string {
  if (value === '') return 'empty';
  return Array.isArray(value) ? 'a list' : typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

/** A number of seconds, fractions allowed, given back in milliseconds. */
export function seconds(min = 0, max = Number.MAX_SAFE_INTEGER / 1000): OptionReader<number> {
  return (value, name) => {
    const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
    if (typeof number !== 'number' || !(number >= min && number <= max)) {
      throw wrong(name, value, `seconds, at least ${min}`);
    }
    return number * 1000;
  };
}

export function integer(min: number, max = Number.MAX_SAFE_INTEGER): OptionReader<number> {
  return (value, name) => {
    const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
    if (typeof number !== 'number' || !Number.isInteger(number) || number < min || number > max) {
      throw wrong(
        name,
        value,
        max === Number.MAX_SAFE_INTEGER ? `an integer of at least ${min}` : `an integer from ${min} to ${max}`,
      );
    }
    return number;
  };
}

export const boolean: OptionReader<boolean> = (value, name) => {
  if (typeof value === 'boolean') return value;
  if (typeof value === 'string' && /^(true|yes|on|1)$/i.test(value)) return true;
  if (typeof value === 'string' && /^(false|no|off|0)$/i.test(value)) return false;
  throw wrong(name, value, 'true or false');
};

export const text: OptionReader<string> = (value, name) => {
  if (typeof value !== 'string') throw wrongKind(name, kindOf(value), 'text');
  return value;
};

export const nonEmptyText: OptionReader<string> = (value, name) => {
  if (typeof value !== 'string' || value === '') throw wrongKind(name, kindOf(value), 'text that is not empty');
  return value;
};

export function oneOf<const T extends string>(...allowed: readonly T[]): OptionReader<T> {
  return (value, name) => {
    if (!allowed.includes(value as T)) throw wrong(name, value, `one of: ${allowed.join(', ')}`);
    return value as T;
  };
}

export const record: OptionReader<Readonly<Record<string, unknown>>> = (value, name) => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(name, value, 'an object');
  return value as Readonly<Record<string, unknown>>;
};

/** An option of Kombu that has nothing to decide here; any value is taken. */
export const withoutEffect: OptionReader<undefined> = () => undefined;

/**
 * Options of Kombu that no transport here has a use for: how the connection is tried again is the supervisor's to decide,
 * bodies and dead letters the virtual layer's.
 */
export const KOMBU_ONLY = {
  bodyEncoding: withoutEffect,
  deadletterQueue: withoutEffect,
  maxRetries: withoutEffect,
  intervalStart: withoutEffect,
  intervalStep: withoutEffect,
  intervalMax: withoutEffect,
  connectRetriesTimeout: withoutEffect,
  errback: withoutEffect,
  callback: withoutEffect,
} as const satisfies Record<string, OptionReader<undefined>>;
