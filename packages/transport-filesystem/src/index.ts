import { builtModule, type Transport, virtualTransport } from '@lovage/core/transport';
import { openFilesystemDriver } from './open.ts';

export type { FilesystemTransportOptions } from './options.ts';

/**
 * A shared folder as broker, in Kombu's layout: Python and TypeScript workers serve the same queues. URLs
 * `filesystem://`, with the folders in the options, and `filesystem:///folder`; options as
 * {@link FilesystemTransportOptions}.
 */
export const filesystemTransport: Transport = virtualTransport({
  schemes: ['filesystem'],
  open: openFilesystemDriver,
  leaseKeeper: builtModule('./lease-keeper.js', import.meta.url),
});
