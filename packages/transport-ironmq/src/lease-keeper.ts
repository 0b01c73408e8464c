import type { OpenLeaseKeeper } from '@lovage/core/transport';
import { HttpLink } from '@lovage/http';
import { readIronSettings } from './options.ts';
import { IronQueues } from './queues.ts';

/** What of a receipt crosses to another thread. */
export interface KeptReservation {
  readonly queue: string;
  readonly id: string;
  readonly reservation: string;
}

/** Touches messages for a driver whose event loop stands still. Each touch gives another reservation. */
export const openLeaseKeeper: OpenLeaseKeeper<unknown, KeptReservation> = async (url, options) => {
  const settings = readIronSettings(url, options);
  const { endpoint, connectTimeoutMs } = settings;
  const { heartbeatSeconds = 20 } = options;
  const link = new HttpLink(endpoint, { connectTimeoutMs, silenceMs: heartbeatSeconds * 1000 });
  const queues = new IronQueues(link, settings);
  return {
    extend: (_, receipts) =>
      Promise.all(
        receipts.map(async (kept) => {
          const reservation = await queues.touch(kept.queue, kept.id, kept.reservation);
          return reservation === undefined ? null : { ...kept, reservation };
        }),
      ),
    close: async () => link.close(),
  };
};
