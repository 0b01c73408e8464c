import { DecodeError } from '../errors.ts';

/**
 * Brings what a library decoded to the form that the JSON decoder gives: integers are numbers where a number holds
 * them, nothing is nested deeper than `maxDepth`, and no key sets a prototype. Changes the value in place.
 */
export function normalize(value: unknown, maxDepth: number): unknown {
  if (typeof value === 'bigint') {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : value;
  }
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value;
  if (maxDepth === 0) throw new DecodeError('The value is nested too deeply.');
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) value[index] = normalize(value[index], maxDepth - 1);
    return value;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return value;
  const record = value as Record<string, unknown>;
  for (const key of Object.keys(record)) {
    const item = record[key];
    const isGadget =
      key === 'constructor' && typeof item === 'object' && item !== null && Object.hasOwn(item, 'prototype');
    if (key === '__proto__' || isGadget) delete record[key];
    else record[key] = normalize(item, maxDepth - 1);
  }
  return record;
}
