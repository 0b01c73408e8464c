import { expect, test } from 'vitest';
import { readTransportOptions } from './options.ts';

const read = (transportOptions: Record<string, unknown>, leaseMs?: number) =>
  readTransportOptions({ transportOptions, ...(leaseMs === undefined ? {} : { leaseMs }) });

test("Kombu's names and units, and its defaults", () => {
  expect(read({}).settings).toMatchObject({
    visibilityTimeoutMs: 3_600_000,
    leaseMs: 30_000,
    prioritySteps: [0, 3, 6, 9],
    separator: '\x06\x16',
    unackedKey: 'unacked',
    unackedMutexExpireMs: 300_000,
  });
  expect(
    read({ visibility_timeout: 60, socket_timeout: 3, master_name: 'm', queue_order_strategy: 'sorted' }),
  ).toMatchObject({
    settings: { visibilityTimeoutMs: 60_000, queueOrder: 'sorted' },
    connection: { socketTimeout: 3000, masterName: 'm' },
  });
});

test('a lease is never longer than the visibility timeout of the fleet', () => {
  expect(read({ visibilityTimeout: 10 }).settings.leaseMs).toBe(10_000);
  expect(read({}, 5000).settings.leaseMs).toBe(5000);
  expect(read({ leaseMs: 2000 }, 5000).settings.leaseMs).toBe(2000);
});

test.each([
  [{ ack_emulation: false }, /cannot be turned off/],
  [{ priority_steps: [3, 6] }, /begin with 0/],
  [{ priority_steps: [0, 6, 3] }, /rising/],
  [{ fanout_prefix: 1 }, /Expected true, false or text/],
  [{ visibilty_timeout: 1 }, /Did you mean "visibility_timeout"/],
])('%j is refused', (given, message) => {
  expect(() => read(given)).toThrow(message);
});

test('what Kombu needs and Lovage does not is taken without effect', () => {
  expect(() =>
    read({ max_connections: 10, unacked_restore_throttle: 10, polling_interval: 1, max_retries: 3 }),
  ).not.toThrow();
});
