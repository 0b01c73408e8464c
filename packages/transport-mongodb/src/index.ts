import { MONGODB_SCHEMES } from '@lovage/mongodb';
import { builtModule, type Transport, virtualTransport } from '@lovage/core/transport';
import { openMongoDriver } from './open.ts';

export type { MongoTransportOptions } from './options.ts';

/** MongoDB in Kombu's collections: `mongodb`, `mongodb+srv`. Python and TypeScript workers serve the same queues. */
export const mongodbTransport: Transport = virtualTransport({
  schemes: MONGODB_SCHEMES,
  open: openMongoDriver,
  leaseKeeper: builtModule('./lease-keeper.js', import.meta.url),
});
