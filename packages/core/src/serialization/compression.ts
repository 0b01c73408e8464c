import * as zlib from 'node:zlib';
import { DecodeError, EncodeError, UnsupportedError } from '../errors.ts';

/** 32 MiB. */
export const MAX_DECOMPRESSED_BYTES: number = 32 * 1024 * 1024;
const MAX_RATIO = 200;
const RATIO_FREE_BYTES = 1024 * 1024;

/** Compresses and decompresses whole bodies. */
export interface CompressionCodec {
  compress(body: Uint8Array): Uint8Array;
  /** Throws when the output would exceed `maxBytes`, before it has taken much more than that. */
  decompress(body: Uint8Array, maxBytes: number): Uint8Array;
}

interface Compression {
  readonly contentType: string;
  readonly aliases: readonly string[];
  /** Built into this Node. */
  readonly codec?: CompressionCodec;
  /** The package that gives it, and how it is loaded. */
  readonly npm?: string;
  readonly load?: () => Promise<CompressionCodec>;
}

interface BuiltInZstd {
  zstdCompressSync(body: Uint8Array): Uint8Array;
  zstdDecompressSync(body: Uint8Array, options: { maxOutputLength: number }): Uint8Array;
}

const node = zlib as unknown as Partial<BuiltInZstd>;
const { zstdCompressSync, zstdDecompressSync } = node;

/** Its best takes a hundred times as long as this and saves little. */
const BROTLI = { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 5 } };

/** Source: kombu/compression.py. */
const COMPRESSIONS: readonly Compression[] = [
  {
    // Celery's gzip is a zlib stream without gzip's header.
    contentType: 'application/x-gzip',
    aliases: ['zlib', 'gzip'],
    codec: {
      compress: (body) => zlib.deflateSync(body),
      decompress: (body, maxOutputLength) => zlib.inflateSync(body, { maxOutputLength }),
    },
  },
  {
    contentType: 'application/x-brotli',
    aliases: ['brotli'],
    codec: {
      compress: (body) => zlib.brotliCompressSync(body, BROTLI),
      decompress: (body, maxOutputLength) => zlib.brotliDecompressSync(body, { maxOutputLength }),
    },
  },
  {
    contentType: 'application/zstd',
    aliases: ['zstd', 'zstandard'],
    ...(zstdCompressSync === undefined || zstdDecompressSync === undefined
      ? { npm: '@bokuweb/zstd-wasm', load: async () => (await import('./zstd.ts')).loadZstd() }
      : {
          codec: {
            compress: (body: Uint8Array) => zstdCompressSync(body),
            decompress: (body: Uint8Array, maxOutputLength: number) => zstdDecompressSync(body, { maxOutputLength }),
          },
        }),
  },
  {
    contentType: 'application/x-bz2',
    aliases: ['bzip2', 'bzip'],
    npm: 'bzip2-wasm',
    load: async () => (await import('./bzip2.ts')).loadBzip2(),
  },
  { contentType: 'application/x-lzma', aliases: ['lzma', 'xz'] },
];

const byName = new Map(
  COMPRESSIONS.flatMap((compression) =>
    [compression.contentType, ...compression.aliases].map((name) => [name, compression] as const),
  ),
);
const loaded = new Map<Compression, CompressionCodec>(
  COMPRESSIONS.flatMap((compression) => (compression.codec === undefined ? [] : [[compression, compression.codec]])),
);
const loading = new Map<Compression, Promise<void>>();

/** True when {@link compress} and {@link decompress} can do it now. Throws `UnsupportedError` for an unknown name. */
export function isCompressionLoaded(name: string): boolean {
  return loaded.has(find(name));
}

/**
 * Makes a compression usable, by alias or MIME type: `zlib`, `gzip`, `brotli`, `zstd`, `bzip2`. Rejects with
 * `UnsupportedError` that says what to install, or that it is not supported (lzma, xz).
 */
export async function loadCompression(name: string): Promise<void> {
  const compression = find(name);
  if (loaded.has(compression)) return;
  const { load, npm } = compression;
  if (load === undefined) throw notSupported(name);
  let work = loading.get(compression);
  if (work === undefined) {
    work = load().then((codec) => void loaded.set(compression, codec));
    loading.set(compression, work);
  }
  try {
    await work;
  } catch (cause) {
    loading.delete(compression);
    throw new UnsupportedError(
      `The compression "${name}" needs a package that cannot be loaded. Run "npm install ${npm}".`,
      { cause },
    );
  }
}

/** Loads what is installed. Never rejects. */
export async function loadInstalledCompressions(): Promise<void> {
  await Promise.allSettled(
    COMPRESSIONS.filter(({ load }) => load !== undefined).map(({ contentType }) => loadCompression(contentType)),
  );
}

/** The compressed body and the MIME type for the header `compression`. Throws `EncodeError` and `UnsupportedError`. */
export function compress(name: string, body: Uint8Array): { readonly body: Uint8Array; readonly contentType: string } {
  const compression = find(name);
  const codec = codecOf(compression, name);
  try {
    return { body: codec.compress(body), contentType: compression.contentType };
  } catch (cause) {
    throw new EncodeError(`The body cannot be compressed with "${name}".`, { cause });
  }
}

/**
 * Undoes the compression that a header names, by MIME type or alias. The output may have `maxBytes` at most, and 200
 * times the input once it exceeds 1 MiB. Throws `DecodeError` for what is larger or damaged, `UnsupportedError` for a
 * compression that is unknown or was not loaded.
 */
export function decompress(name: string, body: Uint8Array, maxBytes: number = MAX_DECOMPRESSED_BYTES): Uint8Array {
  const codec = codecOf(find(name), name);
  const limit = Math.min(maxBytes, Math.max(RATIO_FREE_BYTES, body.length * MAX_RATIO));
  let output: Uint8Array;
  try {
    output = codec.decompress(body, limit);
  } catch (cause) {
    throw new DecodeError(`The body is damaged, or exceeds ${limit} bytes once its "${name}" compression is undone.`, {
      cause,
    });
  }
  if (output.length > limit) {
    throw new DecodeError(`The body exceeds ${limit} bytes once its "${name}" compression is undone.`);
  }
  return output;
}

function find(name: string): Compression {
  const compression = byName.get(name);
  if (compression !== undefined) return compression;
  const known = COMPRESSIONS.flatMap(({ aliases }) => aliases).join(', ');
  throw new UnsupportedError(`The compression ${JSON.stringify(name)} is unknown. Expected one of: ${known}.`);
}

function codecOf(compression: Compression, name: string): CompressionCodec {
  const codec = loaded.get(compression);
  if (codec !== undefined) return codec;
  if (compression.load === undefined) throw notSupported(name);
  throw new UnsupportedError(`The compression "${name}" is not loaded. Run "npm install ${compression.npm}".`);
}

function notSupported(name: string): Error {
  return new UnsupportedError(
    `The compression "${name}" is not supported. Expected one of: zlib, gzip, brotli, zstd, bzip2.`,
  );
}
