import { isUtf8 } from 'node:buffer';
import { randomUUID } from 'node:crypto';
import { DecodeError, EncodeError, type LovageError } from '../errors.ts';
import type { Message, MessageHeaders, MessageProperties } from '../transport/message.ts';

/** A longer payload is handed on as malformed, unparsed: 64 MiB. */
export const MAX_ENVELOPE_BYTES: number = 64 * 1024 * 1024;
/** Headers nested deeper are handed on as malformed: nothing behind may run out of stack. */
export const MAX_HEADER_DEPTH = 64;

/** The end of an envelope: what differs between two copies of one publication is the tag. */
const TAIL = '"}}';

/**
 * Everything of an envelope up to its delivery tag. Copies for several queues share it: `openEnvelope(...)`, then
 * {@link sealEnvelope} once per queue.
 *
 * `properties` is the last key and `delivery_tag` its last key, so that a driver finds the tag at the end of the text.
 * Throws `EncodeError` for headers that JSON cannot hold. Source: kombu/transport/virtual/base.py, Message.serializable.
 */
export function openEnvelope(message: Message, exchange: string, routingKey: string): string {
  const { body, headers, properties } = message;
  const { correlationId, replyTo } = properties;
  return `{"body":"${base64(body)}${contentPart(message)}${encodeHeaders(headers)},"properties":{${
    correlationId === undefined ? '' : `"correlation_id":${quote(correlationId)},`
  }${replyTo === undefined ? '' : `"reply_to":${quote(replyTo)},`}${deliveryPart(properties, exchange, routingKey)}`;
}

/** What the last message had, and most likely the next one has: few pieces make a text that is cheap to send. */
let lastContent = { contentType: '', contentEncoding: '', text: '' };

function contentPart({ contentType, contentEncoding }: Message): string {
  if (
    lastContent.text === '' ||
    lastContent.contentType !== contentType ||
    lastContent.contentEncoding !== contentEncoding
  ) {
    const text = `","content-encoding":${quote(contentEncoding)},"content-type":${quote(contentType)},"headers":`;
    lastContent = { contentType, contentEncoding, text };
  }
  return lastContent.text;
}

let lastDelivery = {
  exchange: '',
  routingKey: '',
  priority: 0,
  deliveryMode: 0,
  expiration: undefined as string | undefined,
  text: '',
};

function deliveryPart(properties: MessageProperties, exchange: string, routingKey: string): string {
  const { deliveryMode = 2, expiration } = properties;
  const priority = priorityOf(properties);
  const last = lastDelivery;
  if (
    last.routingKey === routingKey &&
    last.exchange === exchange &&
    last.priority === priority &&
    last.deliveryMode === deliveryMode &&
    last.expiration === expiration
  ) {
    return last.text;
  }
  const text = `"delivery_mode":${deliveryMode},"delivery_info":{"exchange":${quote(exchange)},"routing_key":${quote(routingKey)}},"priority":${priority},${
    expiration === undefined ? '' : `"expiration":${quote(expiration)},`
  }"body_encoding":"base64","delivery_tag":"`;
  lastDelivery = { exchange, routingKey, priority, deliveryMode, expiration, text };
  return text;
}

/** Completes an opened envelope with its tag: plain text without quotes and backslashes. */
export function sealEnvelope(opened: string, deliveryTag: string): string {
  return opened + deliveryTag + TAIL;
}

/** A tag nobody else has: uuid4 text, as Kombu's. */
export function newDeliveryTag(): string {
  return randomUUID();
}

/** What stands in the tag's place of a sealed envelope with a tag of {@link newDeliveryTag}. */
export function deliveryTagOf(payload: string | Uint8Array): string {
  const end = payload.length - TAIL.length;
  const start = Math.max(0, end - TAG_CHARS);
  return typeof payload === 'string' ? payload.slice(start, end) : asBuffer(payload).toString('latin1', start, end);
}

/** Of a uuid. */
const TAG_CHARS = 36;

/** Whether the bytes are this text. */
export function isSamePayload(payload: string | Uint8Array, text: string): boolean {
  return (typeof payload === 'string' ? payload : asBuffer(payload).toString('utf8')) === text;
}

/** The priority as brokers take it: 0 to 9. Default 0. Source: kombu/transport/virtual/base.py, _get_message_priority. */
export function priorityOf({ priority }: MessageProperties): number {
  return priority === undefined ? 0 : Math.max(0, Math.min(9, Math.trunc(priority) || 0));
}

/** An envelope that {@link openEnvelope} and {@link sealEnvelope} made here, of a message with this body. */
export interface OwnMessage {
  readonly payload: string;
  readonly body: Uint8Array;
}

/** An envelope taken apart. */
export interface OpenedEnvelope {
  readonly message: Message;
  readonly exchange: string;
  /** undefined: the envelope does not say. */
  readonly routingKey: string | undefined;
  readonly deliveryTag: string | undefined;
  readonly redelivered: boolean;
  /** Set when the payload is no readable envelope: `message.body` then holds the raw bytes. */
  readonly malformed?: LovageError;
}

/**
 * Reads what Kombu and Lovage write, and what is left of it: absent properties, tag, delivery info, content type and a
 * plain text body are accepted (`body_encoding` base64, utf-8, null or absent). Never throws: anything else, and what
 * exceeds {@link MAX_ENVELOPE_BYTES} or {@link MAX_HEADER_DEPTH}, comes back as malformed with its bytes.
 * Headers have no prototype and no `__proto__` key at any level.
 *
 * `own`: what is known of an envelope that was written here.
 */
export function decodeEnvelope(payload: string | Uint8Array, own?: OwnMessage): OpenedEnvelope {
  try {
    return readEnvelope(payload, own);
  } catch (error) {
    const malformed =
      error instanceof Malformed
        ? new DecodeError(`The message is no readable envelope: ${error.message}.`, { cause: error.cause })
        : new DecodeError('The message is no readable envelope.', { cause: error });
    const body = typeof payload === 'string' ? Buffer.from(payload) : payload;
    return {
      message: { body, contentType: '', contentEncoding: '', headers: noHeaders(), properties: {} },
      exchange: '',
      routingKey: undefined,
      deliveryTag: undefined,
      redelivered: false,
      malformed,
    };
  }
}

class Malformed extends Error {}

type Json = Readonly<Record<string, unknown>>;

function readEnvelope(payload: string | Uint8Array, own: OwnMessage | undefined): OpenedEnvelope {
  if (payload.length > MAX_ENVELOPE_BYTES) {
    throw new Malformed(`it has ${payload.length} bytes, more than ${MAX_ENVELOPE_BYTES}`);
  }
  const text = own !== undefined ? withoutBody(own) : typeof payload === 'string' ? payload : utf8(payload);
  let envelope: unknown;
  try {
    envelope = JSON.parse(text);
  } catch (cause) {
    throw new Malformed('it is not JSON', { cause });
  }
  if (!isObject(envelope)) throw new Malformed(`it is ${kindOf(envelope)}, expected an object`);
  const properties = envelope['properties'] ?? {};
  if (!isObject(properties)) throw new Malformed(`"properties" is ${kindOf(properties)}, expected an object`);
  const info = properties['delivery_info'];
  const deliveryInfo: Json = isObject(info) ? info : {};
  // `__proto__` can only have come in by these letters or by an escape for one of them.
  const suspect = text.includes('__proto__') || text.includes('\\u00');
  const headers = readHeaders(envelope['headers'] ?? {}, suspect);
  const deliveryTag = properties['delivery_tag'];
  return {
    message: {
      body: own?.body ?? readBody(envelope['body'], properties['body_encoding']),
      contentType: textOr(envelope['content-type'], ''),
      contentEncoding: textOr(envelope['content-encoding'], ''),
      headers,
      properties: readProperties(properties),
    },
    exchange: textOr(deliveryInfo['exchange'], ''),
    routingKey: textOr(deliveryInfo['routing_key'], undefined),
    deliveryTag: typeof deliveryTag === 'number' ? String(deliveryTag) : textOr(deliveryTag, undefined),
    redelivered:
      deliveryInfo['redelivered'] === true || envelope['redelivered'] === true || headers['redelivered'] === true,
  };
}

/** As {@link openEnvelope} begins. */
function withoutBody({ payload, body }: OwnMessage): string {
  return `{"body":"${payload.slice('{"body":"'.length + 4 * Math.ceil(body.length / 3))}`;
}

function readProperties(properties: Json): MessageProperties {
  const result: { -readonly [K in keyof MessageProperties]: MessageProperties[K] } = {};
  const { correlation_id, reply_to, delivery_mode, priority, expiration } = properties;
  if (typeof correlation_id === 'string') result.correlationId = correlation_id;
  // Kombu writes '' for "no reply wanted".
  if (typeof reply_to === 'string' && reply_to !== '') result.replyTo = reply_to;
  if (delivery_mode === 1 || delivery_mode === 2) result.deliveryMode = delivery_mode;
  if (typeof priority === 'number') result.priority = priorityOf({ priority });
  if (typeof expiration === 'string') result.expiration = expiration;
  else if (typeof expiration === 'number') result.expiration = String(expiration);
  return result;
}

function readBody(body: unknown, encoding: unknown): Uint8Array {
  if (body === undefined || body === null) return new Uint8Array(0);
  if (typeof body !== 'string') throw new Malformed(`"body" is ${kindOf(body)}, expected text`);
  switch (encoding) {
    case 'base64':
      return fromBase64(body);
    case undefined:
    case null:
    case '':
    case 'utf-8':
    case 'utf8':
      return Buffer.from(body);
    default:
      throw new Malformed(`"body_encoding" is ${JSON.stringify(encoding)}, expected "base64" or "utf-8"`);
  }
}

/** Node skips what is not base64; a length that does not fit gives it away. */
function fromBase64(text: string): Uint8Array {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.length === base64Bytes(text)) return bytes;
  const compact = text.replace(/\s+/g, '');
  if (compact.length !== text.length && bytes.length === base64Bytes(compact)) return bytes;
  throw new Malformed('"body" is not base64');
}

function base64Bytes(text: string): number {
  const { length } = text;
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  return length % 4 === 0 ? (length / 4) * 3 - padding : -1;
}

function readHeaders(value: unknown, suspect: boolean): MessageHeaders {
  if (!isObject(value)) throw new Malformed(`"headers" is ${kindOf(value)}, expected an object`);
  for (const key in value) {
    const item = value[key];
    if (typeof item === 'object' && item !== null) checkNested(item, suspect, 2);
  }
  if (suspect && Object.hasOwn(value, '__proto__')) delete (value as Record<string, unknown>)['__proto__'];
  // Right after parsing this costs nothing measurable; copying to a new object costs a third of the parse.
  return Object.setPrototypeOf(value, null) as MessageHeaders;
}

function checkNested(value: object, suspect: boolean, depth: number): void {
  if (depth > MAX_HEADER_DEPTH) throw new Malformed(`its headers are nested deeper than ${MAX_HEADER_DEPTH} levels`);
  if (suspect && Object.hasOwn(value, '__proto__')) delete (value as Record<string, unknown>)['__proto__'];
  for (const item of Array.isArray(value) ? (value as unknown[]) : Object.values(value)) {
    if (typeof item === 'object' && item !== null) checkNested(item, suspect, depth + 1);
  }
}

function encodeHeaders(headers: MessageHeaders): string {
  try {
    return JSON.stringify(headers);
  } catch (cause) {
    throw new EncodeError(
      'The headers cannot be written as JSON. Expected text, numbers, booleans, null, lists and objects.',
      {
        cause,
      },
    );
  }
}

/** Most texts here need no escape; looking is cheaper than `JSON.stringify`. */
const PLAIN = /^[\w.\-/@: +=]*$/;

function quote(text: string): string {
  return PLAIN.test(text) ? `"${text}"` : JSON.stringify(text);
}

function base64(body: Uint8Array): string {
  return asBuffer(body).toString('base64');
}

function utf8(bytes: Uint8Array): string {
  if (!isUtf8(bytes)) throw new Malformed('it is not UTF-8');
  return asBuffer(bytes).toString('utf8');
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function noHeaders(): Record<string, unknown> {
  return Object.create(null) as Record<string, unknown>;
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function textOr<T>(value: unknown, otherwise: T): string | T {
  return typeof value === 'string' ? value : otherwise;
}

function kindOf(value: unknown): string {
  if (value === null) return 'null';
  return Array.isArray(value) ? 'a list' : `a ${typeof value}`;
}
