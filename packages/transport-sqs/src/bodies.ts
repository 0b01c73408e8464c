import { isUtf8 } from 'node:buffer';

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** The text of a message: base64 of the envelope, unless told otherwise. Source: kombu/asynchronous/aws/sqs/message.py. */
export function toBody(payload: string, base64: boolean): string {
  return base64 ? Buffer.from(payload).toString('base64') : payload;
}

/** Bytes of {@link toBody}, without making it. */
export function bodyBytes(payload: string, base64: boolean): number {
  const bytes = Buffer.byteLength(payload);
  return base64 ? Math.ceil(bytes / 3) * 4 : bytes;
}

/**
 * The envelope in a message: base64 of text is decoded, other text is taken as it is. A JSON object that is no envelope
 * becomes the body of one, as other programs (S3 or SNS notifications) send it; it has no content type then.
 * Source: kombu/transport/SQS.py, Channel._optional_b64_decode and _envelope_payload.
 */
export function fromBody(body: string): string | Uint8Array {
  const text = decode(body);
  if (typeof text !== 'string' || isEnvelope(text)) return text;
  return isForeignObject(text) ? JSON.stringify({ body: text, properties: {} }) : text;
}

function decode(body: string): string | Uint8Array {
  const candidate = body.trim();
  if (candidate === '') return ''; // SQS has no empty messages
  if (candidate.startsWith('{') || !BASE64.test(candidate)) return body;
  const bytes = Buffer.from(candidate, 'base64');
  return isUtf8(bytes) && bytes.toString('base64') === candidate ? bytes.toString() : body;
}

/** Cheap and on the safe side: what names these keys is read, and judged, as an envelope. */
function isEnvelope(text: string): boolean {
  return text.includes('"properties"') || text.includes('"body"');
}

function isForeignObject(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length > 0;
  } catch {
    return false;
  }
}
