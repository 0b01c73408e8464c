import type { OpenLeaseKeeper } from '@lovage/core/transport';
import { isGone } from './errors.ts';
import { touchHolder } from './leases.ts';

/** Renews for a driver whose event loop stands still; the holder is its folder. */
export const openLeaseKeeper: OpenLeaseKeeper<string | undefined, unknown> = async () => ({
  async extend(folder) {
    if (folder === undefined) return;
    try {
      await touchHolder(folder, Date.now());
    } catch (error) {
      // Taken by somebody: what it held is others'.
      if (!isGone(error)) throw error;
    }
  },
  async close() {},
});
