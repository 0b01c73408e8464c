import { Decimal, PlainDate, PlainTime, Uuid } from '@lovage/core';
import type { EchoCase } from './cases.ts';

/** The same values as the Python client makes of them. */
export function fromWrapped({ args, kwargs = {} }: EchoCase): { args: unknown[]; kwargs: Record<string, unknown> } {
  return { args: unwrap(args) as unknown[], kwargs: unwrap(kwargs) as Record<string, unknown> };
}

/** Bytes come as Uint8Array from some decoders and as Buffer from others. */
export function buffers(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value);
  if (Array.isArray(value)) return value.map(buffers);
  const isRecord =
    typeof value === 'object' &&
    value !== null &&
    [Object.prototype, null].includes(Object.getPrototypeOf(value) as null);
  return isRecord
    ? Object.fromEntries(Object.entries(value as object).map(([key, item]) => [key, buffers(item)]))
    : value;
}

/** A value as the Python client writes it, as it is here. */
export function unwrap(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(unwrap);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value as Record<string, unknown>);
  if (!Object.hasOwn(value, '$')) return Object.fromEntries(entries.map(([key, item]) => [key, unwrap(item)]));
  const { $: kind, v: text } = value as { $: string; v: string };
  switch (kind) {
    case 'datetime':
      return new Date(text);
    case 'date':
      return new PlainDate(text);
    case 'time':
      return new PlainTime(text);
    case 'decimal':
      return new Decimal(text);
    case 'uuid':
      return new Uuid(text);
    case 'bytes':
      return Buffer.from(text, 'base64');
    case 'int':
      return BigInt(text);
    default:
      return Number.NaN;
  }
}
