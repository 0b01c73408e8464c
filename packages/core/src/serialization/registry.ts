import type { ResultCodec } from '../backend/contract.ts';
import {
  ConfigError,
  ContentDisallowedError,
  DecodeError,
  EncodeError,
  isLovageError,
  UnsupportedError,
} from '../errors.ts';
import type { Message } from '../transport/message.ts';
import {
  compress,
  decompress,
  isCompressionLoaded,
  loadCompression,
  loadInstalledCompressions,
  MAX_DECOMPRESSED_BYTES,
} from './compression.ts';
import { decodeJson, encodeJson, MAX_DEPTH } from './json.ts';
import { utf8Text } from './text.ts';

/** One way to write values as bytes. Synchronous: what it needs is loaded before. */
export interface Serializer {
  /** What `serializer` options and accept lists say. */
  readonly name: string;
  /** MIME type on the wire. */
  readonly contentType: string;
  /** `binary` when {@link encode} gives bytes. */
  readonly contentEncoding: 'utf-8' | 'binary';
  /** Throws `EncodeError`. */
  encode(value: unknown, limits: SerializationLimits): string | Uint8Array;
  /** Throws `DecodeError`, or anything, which then becomes the cause of one. */
  decode(data: Uint8Array, limits: SerializationLimits): unknown;
}

/** What a message from outside may cost. */
export interface SerializationLimits {
  /** Bytes of a body as it travels. Default 16 MiB. */
  readonly maxBodyBytes: number;
  /** Bytes of a body once its compression is undone. Default 32 MiB. */
  readonly maxDecompressedBytes: number;
  /** Levels of lists and objects. Default 128. */
  readonly maxDepth: number;
  /** Signatures in one message, those inside others included. Default 1000. */
  readonly maxSignatures: number;
  /** Levels of signatures inside signatures. Default 64. */
  readonly maxSignatureDepth: number;
}

export const DEFAULT_LIMITS: SerializationLimits = {
  maxBodyBytes: 16 * 1024 * 1024,
  maxDecompressedBytes: MAX_DECOMPRESSED_BYTES,
  maxDepth: MAX_DEPTH,
  maxSignatures: 1000,
  maxSignatureDepth: 64,
};

export interface SerializerRegistryOptions {
  /** Names or MIME types; Celery's `accept_content`. Default `['json']`. */
  readonly accept?: readonly string[];
  readonly limits?: Partial<SerializationLimits>;
}

/** A value as bytes, with what the message says about them. */
export interface EncodedBody {
  readonly body: Uint8Array;
  readonly contentType: string;
  readonly contentEncoding: string;
}

/** What a message to be encoded asks for. */
export interface SerializationNeeds {
  readonly serializer?: string | undefined;
  readonly compression?: string | undefined;
}

const JSON_SERIALIZER: Serializer = {
  name: 'json',
  contentType: 'application/json',
  contentEncoding: 'utf-8',
  encode: (value, { maxDepth }) => encodeJson(value, maxDepth),
  decode: (data, { maxDepth }) => decodeJson(utf8Text(data), maxDepth),
};

const TEXT_SERIALIZER: Serializer = {
  name: 'text',
  contentType: 'text/plain',
  contentEncoding: 'utf-8',
  encode: (value) => {
    if (typeof value !== 'string') throw new EncodeError('The serializer "text" takes text only.');
    return value;
  },
  decode: (data) => utf8Text(data),
};

const RAW_SERIALIZER: Serializer = {
  name: 'raw',
  contentType: 'application/data',
  contentEncoding: 'binary',
  encode: (value) => {
    if (typeof value === 'string') return Buffer.from(value);
    if (value instanceof Uint8Array) return value;
    throw new EncodeError('The serializer "raw" takes bytes or text only.');
  },
  decode: (data) => data,
};

/** Serializers whose package is an optional peer. */
const OPTIONAL = new Map<
  string,
  { readonly contentType: string; readonly npm: string; readonly load: () => Promise<Serializer> }
>([
  ['yaml', { contentType: 'application/x-yaml', npm: 'yaml', load: async () => (await import('./yaml.ts')).yaml }],
  [
    'msgpack',
    {
      contentType: 'application/x-msgpack',
      npm: '@msgpack/msgpack',
      load: async () => (await import('./msgpack.ts')).msgpack,
    },
  ],
]);

const PICKLE = { name: 'pickle', contentType: 'application/x-python-serialize' };

/**
 * Writes and reads bodies and results by content type. Encoding and decoding are synchronous; packages that a
 * serializer or compression needs are loaded before, by {@link prepare}, {@link loadAccepted} or the `load` methods.
 *
 * The accept list is asked before a body is decompressed or parsed. Pickle is never decoded, whatever the list says:
 * it would run code of whoever can write to the broker. Source: kombu/serialization.py.
 */
export class SerializerRegistry {
  readonly limits: SerializationLimits;
  readonly #byName = new Map<string, Serializer>();
  readonly #byType = new Map<string, Serializer>();
  #accepted: ReadonlySet<string> = new Set(['application/json']);

  /** Throws `ConfigError` for a name in `accept` that is unknown. */
  constructor({ accept, limits }: SerializerRegistryOptions = {}) {
    this.limits = { ...DEFAULT_LIMITS, ...limits };
    for (const serializer of [JSON_SERIALIZER, TEXT_SERIALIZER, RAW_SERIALIZER]) this.register(serializer);
    if (accept !== undefined) this.accept(accept);
  }

  /** Adds a serializer, or replaces the one of its name. */
  register(serializer: Serializer): void {
    this.#byName.set(serializer.name, serializer);
    this.#byType.set(serializer.contentType, serializer);
  }

  /** True unless "json" was replaced by {@link register}. */
  get hasOwnJson(): boolean {
    return this.#byName.get('json') === JSON_SERIALIZER;
  }

  /** MIME types that {@link decode} takes when it is given no list of its own. */
  get accepted(): ReadonlySet<string> {
    return this.#accepted;
  }

  /** Replaces the accept list: names or MIME types. Throws `ConfigError` for a name that is unknown. */
  accept(names: readonly string[]): void {
    this.#accepted = this.contentTypes(names);
  }

  /** MIME types of names and MIME types. Throws `ConfigError` for a name that is unknown. */
  contentTypes(names: readonly string[]): ReadonlySet<string> {
    return new Set(names.map((name) => (name.includes('/') ? name : this.#typeOf(name))));
  }

  /** The name of the serializer of a MIME type; undefined: none is known. */
  nameOf(contentType: string): string | undefined {
    const serializer = this.#byType.get(contentType);
    if (serializer !== undefined) return serializer.name;
    for (const [name, optional] of OPTIONAL) if (optional.contentType === contentType) return name;
    return undefined;
  }

  /**
   * undefined when all that these messages need is loaded; else a promise for it, which rejects with
   * `UnsupportedError` that says what to install. Throws `ConfigError` for an unknown serializer.
   */
  prepare(needs: readonly SerializationNeeds[]): Promise<void> | undefined {
    let work: Promise<void>[] | undefined;
    for (const { serializer = 'json', compression } of needs) {
      if (serializer !== 'json' && !this.#byName.has(serializer)) (work ??= []).push(this.loadSerializer(serializer));
      if (compression !== undefined && !isCompressionLoaded(compression))
        (work ??= []).push(loadCompression(compression));
    }
    return work === undefined ? undefined : Promise.all(work).then(() => undefined);
  }

  /**
   * Loads every serializer of the accept list, and the compressions that are installed: what a worker needs before it
   * reads. Rejects with `UnsupportedError` that says what to install.
   */
  async loadAccepted(): Promise<void> {
    const names = [...this.#accepted].map((type) => this.nameOf(type)).filter((name) => name !== undefined);
    await Promise.all([...names.map((name) => this.loadSerializer(name)), loadInstalledCompressions()]);
  }

  /** Makes a serializer usable. Rejects with `UnsupportedError` that says what to install, or `ConfigError`. */
  async loadSerializer(name: string): Promise<void> {
    if (this.#byName.has(name)) return;
    const optional = OPTIONAL.get(name);
    if (optional === undefined) throw this.#unknown(name);
    let serializer: Serializer;
    try {
      serializer = await optional.load();
    } catch (cause) {
      throw new UnsupportedError(
        `The serializer "${name}" needs a package that cannot be loaded. Run "npm install ${optional.npm}".`,
        {
          cause,
        },
      );
    }
    this.register(serializer);
  }

  /** See {@link loadCompression}. */
  loadCompression(name: string): Promise<void> {
    return loadCompression(name);
  }

  /** Throws `EncodeError`, `ConfigError` for an unknown serializer, `UnsupportedError` for one that is not loaded. */
  encode(name: string, value: unknown): EncodedBody {
    const serializer = this.#byName.get(name);
    if (serializer === undefined) throw this.#missing(name);
    const encoded = this.#encodeWith(serializer, value);
    return {
      body: typeof encoded === 'string' ? Buffer.from(encoded, 'utf8') : encoded,
      contentType: serializer.contentType,
      contentEncoding: serializer.contentEncoding,
    };
  }

  /** See {@link compress}. */
  compress(name: string, body: Uint8Array): { readonly body: Uint8Array; readonly contentType: string } {
    return compress(name, body);
  }

  /** Throws `ContentDisallowedError` unless the MIME type is in the accept list. An empty one is Kombu's raw data. */
  assertAccepted(contentType: string, accepted: ReadonlySet<string> = this.#accepted): void {
    if (accepted.has(contentType) && contentType !== PICKLE.contentType) return;
    const type = contentType === '' ? RAW_SERIALIZER.contentType : contentType;
    throw new ContentDisallowedError(
      type === PICKLE.contentType
        ? 'The content is pickled. Pickle is never decoded: it can run any code. Let the sender use another serializer.'
        : `The content type ${JSON.stringify(type)} is not accepted. Expected one of: ${[...accepted].join(', ')}. See acceptContent.`,
      { facts: { contentType: type } },
    );
  }

  /**
   * The value of a body: size, accept list, compression, then parsing. Throws `ContentDisallowedError`, `DecodeError`
   * and `UnsupportedError` (a package that is not loaded).
   */
  decode(message: Message, accepted: ReadonlySet<string> = this.#accepted): unknown {
    const { contentType, headers } = message;
    const { maxBodyBytes, maxDecompressedBytes } = this.limits;
    if (message.body.length > maxBodyBytes) {
      throw new DecodeError(`The body has ${message.body.length} bytes, more than ${maxBodyBytes}.`);
    }
    this.assertAccepted(contentType, accepted);
    const serializer = this.#byType.get(contentType);
    if (serializer === undefined) throw this.#missing(this.nameOf(contentType) ?? contentType);
    const compression = headers['compression'];
    let body = message.body;
    if (compression !== undefined && compression !== null && compression !== '') {
      if (typeof compression !== 'string') throw new DecodeError('The header "compression" is not text.');
      body = decompress(compression, body, maxDecompressedBytes);
    }
    return this.#decodeWith(serializer, body);
  }

  /**
   * Writes and reads results with one serializer; `accept` is the list for reading. Rejects with `UnsupportedError`
   * that says what to install, or `ConfigError`.
   */
  async resultCodec(name: string, accept: readonly string[]): Promise<ResultCodec> {
    await this.loadSerializer(name);
    const serializer = this.#byName.get(name) as Serializer;
    const accepted = this.contentTypes(accept);
    return {
      contentType: serializer.contentType,
      contentEncoding: serializer.contentEncoding,
      encode: (value) => this.#encodeWith(serializer, value),
      decode: (data) => {
        this.assertAccepted(serializer.contentType, accepted);
        return this.#decodeWith(serializer, typeof data === 'string' ? Buffer.from(data, 'utf8') : data);
      },
    };
  }

  #encodeWith(serializer: Serializer, value: unknown): string | Uint8Array {
    try {
      return serializer.encode(value, this.limits);
    } catch (cause) {
      if (isLovageError(cause)) throw cause;
      throw new EncodeError(`The value cannot be written by the serializer "${serializer.name}".`, { cause });
    }
  }

  #decodeWith(serializer: Serializer, data: Uint8Array): unknown {
    try {
      return serializer.decode(data, this.limits);
    } catch (cause) {
      if (isLovageError(cause)) throw cause;
      throw new DecodeError(`The body is not what its content type "${serializer.contentType}" says.`, { cause });
    }
  }

  #typeOf(name: string): string {
    const type = this.#byName.get(name)?.contentType ?? OPTIONAL.get(name)?.contentType;
    if (type !== undefined) return type;
    // A list shared with Python may name it; what is pickled is refused when it arrives.
    if (name === PICKLE.name) return PICKLE.contentType;
    throw this.#unknown(name);
  }

  #missing(name: string): Error {
    const optional = OPTIONAL.get(name);
    if (optional === undefined) return this.#unknown(name);
    return new UnsupportedError(`The serializer "${name}" is not loaded. Run "npm install ${optional.npm}".`);
  }

  #unknown(name: string): Error {
    if (name === PICKLE.name || name === PICKLE.contentType) {
      return new ConfigError(
        'The serializer "pickle" is not supported: reading it can run any code. Expected json, yaml or msgpack.',
      );
    }
    const known = [...new Set([...this.#byName.keys(), ...OPTIONAL.keys()])].join(', ');
    return new ConfigError(`The serializer ${JSON.stringify(name)} is unknown. Expected one of: ${known}.`);
  }
}
