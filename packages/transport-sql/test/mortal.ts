import {
  builtModule,
  type Connection,
  ConnectionLostError,
  type Transport,
  virtualTransport,
} from '@lovage/core/transport';
import { sqlSchemes } from '@lovage/sql';
import type { SqlDriver } from '../src/driver.ts';
import { openSqlDriver } from '../src/open.ts';

/** The SQL transport with sessions that can die as their process would: nothing given back, nothing said. */
export function mortalTransport(): {
  transport: Transport;
  readonly crash: (connection: Connection, clientName: string) => Promise<void>;
} {
  const deaths = new Map<string, () => void>();
  const transport = virtualTransport({
    schemes: sqlSchemes(['sqla']),
    leaseKeeper: builtModule('../src/lease-keeper.ts', import.meta.url),
    open: async (url, options) => {
      const driver = await openSqlDriver(url, options);
      const lost = new Promise<never>((_, reject) => {
        deaths.set(options.clientName ?? '', () => reject(new ConnectionLostError('This process is dead.')));
      });
      lost.catch(() => {});
      // The driver's own methods, with another `lost`.
      return new Proxy(driver, {
        get: (target, property: keyof SqlDriver) => {
          if (property === 'lost') return lost;
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
