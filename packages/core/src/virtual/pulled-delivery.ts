import { deflateRawSync, inflateRawSync, type ZlibOptions } from 'node:zlib';
import type { Delivery } from '../transport/contract.ts';
import type { Message } from '../transport/message.ts';
import { decodeEnvelope, type OpenedEnvelope, type OwnMessage } from './envelope.ts';

/**
 * Packs the payloads of messages that wait long. They are much like each other, so one of them serves as the dictionary
 * of the others: what is left is about a fifth.
 */
export class PayloadPacker {
  #options: ZlibOptions | undefined;
  #slab = new Uint8Array(0);
  #used = 0;

  pack(payload: Uint8Array): Packed {
    if (payload.length > LARGEST_PACKED) return new Packed(payload, undefined);
    // A copy: the first payload may be a small part of something large.
    this.#options ??= { ...PACKING, dictionary: Uint8Array.from(payload) };
    return new Packed(this.#keep(deflateRawSync(payload, this.#options)), this.#options);
  }

  /** Side by side with its likes: a buffer of its own costs more than what it would hold, and so does a piece of a large one. */
  #keep(bytes: Uint8Array): Uint8Array {
    if (this.#used + bytes.length > this.#slab.length) {
      this.#slab = new Uint8Array(Math.max(SLAB_BYTES, bytes.length));
      this.#used = 0;
    }
    const kept = this.#slab.subarray(this.#used, (this.#used += bytes.length));
    kept.set(bytes);
    return kept;
  }
}

/** Not a closure: those of one function keep each other's values alive. */
class Packed {
  readonly bytes: Uint8Array;
  readonly #options: ZlibOptions | undefined;

  constructor(bytes: Uint8Array, options: ZlibOptions | undefined) {
    this.bytes = bytes;
    this.#options = options;
  }

  unpack(): Uint8Array {
    return this.#options === undefined ? this.bytes : inflateRawSync(this.bytes, this.#options);
  }
}

const SLAB_BYTES = 64 * 1024;
/** Beyond, the dictionary says little. */
const LARGEST_PACKED = 16 * 1024;
/** A window of 4 KiB, so that packing a message does not begin with clearing a quarter of a megabyte. */
const PACKING = { level: 1, memLevel: 3, windowBits: 12, chunkSize: 1024 } as const;

/** A delivery that a driver has pulled: it can be made small while it waits. */
export class PulledDelivery implements Delivery {
  readonly queue: string;
  readonly exchange: string;
  readonly routingKey: string;
  readonly redelivered: boolean;
  readonly deliveryCount: number;
  declare readonly malformed?: Error;
  tag: unknown;
  readonly #packer: PayloadPacker;
  #payload: string | Uint8Array | Packed;
  #message: Message | undefined;

  /** `own`: see {@link decodeEnvelope}. */
  constructor(
    payload: string | Uint8Array,
    queue: string,
    deliveryCount: number,
    packer: PayloadPacker,
    own?: OwnMessage,
  ) {
    const envelope: OpenedEnvelope = decodeEnvelope(payload, own);
    this.#packer = packer;
    this.#payload = payload;
    this.#message = envelope.message;
    this.queue = queue;
    this.exchange = envelope.exchange;
    this.routingKey = envelope.routingKey ?? queue;
    this.redelivered = envelope.redelivered || deliveryCount > 1;
    this.deliveryCount = this.redelivered ? Math.max(deliveryCount, 2) : 1;
    this.tag = undefined;
    if (envelope.malformed !== undefined) this.malformed = envelope.malformed;
  }

  get message(): Message {
    return this.#message ?? decodeEnvelope(this.#bytes()).message;
  }

  rest(isResting: boolean): void {
    if (isResting === (this.#message === undefined)) return;
    if (isResting) {
      const payload = this.#bytes();
      this.#payload = this.#packer.pack(typeof payload === 'string' ? Buffer.from(payload) : payload);
      this.#message = undefined;
    } else {
      this.#payload = this.#bytes();
      this.#message = decodeEnvelope(this.#payload).message;
    }
  }

  #bytes(): string | Uint8Array {
    return this.#payload instanceof Packed ? this.#payload.unpack() : this.#payload;
  }
}
