import type { Msg } from '@nats-io/transport-node';

const PREFIX = 'Kombu-';

/**
 * The envelope of a message. With `nats_raw_body` Python sends the body alone and the rest of the envelope in headers; it
 * is put together again here. Source: celery/kombu pull request 2653, nats_body_and_headers_to_message.
 */
export function payloadOf({ data, headers }: Msg): string | Uint8Array {
  const contentType = headers?.get(`${PREFIX}Content-Type`);
  if (headers === undefined || !contentType) return data;
  let properties: unknown;
  let messageHeaders: unknown;
  try {
    properties = JSON.parse(headers.get(`${PREFIX}Properties`) || '{}');
    messageHeaders = JSON.parse(headers.get(`${PREFIX}Headers`) || '{}');
  } catch {
    return data; // no readable envelope: handed on as malformed
  }
  const isEncoded = typeof (properties as { body_encoding?: unknown } | null)?.body_encoding === 'string';
  return JSON.stringify({
    body: Buffer.from(data).toString(isEncoded ? 'utf8' : 'base64'),
    'content-type': contentType,
    'content-encoding': headers.get(`${PREFIX}Content-Encoding`) || 'utf-8',
    headers: messageHeaders,
    properties: isEncoded ? properties : { ...(properties as object), body_encoding: 'base64' },
  });
}
