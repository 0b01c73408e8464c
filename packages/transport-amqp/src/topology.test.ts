import { expect, test } from 'vitest';
import { acceptedDurability } from './topology.ts';

test('RabbitMQ 4.3 refuses queues that are neither durable nor exclusive: they are durable there', () => {
  const transient = { name: 'worker1.celery.pidbox', durable: false, autoDelete: true };
  expect(acceptedDurability(transient, [3, 10])).toBe(false);
  expect(acceptedDurability(transient, [4, 2])).toBe(false);
  expect(acceptedDurability(transient, [4, 3])).toBe(true);
  expect(acceptedDurability(transient, [5, 0])).toBe(true);
  expect(acceptedDurability({ ...transient, exclusive: true }, [4, 3])).toBe(false);
  expect(acceptedDurability({ name: 'celery' }, [3, 10])).toBe(true);
});
