import { ConfigError } from '@lovage/core/transport';

/**
 * A table name out of a setting, checked. Throws `ConfigError` unless it is a plain identifier of at most 63 characters,
 * what every supported database takes.
 */
export function checkIdentifier(name: unknown, setting: string): string {
  if (typeof name !== 'string' || !/^[A-Za-z_][A-Za-z0-9_$]{0,62}$/.test(name)) {
    throw new ConfigError(
      `The setting "${setting}" is ${JSON.stringify(name)}. Expected a table name: a letter or "_", then at most 62 letters, digits, "_" or "$".`,
    );
  }
  return name;
}

/** A checked identifier between double quotes. */
export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
