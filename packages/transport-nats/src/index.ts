import { builtModule, type Transport, virtualTransport } from '@lovage/core/transport';
import { SCHEMES } from '@lovage/nats';
import { openNatsDriver } from './open.ts';

export type { NatsTransportOptions } from './options.ts';

/**
 * The broker NATS with JetStream: a work queue stream per queue. Schemes `nats` and `tls+nats`; options as
 * {@link NatsTransportOptions}. What lies on the server is told in `docs/wire/nats.md`.
 */
export const natsTransport: Transport = virtualTransport({
  schemes: SCHEMES,
  open: openNatsDriver,
  leaseKeeper: builtModule('./lease-keeper.js', import.meta.url),
});
