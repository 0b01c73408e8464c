import { createHash } from 'node:crypto';

/** Namespace of our ids: a random UUID, the same for ever. */
const NAMESPACE = Buffer.from('6f5c0c6e8d6b4f0f9d5b3f0c7d1a2e94', 'hex');

/**
 * The task id of an entry's instant: a name-based UUID (RFC 9562, version 5), so that whoever sends the same instant again
 * sends the same task.
 */
export function instantId(app: string, entry: string, instant: number): string {
  const name = JSON.stringify([app, entry, new Date(instant).toISOString()]);
  const bytes = createHash('sha1').update(NAMESPACE).update(name).digest().subarray(0, 16);
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x50;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
