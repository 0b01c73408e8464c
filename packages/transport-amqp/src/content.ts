import {
  EncodeError,
  type Message,
  type MessageProperties,
  MessageTooLargeError,
  DecodeError,
} from '@lovage/core/transport';
import type { ByteWriter } from './byte-writer.ts';
import { readTable, writeTable } from './field-table.ts';

const FRAME_METHOD = 1;
const FRAME_HEADER = 2;
const FRAME_BODY = 3;
const FRAME_END = 0xce;
/** Type, channel, size and the end mark. */
export const FRAME_OVERHEAD = 8;

const BASIC_PUBLISH = 0x003c_0028;
const BASIC_RETURN = 0x003c_0032;
const BASIC_DELIVER = 0x003c_003c;
const BASIC_ACK = 0x003c_0050;
const BASIC_NACK = 0x003c_0078;

/** Bodies up to this size are copied beside their headers; larger ones are handed to the socket as they are. */
const COPY_MAX_BYTES = 16 * 1024;
/** Small bodies are copied out of the socket's chunk, so that one held message does not keep 64 KiB alive. */
const DETACH_MAX_BYTES = 2048;

const HAS_CONTENT_TYPE = 0x8000;
const HAS_CONTENT_ENCODING = 0x4000;
const HAS_HEADERS = 0x2000;
const HAS_DELIVERY_MODE = 0x1000;
const HAS_PRIORITY = 0x0800;
const HAS_CORRELATION_ID = 0x0400;
const HAS_REPLY_TO = 0x0200;
const HAS_EXPIRATION = 0x0100;

const PERSISTENT = 2;

/**
 * Writes basic.publish, its content header and body frames. `bulk` takes a body too large to copy; what the writer
 * holds must reach the socket before it. Throws `EncodeError` or `MessageTooLargeError` and leaves nothing written.
 */
export function writePublish(
  out: ByteWriter,
  channel: number,
  frameMax: number,
  exchange: string,
  routingKey: string,
  mandatory: boolean,
  message: Message,
  bulk: (bytes: Uint8Array) => void,
): void {
  const start = out.length;
  try {
    const methodAt = beginFrame(out, FRAME_METHOD, channel);
    out.u32(BASIC_PUBLISH);
    out.u16(0);
    out.shortString(exchange, 'exchange');
    out.shortString(routingKey, 'routing key');
    out.u8(mandatory ? 1 : 0);
    endFrame(out, methodAt);

    const headerAt = beginFrame(out, FRAME_HEADER, channel);
    out.u16(0x3c);
    out.u16(0);
    out.u64(message.body.length);
    writeProperties(out, message);
    endFrame(out, headerAt);
    // The content header cannot be split over frames, and the broker closes the connection on a larger one.
    if (out.length - headerAt + 3 > frameMax) {
      throw new MessageTooLargeError(
        `The headers of a message take ${out.length - headerAt} bytes. This connection takes at most ${frameMax} (frame_max).`,
      );
    }
  } catch (error) {
    out.length = start;
    throw error;
  }

  const { body } = message;
  const bodyMax = frameMax - FRAME_OVERHEAD;
  if (body.length > 0 && body.length <= COPY_MAX_BYTES && body.length <= bodyMax) {
    const at = beginFrame(out, FRAME_BODY, channel);
    out.raw(body);
    endFrame(out, at);
    return;
  }
  for (let offset = 0; offset < body.length; offset += bodyMax) {
    const part = body.subarray(offset, offset + bodyMax);
    const at = beginFrame(out, FRAME_BODY, channel);
    out.patchU32(at, part.length);
    bulk(part);
    out.u8(FRAME_END);
  }
}

/** A delivery tag of a channel opened by us stays far below 2^53. */
export function writeAck(out: ByteWriter, channel: number, tag: number, multiple: boolean): void {
  const at = beginFrame(out, FRAME_METHOD, channel);
  out.u32(BASIC_ACK);
  out.u64(tag);
  out.u8(multiple ? 1 : 0);
  endFrame(out, at);
}

export function writeNack(out: ByteWriter, channel: number, tag: number, requeue: boolean): void {
  const at = beginFrame(out, FRAME_METHOD, channel);
  out.u32(BASIC_NACK);
  out.u64(tag);
  out.u8(requeue ? 2 : 0);
  endFrame(out, at);
}

/** Returns where the size goes. */
function beginFrame(out: ByteWriter, type: number, channel: number): number {
  out.u8(type);
  out.u16(channel);
  return out.reserve(4);
}

function endFrame(out: ByteWriter, sizeAt: number): void {
  out.patchU32(sizeAt, out.length - sizeAt - 4);
  out.u8(FRAME_END);
}

function writeProperties(out: ByteWriter, { contentType, contentEncoding, headers, properties }: Message): void {
  const flagsAt = out.reserve(2);
  let flags = HAS_HEADERS | HAS_DELIVERY_MODE;
  if (contentType !== '') {
    flags |= HAS_CONTENT_TYPE;
    out.shortString(contentType, 'content type');
  }
  if (contentEncoding !== '') {
    flags |= HAS_CONTENT_ENCODING;
    out.shortString(contentEncoding, 'content encoding');
  }
  writeTable(out, headers);
  out.u8(properties.deliveryMode ?? PERSISTENT);
  if (properties.priority !== undefined) {
    if (!(properties.priority >= 0 && properties.priority <= 255)) {
      throw new EncodeError(`The priority ${properties.priority} does not exist. Expected 0 to 255.`);
    }
    flags |= HAS_PRIORITY;
    out.u8(properties.priority);
  }
  if (properties.correlationId !== undefined) {
    flags |= HAS_CORRELATION_ID;
    out.shortString(properties.correlationId, 'correlation id');
  }
  if (properties.replyTo !== undefined) {
    flags |= HAS_REPLY_TO;
    out.shortString(properties.replyTo, 'reply_to');
  }
  if (properties.expiration !== undefined) {
    flags |= HAS_EXPIRATION;
    out.shortString(properties.expiration, 'expiration');
  }
  out.bytes[flagsAt] = flags >>> 8;
  out.bytes[flagsAt + 1] = flags & 0xff;
}

/** A message as it came; `malformed` says why its headers or properties could not be read. */
export interface IncomingMessage extends Message {
  readonly malformed: Error | undefined;
}

/** What a channel hears. Called while a chunk of the socket is being read: short and never throwing. */
export interface ContentListener {
  delivered?(
    consumerTag: string,
    tag: number,
    redelivered: boolean,
    exchange: string,
    routingKey: string,
    message: IncomingMessage,
  ): void;
  returned?(replyText: string, exchange: string, routingKey: string, message: IncomingMessage): void;
  confirmed?(tag: number, multiple: boolean, accepted: boolean): void;
}

/**
 * Reads the frames of one channel that carry content or confirm it. amqplib's own reader ends the whole connection
 * over a header type it does not know, so one such message would stop every worker that meets it, for ever.
 */
export class ContentReader {
  readonly #listener: ContentListener;
  readonly #mayConfirm: boolean;
  /** 0: between messages; BASIC_DELIVER or BASIC_RETURN: inside one. */
  #method = 0;
  /** The consumer tag of a delivery, the reply text of a return. */
  #label = '';
  #tag = 0;
  #redelivered = false;
  #exchange = '';
  #routingKey = '';
  #header: Buffer | undefined;
  #parts: Buffer[] = [];
  #missing = 0;

  constructor(listener: ContentListener) {
    this.#listener = listener;
    this.#mayConfirm = listener.confirmed !== undefined;
  }

  /** False when the frame is not about content: amqplib handles it. */
  take(type: number, payload: Buffer): boolean {
    if (type === FRAME_METHOD) return this.#method === 0 && this.#takeMethod(payload);
    if (this.#method === 0) return false;
    if (type === FRAME_HEADER) {
      if (this.#header !== undefined || payload.length < 14) return false;
      this.#header = payload;
      this.#missing = payload.readUInt32BE(4) * 0x1_0000_0000 + payload.readUInt32BE(8);
      if (this.#missing === 0) this.#finish(Buffer.alloc(0));
      return true;
    }
    if (type !== FRAME_BODY || this.#header === undefined || payload.length > this.#missing) return false;
    this.#missing -= payload.length;
    if (this.#missing > 0) {
      this.#parts.push(payload);
    } else if (this.#parts.length > 0) {
      this.#parts.push(payload);
      this.#finish(Buffer.concat(this.#parts));
    } else {
      this.#finish(payload.length <= DETACH_MAX_BYTES ? Buffer.from(payload) : payload);
    }
    return true;
  }

  #takeMethod(payload: Buffer): boolean {
    const id = payload.readUInt32BE(0);
    if (id === BASIC_DELIVER) {
      let at = 4;
      let length = payload[at] as number;
      this.#label = payload.toString('latin1', at + 1, at + 1 + length);
      at += 1 + length;
      this.#tag = payload.readUInt32BE(at) * 0x1_0000_0000 + payload.readUInt32BE(at + 4);
      this.#redelivered = (payload[at + 8] as number) !== 0;
      at += 9;
      length = payload[at] as number;
      this.#exchange = payload.toString('utf8', at + 1, at + 1 + length);
      at += 1 + length;
      length = payload[at] as number;
      this.#routingKey = payload.toString('utf8', at + 1, at + 1 + length);
      this.#method = id;
      return true;
    }
    if (!this.#mayConfirm) return false;
    if (id === BASIC_ACK || id === BASIC_NACK) {
      const tag = payload.readUInt32BE(4) * 0x1_0000_0000 + payload.readUInt32BE(8);
      this.#listener.confirmed?.(tag, ((payload[12] as number) & 1) === 1, id === BASIC_ACK);
      return true;
    }
    if (id === BASIC_RETURN) {
      let at = 6;
      let length = payload[at] as number;
      this.#label = payload.toString('utf8', at + 1, at + 1 + length);
      at += 1 + length;
      length = payload[at] as number;
      this.#exchange = payload.toString('utf8', at + 1, at + 1 + length);
      at += 1 + length;
      length = payload[at] as number;
      this.#routingKey = payload.toString('utf8', at + 1, at + 1 + length);
      this.#method = id;
      return true;
    }
    return false;
  }

  #finish(body: Buffer): void {
    const message = readMessage(this.#header as Buffer, body);
    const method = this.#method;
    this.#method = 0;
    this.#header = undefined;
    if (this.#parts.length > 0) this.#parts = [];
    if (method === BASIC_DELIVER) {
      this.#listener.delivered?.(this.#label, this.#tag, this.#redelivered, this.#exchange, this.#routingKey, message);
    } else {
      this.#listener.returned?.(this.#label, this.#exchange, this.#routingKey, message);
    }
  }
}

/** `header` is the payload of the content header frame. */
export function readMessage(header: Buffer, body: Buffer): IncomingMessage {
  try {
    return readProperties(header, body);
  } catch (cause) {
    return {
      body,
      contentType: '',
      contentEncoding: '',
      headers: Object.create(null) as Record<string, unknown>,
      properties: {},
      malformed: cause instanceof Error ? cause : new DecodeError(String(cause)),
    };
  }
}

function readProperties(header: Buffer, body: Buffer): IncomingMessage {
  const flags = header.readUInt16BE(12);
  let at = 14;
  let contentType = '';
  let contentEncoding = '';
  let headers: Record<string, unknown> | undefined;
  const properties: { -readonly [Key in keyof MessageProperties]: MessageProperties[Key] } = {};
  let malformed: Error | undefined;

  const shortString = (): string => {
    const length = header[at] ?? 0;
    const text = header.toString('utf8', at + 1, at + 1 + length);
    at += 1 + length;
    if (at > header.length) throw new DecodeError('The properties of a message end in the middle of a text.');
    return text;
  };
  if (flags & HAS_CONTENT_TYPE) contentType = shortString();
  if (flags & HAS_CONTENT_ENCODING) contentEncoding = shortString();
  if (flags & HAS_HEADERS) {
    const length = header.readUInt32BE(at);
    if (length > header.length - at - 4)
      throw new DecodeError('The header table of a message is longer than its frame.');
    try {
      headers = readTable(header.subarray(at + 4, at + 4 + length));
    } catch (cause) {
      malformed = cause as Error;
    }
    at += 4 + length;
  }
  if (flags & HAS_DELIVERY_MODE) properties.deliveryMode = header[at++] === PERSISTENT ? 2 : 1;
  if (flags & HAS_PRIORITY) properties.priority = header[at++] as number;
  if (flags & HAS_CORRELATION_ID) properties.correlationId = shortString();
  if (flags & HAS_REPLY_TO) properties.replyTo = shortString();
  if (flags & HAS_EXPIRATION) properties.expiration = shortString();
  if (at > header.length) throw new DecodeError('The properties of a message end too early.');
  return {
    body,
    contentType,
    contentEncoding,
    headers: headers ?? (Object.create(null) as Record<string, unknown>),
    properties,
    malformed,
  };
}
