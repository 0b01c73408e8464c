import { isLovageError, type Logger, type PublishError } from '@lovage/core';
import type { Delivery, Publication } from '@lovage/core/transport';
import type { Clock } from '../clock.ts';
import type { Work } from '../request/work.ts';
import type { ConsumerSession } from './session.ts';

/** What a message of an unknown task has seen before: the header that counts it. */
const UNKNOWN_COUNT = 'x-lovage-unknown-count';

/** How often a message has met workers that do not know its task. */
export function unknownCount({ message }: Delivery): number {
  const count = message.headers[UNKNOWN_COUNT];
  return typeof count === 'number' && Number.isInteger(count) && count > 0 ? count : 0;
}

/** Publishes a message of an unknown task again, with its count raised, and settles the original then. False: it is ours still. */
export async function putBack(
  session: ConsumerSession,
  delivery: Delivery,
  delayMs: number,
  logger: Logger,
): Promise<boolean> {
  const { message } = delivery;
  const headers = { ...message.headers, [UNKNOWN_COUNT]: unknownCount(delivery) + 1 };
  const publication = { exchange: '', routingKey: delivery.queue, message: { ...message, headers } };
  try {
    await session.connection.publish([delayMs > 0 ? { ...publication, delayMs } : publication]);
    session.settle(delivery, 'ack');
    return true;
  } catch (error) {
    notPublished(session, error, logger);
    return false;
  }
}

/** Publishes messages whose time is far with a delay, and settles the originals then. Resolves with those that are ours still. */
export async function handBack(
  session: ConsumerSession,
  works: readonly Work[],
  { clock, logger }: { readonly clock: Clock; readonly logger: Logger },
): Promise<readonly Work[]> {
  const { maxDelayMs } = session.connection.capabilities;
  const now = clock.now();
  const batch = works.map(
    ({ delivery, request }): Publication => ({
      exchange: '',
      routingKey: delivery.queue,
      message: delivery.message,
      delayMs: Math.max(1, Math.min(maxDelayMs, Math.ceil((request.eta as number) - now))),
    }),
  );
  const failed = new Set<number>();
  try {
    await session.connection.publish(batch);
  } catch (error) {
    notPublished(session, error, logger);
    if (isLovageError(error, 'ERR_PUBLISH'))
      for (const { index } of (error as PublishError).failures) failed.add(index);
    else works.forEach((_, index) => failed.add(index));
  }
  for (const [index, { delivery }] of works.entries()) if (!failed.has(index)) session.settle(delivery, 'ack');
  return works.filter((_, index) => failed.has(index));
}

function notPublished(session: ConsumerSession, error: unknown, logger: Logger): void {
  if (session.isLive && !isLovageError(error, 'ERR_CONNECTION_LOST')) {
    logger.error({ err: error }, 'Messages could not be published for later. They stay where they are.');
  }
}
