import type { HelloReply, Logger, Lovage } from '@lovage/core';
import { learnRevoked, toldRevoked } from '../control/questions.ts';

/** How long the neighbours may take; what they say later than {@link PATIENCE_MS} is still taken. */
const TIMEOUT_SECONDS = 1;
/** A worker that starts waits so long for news of revoked tasks before it takes any. Celery waits the whole second. */
const PATIENCE_MS = 250;

export interface MingleFacts {
  readonly app: Lovage;
  readonly nodeName: string;
  readonly logger: Logger;
  readonly revoked: { add(id: string): void; ids(): readonly string[] };
}

/**
 * Asks the workers that run for their clock and for what is revoked. Resolves when they have had time to answer; never
 * rejects. Source: celery/worker/consumer/mingle.py.
 */
export async function mingle({ app, nodeName, logger, revoked }: MingleFacts): Promise<void> {
  let nodes = 0;
  const take = (node: string, answer: unknown): void => {
    if (node === nodeName || typeof answer !== 'object' || answer === null) return;
    const { clock, revoked: told } = answer as Partial<HelloReply>;
    app.clock.adjust(clock);
    learnRevoked(revoked, told);
    nodes++;
  };
  logger.info({ node: nodeName }, 'mingle: searching for neighbors');
  const asking = app.control
    .broadcast('hello', {
      reply: true,
      timeout: TIMEOUT_SECONDS,
      arguments: { from_node: nodeName, revoked: toldRevoked(revoked.ids(), performance.now()) },
      onReply: take,
    })
    .then(
      () => logger.info({ nodes }, nodes === 0 ? 'mingle: all alone' : `mingle: sync with ${nodes} nodes`),
      (error: unknown) => logger.warn({ err: error }, 'mingle: the neighbors could not be asked'),
    );
  const enough = new Promise<void>((resolve) => {
    setTimeout(resolve, PATIENCE_MS);
  });
  await Promise.race([asking, enough]);
}
