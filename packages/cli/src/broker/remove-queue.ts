import { isLovageError } from '@lovage/core';
import type { Connection } from '@lovage/core/transport';
import { counted, messages } from '../count-text.ts';
import { statusOf } from './take.ts';

export interface RemovalConditions {
  readonly ifEmpty: boolean;
  readonly ifUnused: boolean;
}

/** Messages that went with the queue, or why it was kept. */
export type Removal = { readonly deleted: number } | { readonly kept: string };

/**
 * Deletes a queue, on condition in one step where the broker has it. Elsewhere the broker is asked first: what comes in
 * between goes with the queue. A condition that the broker cannot tell does not hold.
 */
export async function removeQueue(
  connection: Connection,
  queue: string,
  { ifEmpty, ifUnused }: RemovalConditions,
): Promise<Removal> {
  const status = await statusOf(connection, queue);
  if (status === undefined) return { kept: 'there is no such queue' };
  const { ready, consumers } = status;
  if (ifUnused && consumers === undefined) return { kept: 'the broker does not tell whether it has consumers' };
  if (ifUnused && consumers !== 0) return { kept: 'it has consumers' };
  if (ifEmpty && ready > 0) return { kept: `it has ${messages(ready)}` };
  const delayed = ifEmpty ? ((await connection.delayed?.()) ?? 0) : 0;
  if (delayed > 0)
    return {
      kept: `${counted(delayed, 'message for any queue waits for its time', 'messages for any queue wait for their time')}, maybe for this one`,
    };
  if ((ifEmpty || ifUnused) && connection.removeIf !== undefined) {
    try {
      return { deleted: await connection.removeIf({ queue, ifEmpty, ifUnused }) };
    } catch (error) {
      if (isLovageError(error, 'ERR_PRECONDITION_FAILED')) return { kept: 'messages or consumers have come meanwhile' };
      if (!isLovageError(error, 'ERR_UNSUPPORTED')) throw error;
    }
  }
  await connection.remove({ queues: [{ name: queue }] });
  return { deleted: ready };
}
