import {
  type Connection,
  ConnectionLostError,
  type QueueDriver,
  type Transport,
  virtualTransport,
  type VirtualTransportDefinition,
} from '@lovage/core/transport';

export interface MortalTransport {
  readonly transport: Transport;
  /** The kit's option of this name. */
  readonly crash: (connection: Connection, clientName: string) => Promise<void>;
}

/**
 * A virtual transport whose sessions can die as their process would: nothing given back, nothing said. For brokers whose
 * sessions outlive a cut link, or have none.
 */
export function mortalTransport<Receipt>(definition: VirtualTransportDefinition<Receipt>): MortalTransport {
  const deaths = new Map<string, () => void>();
  const transport = virtualTransport<Receipt>({
    ...definition,
    open: async (url, options) => {
      const driver = await definition.open(url, options);
      let isDead = false;
      const death = new Promise<never>((_, reject) => {
        deaths.set(options.clientName ?? '', () => {
          isDead = true;
          reject(new ConnectionLostError('This process is dead.'));
        });
      });
      const lost = driver.lost === undefined ? death : Promise.race([death, driver.lost]);
      lost.catch(() => {});
      // The driver's own methods, with another `lost`; the dead close nothing.
      return new Proxy(driver, {
        get: (target, property: keyof QueueDriver<Receipt>) => {
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
