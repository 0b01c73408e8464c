import type { Lovage } from '@lovage/core';
import { INSTANT_HEADER } from '@lovage/core/protocol';
import type { Work } from '../request/work.ts';

/** Longer than any beat may take to send an instant a second time. */
const KEPT_SECONDS = 7 * 24 * 3600;

/** A first attempt of a message that a beat has sent, and that nobody has had before. */
export function isInstant({ delivery, request }: Work): boolean {
  const { headers } = delivery.message;
  // One that somebody took back from where dead letters are has found its claim before.
  const wasSetAside = headers['x-death'] !== undefined || headers['x-lovage-reason'] !== undefined;
  return headers[INSTANT_HEADER] !== undefined && !delivery.redelivered && request.retries === 0 && !wasSetAside;
}

/**
 * Whether this is the first message of its instant. A beat that died between sending and noting sends an instant again,
 * with the same task id; the second message finds the claim of the first. One that comes again because its worker died is
 * marked as redelivered and is not asked here, so a claim never keeps a task from being run at least once.
 *
 * True on a store that cannot compare and swap, and without one: then an instant may run twice.
 */
export async function claimInstant(app: Lovage, work: Work, nodeName: string): Promise<boolean> {
  const documents = (await app.resultBackend())?.documents;
  if (documents === undefined) return true;
  const name = `lovage-instant:${work.id}`;
  return (await documents.write(name, nodeName, undefined, { ttlSeconds: KEPT_SECONDS })) !== undefined;
}
