import type { Backend, ResultBackend } from '@lovage/core/backend';
import { memoryBackend, memoryTransport } from '@lovage/core/memory';
import {
  ConnectionLostError,
  type Connection,
  type Consumer,
  type Delivery,
  type Publication,
  type Transport,
} from '@lovage/core/transport';

/** What can be wrong with a broker whose link still looks alive. */
export interface BrokerFaults {
  /** No call is ever answered. */
  isStalled: boolean;
  /** Every publish for which it answers an error fails with it. */
  refuse: (routingKey: string) => Error | undefined;
  /** A publish for which it is true arrives, and its answer is lost. */
  forget: (batch: readonly Publication[]) => boolean;
  /** Says that the deliveries of all consumers may have gone to others. */
  loseLeases(): void;
  readonly settled: string[];
  /** Those that have not ended. */
  readonly consumers: Set<Consumer>;
}

/** The memory transport, with faults that can be switched on. */
export function faultyTransport(): { readonly transport: Transport; readonly faults: BrokerFaults } {
  const delivered = new Map<(deliveries: readonly Delivery[]) => void, Delivery[]>();
  const faults: BrokerFaults = {
    isStalled: false,
    refuse: () => undefined,
    forget: () => false,
    settled: [],
    consumers: new Set(),
    loseLeases() {
      for (const [onLeaseLost, deliveries] of delivered) onLeaseLost(deliveries.splice(0));
    },
  };
  const orStall = <T>(call: () => Promise<T>): Promise<T> => (faults.isStalled ? new Promise<T>(() => {}) : call());

  function wrap(connection: Connection): Connection {
    return {
      capabilities: connection.capabilities,
      closed: connection.closed,
      declare: (topology) => orStall(() => connection.declare(topology)),
      publish: (batch, options) =>
        orStall(() => {
          const error = batch
            .map(({ routingKey }) => faults.refuse(routingKey))
            .find((refusal) => refusal !== undefined);
          if (error !== undefined) return Promise.reject(error);
          const publishing = connection.publish(batch, options);
          if (!faults.forget(batch)) return publishing;
          return publishing.then(() => Promise.reject(new ConnectionLostError('The answer was lost.')));
        }),
      async consume(queues, sink, options) {
        const mine: Delivery[] = [];
        if (options.onLeaseLost !== undefined) delivered.set(options.onLeaseLost, mine);
        const taken = (deliveries: readonly Delivery[]): void => {
          mine.push(...deliveries);
          sink(deliveries);
        };
        const consumer = await connection.consume(queues, taken, options);
        faults.consumers.add(consumer);
        const ended = (): void => void faults.consumers.delete(consumer);
        consumer.done.then(ended, ended);
        return {
          done: consumer.done,
          setPrefetch: (count) => orStall(() => consumer.setPrefetch(count)),
          cancel: () => orStall(() => consumer.cancel()),
        };
      },
      settle: (settlements) =>
        orStall(() => {
          faults.settled.push(...settlements.map(({ outcome }) => outcome));
          return connection.settle(settlements);
        }),
      inspect: (queue) => connection.inspect(queue),
      purge: (queue) => connection.purge(queue),
      remove: (topology) => connection.remove(topology),
      close: () => orStall(() => connection.close()),
      [Symbol.asyncDispose]: () => connection.close(),
    };
  }

  return {
    faults,
    transport: {
      schemes: memoryTransport.schemes,
      connect: async (url, options) => wrap(await memoryTransport.connect(url, options)),
    },
  };
}

/** The memory transport without its delays: messages that wait for their time are held by workers. */
export const undelayingTransport: Transport = {
  schemes: memoryTransport.schemes,
  async connect(url, options) {
    const connection = await memoryTransport.connect(url, options);
    const capabilities = { ...connection.capabilities, maxDelayMs: 0 };
    return changed(connection, { capabilities });
  },
};

/** The memory store; each write waits for `allow`. */
export function gatedBackend(allow: () => Promise<void>): Backend {
  return changedBackend((store) => ({
    store: async (...args) => {
      await allow();
      await store.store(...args);
    },
  }));
}

/** The memory store, with parts of it in another way. */
export function changedBackend(change: (store: ResultBackend) => Partial<ResultBackend>): Backend {
  return {
    schemes: memoryBackend.schemes,
    async open(url, options) {
      const store = await memoryBackend.open(url, options);
      return changed(store, change(store));
    },
  };
}

function changed<T extends object>(whole: T, parts: Partial<T>): T {
  return new Proxy(whole, {
    get(target, key): unknown {
      const value: unknown = Reflect.get(key in parts ? parts : target, key);
      return typeof value === 'function' ? (value as (...args: unknown[]) => unknown).bind(target) : value;
    },
  });
}
