import type { Connection } from '@lovage/core/transport';
import { messages } from '../count-text.ts';

/** Says how many messages the broker keeps back until they are due, where it counts them with no queue. */
export async function sayDelayed(connection: Connection, consequence: string): Promise<void> {
  const count = (await connection.delayed?.()) ?? 0;
  if (count > 0) process.stderr.write(delayedText(count, consequence));
}

export function delayedText(count: number, consequence: string): string {
  return `Warning: The broker keeps back ${messages(count)}, of any of its queues, until their time (an ETA). ${consequence}\n`;
}
