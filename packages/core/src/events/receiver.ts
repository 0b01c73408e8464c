import { randomUUID } from 'node:crypto';
import type { Lovage } from '../app/lovage.ts';
import { UnsupportedError } from '../errors.ts';
import { decodeEvents, eventQueueTopology, type EventMessage } from '../protocol/events.ts';
import type { Connection, Consumer, Delivery } from '../transport/contract.ts';
import type { ConnectionSupervisor } from '../transport/supervisor.ts';
import { schemeOf } from './sender.ts';

/** An event as it was received. */
export interface ReceivedEvent extends EventMessage {
  /** Epoch seconds on the receiver's clock. */
  readonly local_received: number;
}

export interface ReceiveOptions {
  /** Which types: `worker.#`, `task.*`. Default `#`: all. */
  readonly routingKey?: string;
  /** Ask workers for a heartbeat at once, so that they are known. Default true. */
  readonly wakeup?: boolean;
  /** Seconds that an event may wait for this receiver. Default `eventQueueTtl`. */
  readonly ttl?: number;
  /** Ends the receiving. */
  readonly signal?: AbortSignal;
}

/**
 * Receives events over a connection of its own, which comes back after a loss; what was sent meanwhile is missed.
 * Source: celery/events/receiver.py.
 */
export class EventReceiver implements AsyncDisposable {
  readonly #app: Lovage;
  readonly #onEvents: (events: readonly ReceivedEvent[]) => void;
  readonly #options: ReceiveOptions;
  #supervisor: ConnectionSupervisor | undefined;
  #clientClock = 0;

  constructor(app: Lovage, onEvents: (events: readonly ReceivedEvent[]) => void, options: ReceiveOptions = {}) {
    this.#app = app;
    this.#onEvents = onEvents;
    this.#options = options;
  }

  /** Resolves when events sent from now on arrive. Rejects with `UnsupportedError` on a broker without fanout. */
  async start(): Promise<void> {
    const { settings } = this.#app;
    const supervisor = this.#app.connectBroker('read');
    this.#supervisor = supervisor;
    supervisor.onConnect(async (connection) => {
      await this.listen(connection, schemeOf(supervisor.status.url));
    });
    try {
      await supervisor.connection({
        timeoutMs: settings.publishTimeoutSeconds * 1000,
        ...(this.#options.signal === undefined ? {} : { signal: this.#options.signal }),
      });
    } catch (error) {
      await this.close();
      throw error;
    }
    if (this.#options.wakeup !== false) await this.#app.control.heartbeat();
  }

  async close(): Promise<void> {
    await this.#supervisor?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Receives over a connection of somebody else's for as long as it lives, instead of {@link start}. */
  async listen(connection: Connection, scheme: string): Promise<Consumer> {
    if (!connection.capabilities.fanout) {
      throw new UnsupportedError('This broker has no fanout, so there are no events. Use Redis or RabbitMQ for them.');
    }
    const { settings, serializers } = this.#app;
    await serializers.loadAccepted();
    await serializers.prepare([{ serializer: settings.eventSerializer }]);
    const { routingKey = '#', ttl = settings.eventQueueTtl } = this.#options;
    const { queue, ...topology } = eventQueueTopology(randomUUID(), routingKey, settings, scheme, ttl);
    await connection.declare(topology);
    return connection.consume([queue], (deliveries) => this.#receive(connection, deliveries), { prefetch: 0 });
  }

  #receive(connection: Connection, deliveries: readonly Delivery[]): void {
    connection.settle(deliveries.map((delivery) => ({ delivery, outcome: 'ack' }))).catch(() => undefined);
    const events = deliveries.flatMap((delivery) => this.#read(delivery));
    if (events.length > 0) this.#onEvents(events);
  }

  #read({ message, malformed }: Delivery): readonly ReceivedEvent[] {
    const { serializers, settings, logger } = this.#app;
    try {
      if (malformed !== undefined) throw malformed;
      const types = serializers.contentTypes([settings.eventSerializer]);
      const accepted = new Set([...serializers.accepted, ...types]);
      const now = Date.now() / 1000;
      return decodeEvents({ ...message, headers: {} }, serializers, accepted).map((event) => this.#note(event, now));
    } catch (error) {
      logger.warn({ err: error }, 'An event cannot be read and is dropped.');
      return [];
    }
  }

  /** Source: celery/events/receiver.py, event_from_message. */
  #note(event: EventMessage, now: number): ReceivedEvent {
    const { clock } = this.#app;
    if (event.type === 'task-sent') {
      // Clients do not hear of each other: their clocks say nothing.
      clock.adjust(this.#clientClock);
      this.#clientClock = clock.value;
      return { ...event, clock: this.#clientClock, local_received: now };
    }
    const own = typeof event.clock === 'number' ? event.clock : 0;
    clock.adjust(own);
    return { ...event, clock: own, local_received: now };
  }
}
