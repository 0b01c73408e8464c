import { setTimeout as sleep } from 'node:timers/promises';
import { isLovageError } from '@lovage/core';
import type { Connection, Delivery } from '@lovage/core/transport';

const LONGEST_WAIT_MS = 2000;
const LOOK_MS = 20;

/**
 * Up to `count` messages of a queue, unsettled: the caller settles them, or the end of the connection gives them back.
 * `NotFoundError` where there is no such queue and the broker can tell.
 */
export async function take(connection: Connection, queue: string, count: number): Promise<readonly Delivery[]> {
  const { ready } = await connection.inspect(queue);
  const wanted = Math.min(count, ready);
  if (wanted === 0) return [];
  const taken: Delivery[] = [];
  const consumer = await connection.consume([queue], (batch) => void taken.push(...batch), { prefetch: wanted });
  // Delayed ones are counted as waiting and do not come.
  for (const end = performance.now() + LONGEST_WAIT_MS; taken.length < wanted && performance.now() < end; )
    await sleep(LOOK_MS);
  await consumer.cancel();
  return taken;
}

/** Messages that wait; undefined: there is no such queue. */
export async function statusOf(
  connection: Connection,
  queue: string,
): Promise<{ readonly ready: number; readonly consumers?: number } | undefined> {
  try {
    return await connection.inspect(queue);
  } catch (error) {
    if (isLovageError(error, 'ERR_NOT_FOUND')) return undefined;
    throw error;
  }
}
