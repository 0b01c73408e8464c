import { LATE, within } from '../internal/deadline.ts';
import { silentLogger, type Logger } from '../internal/log.ts';
import type {
  Capabilities,
  Connection,
  ConnectOptions,
  ConsumeOptions,
  Consumer,
  DeliverySink,
  Publication,
  QueueStatus,
  Settlement,
} from '../transport/contract.ts';
import type { Binding, Topology } from '../transport/topology.ts';
import type { BrokerUrl } from '../transport/url.ts';
import type { RoutingTable } from './bindings.ts';
import { Consumers } from './consumers.ts';
import { Declarations } from './declarations.ts';
import type { QueueDriver } from './driver.ts';
import { Leases } from './leases.ts';
import { Link } from './link.ts';
import { Publisher } from './publisher.ts';
import { Settler } from './settler.ts';

/** `close()` takes hardly longer, whatever the broker does. */
const CLOSE_MS = 5000;
/** What is left for the driver when the rest took all the time. */
const LAST_CALL_MS = 500;

export interface VirtualConnectionOptions<Receipt> {
  readonly driver: QueueDriver<Receipt>;
  /** What this process declared at the broker; `releaseTable` is called when the connection needs it no more. */
  readonly table: RoutingTable;
  readonly releaseTable: () => void;
  /** `leaseKeeper` of the transport. */
  readonly keeper: string | undefined;
  readonly url: BrokerUrl;
  readonly connect: ConnectOptions;
}

/** One driver as a connection: what the parts do to messages, in the order that begin and end need. */
export class VirtualConnection<Receipt> implements Connection {
  readonly capabilities: Capabilities;
  readonly closed: Promise<void>;
  readonly #driver: QueueDriver<Receipt>;
  readonly #logger: Logger;
  readonly #releaseTable: () => void;
  readonly #link: Link;
  readonly #declarations: Declarations;
  readonly #publisher: Publisher;
  readonly #consumers: Consumers<Receipt>;
  readonly #leases: Leases<Receipt>;
  readonly #settler: Settler<Receipt>;
  #closing: Promise<void> | undefined;

  constructor({ driver, table, releaseTable, keeper, url, connect }: VirtualConnectionOptions<Receipt>) {
    this.#driver = driver;
    this.#releaseTable = releaseTable;
    const logger = connect.logger ?? silentLogger;
    this.#logger = logger;
    const link = new Link((error) => {
      this.#leases.stop();
      this.#consumers.fail(error);
    });
    this.#link = link;
    this.closed = link.closed;
    const declarations = new Declarations({ driver, table, link, logger });
    this.#declarations = declarations;
    const leases = new Leases({ driver, keeper, url, connect, link, held: () => this.#consumers.held() });
    this.#leases = leases;
    const consumers = new Consumers({ driver, link, declarations, logger, onTaken: (pulled) => leases.hold(pulled) });
    this.#consumers = consumers;
    const publisher = new Publisher({
      driver,
      link,
      table,
      declarations,
      onSend: (queue, tag, payload, body) => consumers.noteSent(queue, tag, payload, body),
    });
    this.#publisher = publisher;
    this.#settler = new Settler({ driver, link, declarations, consumers, leases, publisher });
    this.capabilities = capabilitiesOf(driver);
    driver.lost?.catch((error: unknown) => link.lose(error));
  }

  async declare(topology: Topology): Promise<void> {
    const { bindings = [] } = topology;
    this.#link.checkOpen();
    await this.#declarations.declare(topology);
    await this.#link.guard(
      Promise.all(
        bindings.map(async (binding) => {
          await this.#declarations.bind(binding);
          await this.#consumers.follow(binding);
        }),
      ),
    );
  }

  publish(batch: readonly Publication[], { signal }: { readonly signal?: AbortSignal } = {}): Promise<void> {
    const { refusal } = this.#link;
    if (refusal !== undefined) return Promise.reject(refusal);
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    const published = this.#publisher.publish(batch);
    return signal === undefined ? published : abandonOn(signal, published);
  }

  async consume(queues: readonly string[], sink: DeliverySink, options: ConsumeOptions): Promise<Consumer> {
    this.#link.checkOpen();
    return this.#consumers.open(queues, sink, options);
  }

  settle(settlements: readonly Settlement[]): Promise<void> {
    const { settleRefusal } = this.#link;
    return settleRefusal === undefined ? this.#settler.settle(settlements) : Promise.reject(settleRefusal);
  }

  async inspect(queue: string): Promise<QueueStatus> {
    this.#link.checkOpen();
    return { ready: await this.#link.guard(this.#driver.size(queue)) };
  }

  async purge(queue: string): Promise<number> {
    this.#link.checkOpen();
    return this.#link.guard(this.#driver.purge(queue));
  }

  async bindings(exchange: string): Promise<readonly Binding[]> {
    this.#link.checkOpen();
    const stored = await this.#declarations.bindingsFrom(exchange);
    return [...stored].map(({ queue, routingKey }) => ({ queue, exchange, routingKey }));
  }

  async remove(topology: Topology): Promise<void> {
    this.#link.checkOpen();
    await this.#declarations.remove(topology);
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    const deadline = Date.now() + CLOSE_MS;
    if (this.#link.beginClose() && (await within(this.#finish(), CLOSE_MS)) === LATE) {
      this.#logger.warn({ timeoutMs: CLOSE_MS }, 'the broker did not answer while the connection was closed');
    }
    this.#consumers.stop();
    this.#leases.stop();
    this.#link.endWork();
    const driverClosed = this.#driver.close().catch((error: unknown) => {
      this.#logger.warn({ err: error }, 'a driver did not close cleanly');
    });
    await within(driverClosed, Math.max(LAST_CALL_MS, deadline - Date.now()));
    this.#releaseTable();
    this.#link.resolveClosed();
  }

  /** Cancels, sends what waits, gives back what is held. Ends early when the link is lost. */
  async #finish(): Promise<void> {
    await this.#consumers.cancelAll();
    // Again and again: whoever hears of the end of one thing may settle another.
    for (;;) {
      this.#publisher.flush();
      this.#settler.flush();
      if (this.#link.isIdle) break;
      await this.#link.idle();
    }
    const held = [...this.#consumers.held()];
    for (const item of held) item.isSettled = true;
    const owned = held.flatMap(({ receipt }) => (receipt === undefined ? [] : [receipt.value]));
    try {
      if (owned.length > 0)
        await this.#link.guard(this.#driver.settle(owned.map((receipt) => ({ receipt, outcome: 'requeue' }))));
    } catch (error) {
      if (this.#link.isLost) return;
      this.#logger.warn(
        { err: error, messages: owned.length },
        'unsettled messages could not be given back; their lease will end',
      );
    }
    await this.#consumers.discardTemporaryQueues();
    await this.#declarations.discardExclusive();
  }
}

/** What this layer does for every driver. */
const EMULATED = ['exchanges', 'prefetch', 'dead letters'] as const;

function capabilitiesOf({
  capabilities,
  bindings,
  broadcast,
}: Pick<QueueDriver<never>, 'capabilities' | 'bindings' | 'broadcast'>): Capabilities {
  return {
    ...capabilities,
    ...(bindings === undefined ? { sharesBindings: false } : {}),
    emulated: [
      ...EMULATED,
      ...(capabilities.fanout && broadcast === undefined ? (['fanout'] as const) : []),
      ...(capabilities.emulated ?? []),
    ],
  };
}

/** Rejects with the signal's reason on abort; the work goes on. */
function abandonOn(signal: AbortSignal, work: Promise<void>): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
