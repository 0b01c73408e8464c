import {
  builtModule,
  type Connection,
  ConnectionLostError,
  type Transport,
  virtualTransport,
} from '@lovage/core/transport';
import type { FilesystemDriver } from '../src/driver.ts';
import { openFilesystemDriver } from '../src/open.ts';

/** The filesystem transport with sessions that can die as their process would: nothing given back, nothing said. */
export function mortalTransport(): {
  readonly transport: Transport;
  readonly crash: (connection: Connection, clientName: string) => Promise<void>;
} {
  const deaths = new Map<string, () => void>();
  const transport = virtualTransport({
    schemes: ['filesystem'],
    leaseKeeper: builtModule('../src/lease-keeper.ts', import.meta.url),
    open: async (url, options) => {
      const driver = await openFilesystemDriver(url, options);
      let isDead = false;
      const lost = new Promise<never>((_, reject) => {
        deaths.set(options.clientName ?? '', () => {
          isDead = true;
          reject(new ConnectionLostError('This process is dead.'));
        });
      });
      lost.catch(() => {});
      // The driver's own methods, with a `lost`; the dead close nothing.
      return new Proxy(driver, {
        get: (target, property: keyof FilesystemDriver | 'lost') => {
          if (property === 'lost') return lost;
          if (property === 'close' && isDead) return () => Promise.resolve();
          const value: unknown = target[property];
          return typeof value === 'function' ? (value as () => unknown).bind(target) : value;
        },
      });
    },
  });
  return {
    transport,
    crash: async (connection, clientName) => {
      deaths.get(clientName)?.();
      await connection.closed.catch(() => {});
    },
  };
}
