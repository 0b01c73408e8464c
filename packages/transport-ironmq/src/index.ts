import { builtModule, type Transport, virtualTransport } from '@lovage/core/transport';
import { openIronDriver } from './open.ts';

export type { IronTransportOptions } from './options.ts';

/**
 * The broker IronMQ, by its HTTP API v3: `ironmq://project_id:token@host`. Options as {@link IronTransportOptions}.
 */
export const ironmqTransport: Transport = virtualTransport({
  schemes: ['ironmq'],
  open: openIronDriver,
  leaseKeeper: builtModule('./lease-keeper.js', import.meta.url),
});
