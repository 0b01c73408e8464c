import type { ConnectOptions, Transport } from '../transport/contract.ts';
import type { BrokerUrl } from '../transport/url.ts';
import { RoutingTable } from './bindings.ts';
import type { QueueDriver } from './driver.ts';
import { VirtualConnection } from './virtual-connection.ts';

/** A broker with only queues: how to open a driver for it. */
export interface VirtualTransportDefinition<Receipt> {
  /** URL schemes, lower case, without `://`. */
  readonly schemes: readonly string[];
  /**
   * Opens one link. Rejects with `ConnectError`, `AuthError` or `ConfigError`; never retries. Abort rejects with the
   * signal's reason and leaves nothing open.
   */
  readonly open: (url: BrokerUrl, options: ConnectOptions) => Promise<QueueDriver<Receipt>>;
  /**
   * `file:` URL of a module whose export `openLeaseKeeper` is an `OpenLeaseKeeper`: renews leases from another thread while
   * the event loop of a connection stands still. See `builtModule`.
   */
  readonly leaseKeeper?: string;
}

/**
 * Makes a `Transport` of a driver: exchanges, bindings, Kombu's envelope, joining of publishes and settlements of a
 * turn, prefetch, lease renewal, dead letters and orderly close.
 *
 * Exchanges are known to the process that declared them, as in Kombu; bindings to every process where the driver has a
 * `BindingStore`. A queue that is bound to fanout exchanges only gets its messages by the driver's `Broadcast`, if it
 * has one: at most once, and only while it is consumed.
 *
 * @example
 * export const beanstalkTransport: Transport = virtualTransport({
 *   schemes: ['beanstalk'],
 *   open: async (url, { signal }) => new BeanstalkDriver(await openClient(url, signal), parseOptions(url)),
 * });
 */
export function virtualTransport<Receipt>(definition: VirtualTransportDefinition<Receipt>): Transport {
  const { schemes, open, leaseKeeper: keeper } = definition;
  const tables = new SharedTables();
  return {
    schemes,
    async connect(url, connect) {
      const driver = await open(url, connect);
      const { table, release: releaseTable } = tables.use(url.raw);
      return new VirtualConnection({ driver, table, releaseTable, keeper, url, connect });
    },
  };
}

/** One table for all connections to a URL, for as long as there is one. */
class SharedTables {
  readonly #tables = new Map<string, { readonly table: RoutingTable; users: number }>();

  /** `release` is called once. */
  use(url: string): { readonly table: RoutingTable; readonly release: () => void } {
    const shared = this.#tables.get(url) ?? { table: new RoutingTable(), users: 0 };
    this.#tables.set(url, shared);
    shared.users++;
    return {
      table: shared.table,
      release: () => {
        if (--shared.users === 0) this.#tables.delete(url);
      },
    };
  }
}
