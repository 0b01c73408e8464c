import { CommandError, EXIT } from './exit-codes.ts';

/** Readers of option values. Each throws `CommandError` for what its option cannot have. */
export function number(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || Number.isNaN(value)) throw new CommandError(`"${text}" is not a number.`, EXIT.usage);
  return value;
}

/** A whole number above 0. */
export function count(text: string): number {
  const value = number(text);
  if (Number.isSafeInteger(value) && value > 0) return value;
  throw new CommandError(`"${text}" is no whole number above 0.`, EXIT.usage);
}

/** A whole number from 0 up. */
export function countOrNone(text: string): number {
  const value = number(text);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new CommandError(`"${text}" is no whole number from 0 up.`, EXIT.usage);
}

/** From 0 up. */
export function seconds(text: string): number {
  const value = number(text);
  if (value >= 0 && value < Infinity) return value;
  throw new CommandError(`"${text}" is no time. Expected seconds from 0 up.`, EXIT.usage);
}

export function secondsAbove0(text: string): number {
  const value = number(text);
  if (value > 0 && value < Infinity) return value;
  throw new CommandError(`"${text}" is no time. Expected seconds above 0.`, EXIT.usage);
}

/** 0: a free one. */
export function port(text: string): number {
  const value = number(text);
  if (Number.isInteger(value) && value >= 0 && value <= 65_535) return value;
  throw new CommandError(`"${text}" is no port. Expected 0 to 65535.`, EXIT.usage);
}
