import { builtModule, type Transport, virtualTransport } from '@lovage/core/transport';
import { openSqsDriver } from './open.ts';

export type { PredefinedQueue, SqsTransportOptions } from './options.ts';

/**
 * Amazon SQS, in Kombu's layout: Python and TypeScript workers serve the same queues. URLs `sqs://` (environment,
 * profile or role), `sqs://key:secret@` and `sqs://key:secret@host:port` for another server; options as
 * {@link SqsTransportOptions}.
 */
export const sqsTransport: Transport = virtualTransport({
  schemes: ['sqs'],
  open: openSqsDriver,
  leaseKeeper: builtModule('./lease-keeper.js', import.meta.url),
});
