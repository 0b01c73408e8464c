import type { Lovage } from '@lovage/core';
import { INSTANT_HEADER, ONCE_HEADER } from '@lovage/core/protocol';
import type { Work } from '../request/work.ts';

/** Longer than anybody may take to send a message a second time. */
const KEPT_SECONDS = 7 * 24 * 3600;

/** A message that its sender may have sent twice with the same id: an instant of a beat, the body of a chord. */
export function mayBeTwice({ delivery }: Work): boolean {
  const { headers } = delivery.message;
  return headers[INSTANT_HEADER] !== undefined || headers[ONCE_HEADER] !== undefined;
}

/** A first attempt of such a message, that nobody has had before: it has to be claimed. */
export function needsClaim(work: Work): boolean {
  const { delivery, request } = work;
  const { headers } = delivery.message;
  // One that somebody took back from where dead letters are has found its claim before.
  const wasSetAside = headers['x-death'] !== undefined || headers['x-lovage-reason'] !== undefined;
  return mayBeTwice(work) && !delivery.redelivered && request.retries === 0 && !wasSetAside;
}

/**
 * Whether this is the first of the messages with its id. Who died between sending and noting sends again; the second message
 * finds the claim of the first. One that comes again because its worker died is marked as redelivered and is not asked
 * here, so a claim never keeps a task from being run at least once.
 *
 * True on a store that cannot compare and swap, and without one: then the task may run twice.
 */
export async function claim(app: Lovage, work: Work, nodeName: string): Promise<boolean> {
  const documents = (await app.resultBackend())?.documents;
  if (documents === undefined) return true;
  const isInstant = work.delivery.message.headers[INSTANT_HEADER] !== undefined;
  const name = `lovage-${isInstant ? 'instant' : 'once'}:${work.id}`;
  return (await documents.write(name, nodeName, undefined, { ttlSeconds: KEPT_SECONDS })) !== undefined;
}
