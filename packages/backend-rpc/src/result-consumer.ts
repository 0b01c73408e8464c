import type { Logger } from '@lovage/core/backend';
import type { Connection, Consumer, Delivery, Topology } from '@lovage/core/transport';
import { DEADLINE_MS, within } from './result-messages.ts';

/** How many results may be unacknowledged; they are acknowledged as soon as they are read. */
const PREFETCH = 1000;
const REOPEN_FIRST_MS = 200;
const REOPEN_MAX_MS = 5000;
const CLOSE_MS = 1000;

/**
 * Consumes result queues for as long as it is open: after a lost connection, or a queue that vanished, it declares them
 * again on the next connection and goes on.
 */
export class ResultConsumer {
  readonly #topology: Topology;
  readonly #queues: readonly string[];
  readonly #brokerConnection: () => Promise<Connection>;
  readonly #receive: (deliveries: readonly Delivery[]) => void;
  readonly #logger: Logger;
  #opening: Promise<void> | undefined;
  #consumer: Consumer | undefined;
  #connection: Connection | undefined;
  #timer: NodeJS.Timeout | undefined;
  #failures = 0;
  #closed = false;

  constructor(
    topology: Topology,
    brokerConnection: () => Promise<Connection>,
    receive: (deliveries: readonly Delivery[]) => void,
    logger: Logger,
  ) {
    this.#topology = topology;
    this.#queues = (topology.queues ?? []).map(({ name }) => name);
    this.#brokerConnection = brokerConnection;
    this.#receive = receive;
    this.#logger = logger;
  }

  /** Resolves when results arrive. Rejects when the broker cannot be reached now; it goes on trying all the same. */
  open(): Promise<void> {
    if (this.#consumer !== undefined) return Promise.resolve();
    clearTimeout(this.#timer);
    this.#opening ??= within(DEADLINE_MS, () => this.#open()).then(
      () => {
        this.#opening = undefined;
        this.#failures = 0;
      },
      (error: unknown) => {
        this.#opening = undefined;
        this.#openLater();
        throw error;
      },
    );
    return this.#opening;
  }

  async #open(): Promise<void> {
    const connection = await this.#brokerConnection();
    await connection.declare(this.#topology);
    const consumer = await connection.consume(this.#queues, (deliveries) => this.#received(connection, deliveries), {
      prefetch: PREFETCH,
    });
    if (this.#closed || this.#consumer !== undefined) {
      await consumer.cancel();
      return;
    }
    this.#connection = connection;
    this.#consumer = consumer;
    const lost = (error?: unknown): void => {
      if (this.#consumer !== consumer) return;
      this.#consumer = undefined;
      if (this.#closed) return;
      this.#logger.debug({ queues: this.#queues, err: error }, 'A result consumer ended; opening it again');
      this.#openLater();
    };
    consumer.done.then(() => lost(), lost);
  }

  #openLater(): void {
    if (this.#closed) return;
    const waitMs = Math.min(REOPEN_FIRST_MS * 2 ** this.#failures++, REOPEN_MAX_MS);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.open().catch((error: unknown) => {
        this.#logger.warn({ queues: this.#queues, err: error }, 'Results cannot be received for now');
      });
    }, waitMs);
    // Waiting for a result is what keeps a program alive, not the way it would arrive.
    this.#timer.unref();
  }

  #received(connection: Connection, deliveries: readonly Delivery[]): void {
    this.#receive(deliveries);
    connection.settle(deliveries.map((delivery) => ({ delivery, outcome: 'ack' as const }))).catch((error: unknown) => {
      // They come again, and are known already.
      this.#logger.debug({ err: error }, 'Received results were not acknowledged');
    });
  }

  /** Ends consuming and removes the queues where asked. Never rejects. */
  async close({ remove }: { readonly remove: boolean }): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    const consumer = this.#consumer;
    const connection = this.#connection;
    this.#consumer = undefined;
    if (consumer === undefined || connection === undefined) return;
    try {
      await within(CLOSE_MS, async () => {
        await consumer.cancel();
        if (remove) await connection.remove({ queues: this.#topology.queues ?? [] });
      });
    } catch (error) {
      this.#logger.debug({ queues: this.#queues, err: error }, 'Result queues were left to expire');
    }
  }
}
