import { ConfigError } from '@lovage/core/transport';

const FIFO = '.fifo';
/** What SQS takes. Source: CreateQueue, QueueName. */
const VALID = /^[\w-]{1,80}$/;
const LONGEST = 80;

export function isFifo(name: string): boolean {
  return name.endsWith(FIFO);
}

/**
 * The name of a queue in SQS: the prefix, then the name with `.` as `-` and other ASCII punctuation but `-` and `_` as
 * `_`; `.fifo` at the end stays. Throws `ConfigError` for what SQS takes in no case: other characters, more than 80.
 * Source: kombu/transport/SQS.py, Channel.entity_name.
 */
export function sqsName(queue: string, prefix: string): string {
  const full = prefix + queue;
  const suffix = isFifo(full) ? FIFO : '';
  const base = full
    .slice(0, full.length - suffix.length)
    .replaceAll('.', '-')
    .replace(/[!"#$%&'()*+,/:;<=>?@[\\\]^`{|}~]/g, '_');
  if (!VALID.test(base) || base.length + suffix.length > LONGEST) {
    throw new ConfigError(
      `SQS takes no queue named ${JSON.stringify(base + suffix)}, which stands for ${JSON.stringify(queue)}. Expected 1 to ${LONGEST} letters, digits, "-" and "_"; FIFO queues end with "${FIFO}".`,
      { facts: { queue } },
    );
  }
  return base + suffix;
}
