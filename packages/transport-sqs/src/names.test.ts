import { expect, test } from 'vitest';
import { sqsName } from './names.ts';

// The right sides are what Kombu 5.6.2 makes of the left ones.
test.each([
  ['celery', '', 'celery'],
  ['w1@host.example.celery.pidbox', '', 'w1_host-example-celery-pidbox'],
  ['a/b', 'prod-', 'prod-a_b'],
  ['orders.eu.fifo', 'p.', 'p-orders-eu.fifo'],
  ['!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~', '', '____________--__________________'],
])('%s with the prefix "%s" is %s', (queue, prefix, expected) => {
  expect(sqsName(queue, prefix)).toBe(expected);
});

test.each(['', 'two words', 'bücher', 'x'.repeat(81), `${'x'.repeat(76)}.fifo`, '.fifo'])('%j is refused', (queue) => {
  expect(() => sqsName(queue, '')).toThrow(/SQS takes no queue named .* Expected 1 to 80 letters, digits, "-" and "_"/);
});
