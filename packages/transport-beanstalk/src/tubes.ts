import { createHash } from 'node:crypto';

/** beanstalkd takes 200 bytes. */
const MAX_LENGTH = 200;
const HASH_LENGTH = 40;

/**
 * The tube of a queue: its own name, as Kombu had it, where beanstalkd takes that. Else what it does not take is `$` and two
 * hex digits per byte, and a name that is too long ends with a hash. No two queues share a tube.
 * Source: beanstalkd/doc/protocol.txt, "name".
 */
export function tubeOf(queue: string): string {
  if (queue === '') return '$';
  const tube = queue
    // What reads like an escape is escaped too.
    .replace(/\$(?=[0-9a-f]{2}|$)/g, '$24')
    .replace(/[^A-Za-z0-9\-+/;.$_()]/gu, (char) => [...Buffer.from(char)].map(hex).join(''))
    .replace(/^-/, '$2d');
  if (tube.length <= MAX_LENGTH) return tube;
  const digest = createHash('sha1').update(queue).digest('hex');
  return `${tube.slice(0, MAX_LENGTH - HASH_LENGTH - 2)}$$${digest}`;
}

function hex(byte: number): string {
  return `$${byte.toString(16).padStart(2, '0')}`;
}
