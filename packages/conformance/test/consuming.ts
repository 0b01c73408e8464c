import type { Connection, Consumer, Delivery, Outcome } from '@lovage/core/transport';
import { expect } from 'vitest';

export interface Consuming {
  readonly consumer: Consumer;
  /** What has come and was not taken. */
  readonly deliveries: readonly Delivery[];
  /** The next `count`, once they have come. */
  readonly take: (count: number) => Promise<readonly Delivery[]>;
}

/** A consumer whose deliveries can be waited for. */
export async function consume(
  connection: Connection,
  queues: string | readonly string[],
  prefetch = 100,
): Promise<Consuming> {
  const deliveries: Delivery[] = [];
  const names = typeof queues === 'string' ? [queues] : queues;
  const consumer = await connection.consume(names, (batch) => void deliveries.push(...batch), { prefetch });
  return {
    consumer,
    deliveries,
    take: async (count) => {
      await expect.poll(() => deliveries.length, { interval: 2 }).toBeGreaterThanOrEqual(count);
      return deliveries.splice(0, count);
    },
  };
}

export function settle(connection: Connection, deliveries: readonly Delivery[], outcome: Outcome): Promise<void> {
  return connection.settle(deliveries.map((delivery) => ({ delivery, outcome })));
}

/** The bodies. */
export function texts(deliveries: readonly Delivery[]): string[] {
  return deliveries.map(({ message }) => Buffer.from(message.body).toString());
}
