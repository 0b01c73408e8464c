import { isUtf8 } from 'node:buffer';
import { DecodeError } from '../errors.ts';

/** UTF-8 bytes as text. Throws `DecodeError` for bytes that are not UTF-8; Node would replace them silently. */
export function utf8Text(data: Uint8Array): string {
  const buffer = Buffer.isBuffer(data) ? data : Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  const text = buffer.toString('utf8');
  // Only then can something have been replaced.
  if (text.includes('\ufffd') && !isUtf8(buffer)) throw new DecodeError('The body is not UTF-8.');
  return text;
}
