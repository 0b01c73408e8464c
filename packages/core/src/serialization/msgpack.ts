import { decode, encode, ExtensionCodec } from '@msgpack/msgpack';
import { types } from 'node:util';
import { DecodeError, EncodeError } from '../errors.ts';
import type { Serializer } from './registry.ts';
import { normalize } from './normalize.ts';

/** Kombu knows no extension types, not even msgpack's own timestamp. */
class NoExtensions extends ExtensionCodec {
  override tryToEncode(): null {
    return null;
  }
  override decode(_data: Uint8Array, type: number): unknown {
    throw new DecodeError(`The msgpack extension type ${type} is not read.`);
  }
}

const extensionCodec = new NoExtensions();

/** msgpack with `str` and `bin` kept apart, as Kombu has it. Dates must be sent as text or numbers. */
export const msgpack: Serializer = {
  name: 'msgpack',
  contentType: 'application/x-msgpack',
  contentEncoding: 'binary',
  encode(value, { maxDepth }) {
    try {
      const prepared = prepare(value, maxDepth);
      return encode(prepared, { extensionCodec, useBigInt64: true, maxDepth: maxDepth + 1, ignoreUndefined: true });
    } catch (cause) {
      if (cause instanceof Refused)
        throw new EncodeError(`The value holds ${cause.message}, which msgpack cannot hold.`);
      throw new EncodeError('The value cannot be written as msgpack.', { cause });
    }
  },
  decode(data, { maxDepth }) {
    return normalize(decode(data, { extensionCodec, useBigInt64: true }), maxDepth);
  },
};

class Refused extends Error {}

const MAX_UINT32 = 0xffff_ffff;
const MIN_INT32 = -0x8000_0000;

/** A copy in which every value is one that Python's msgpack gives back alike. */
function prepare(value: unknown, depth: number): unknown {
  switch (typeof value) {
    case 'number':
      // With bigints enabled the library writes larger integers as floats.
      return Number.isSafeInteger(value) && (value > MAX_UINT32 || value < MIN_INT32) ? BigInt(value) : value;
    case 'bigint':
      if (BigInt.asIntN(64, value) !== value && BigInt.asUintN(64, value) !== value)
        throw new Refused('an integer beyond 64 bits');
      return value;
    case 'function':
    case 'symbol':
      throw new Refused(`a ${typeof value}`);
    case 'string':
    case 'boolean':
    case 'undefined':
      return value;
    case 'object':
      break;
  }
  if (value === null || value instanceof Uint8Array) return value;
  if (depth === 0) throw new Refused('too many levels, or a circle');
  if (Array.isArray(value)) return value.map((item) => prepare(item, depth - 1));
  if (types.isDate(value)) throw new Refused('a Date');
  if (types.isMap(value) || types.isSet(value) || types.isPromise(value) || types.isNativeError(value)) {
    throw new Refused(`a ${value.constructor.name}`);
  }
  const { toJSON } = value as { toJSON?: unknown };
  if (typeof toJSON === 'function') return prepare((toJSON as (key: string) => unknown).call(value, ''), depth - 1);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, prepare(item, depth - 1)]));
}
