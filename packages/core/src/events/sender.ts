import type { Lovage } from '../app/lovage.ts';
import { isLovageError } from '../errors.ts';
import { encodeEvents, eventExchange, makeEvent, type EventMessage } from '../protocol/events.ts';
import type { Publication } from '../transport/contract.ts';

/** Events that are kept while the broker is away; then the oldest go. */
const MOST_WAITING = 10_000;
/** The most events in one message: what Celery's monitors see from busy workers. */
const MOST_IN_MESSAGE = 100;
const TRY_AGAIN_MS = 1000;

/** What waits: an event of its own, or one of a group that goes together. */
interface Waiting {
  readonly event: EventMessage;
  readonly isGrouped: boolean;
}

/**
 * Sends events to whoever listens. Events are hints: sending never waits, never throws, and what the broker does not
 * take within its time is sent when it is back, as far as there is room. Source: celery/events/dispatcher.py.
 */
export class EventSender {
  readonly #app: Lovage;
  readonly #nodeName: string;
  #waiting: Waiting[] = [];
  #isScheduled = false;
  #flight: Promise<void> | undefined;
  #isClosed = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(app: Lovage, nodeName: string) {
    this.#app = app;
    this.#nodeName = nodeName;
  }

  /** One message for this event, routed by its type: `worker-heartbeat` as `worker.heartbeat`. */
  send(type: string, fields: Readonly<Record<string, unknown>>): void {
    this.#add(type, fields, false);
  }

  /** Joins what is sent in one turn to one message `task.multi`, as Celery's workers do with task events. */
  sendGrouped(type: string, fields: Readonly<Record<string, unknown>>): void {
    this.#add(type, fields, true);
  }

  /** Resolves when what was sent before is with the broker, or after `timeoutMs`. Never rejects. */
  async flush(timeoutMs: number): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    const late = new Promise<void>((resolve) => {
      setTimeout(resolve, timeoutMs).unref();
    });
    while (Date.now() < deadline && (this.#waiting.length > 0 || this.#flight !== undefined)) {
      this.#start();
      await Promise.race([this.#flight, late]);
      if (this.#timer !== undefined) return; // the broker is away
    }
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#waiting = [];
  }

  #add(type: string, fields: Readonly<Record<string, unknown>>, isGrouped: boolean): void {
    if (this.#isClosed) return;
    const facts = { nodeName: this.#nodeName, clock: this.#app.clock.forward(), now: Date.now() };
    if (this.#waiting.length >= MOST_WAITING) this.#waiting.shift();
    this.#waiting.push({ event: makeEvent(type, fields, facts), isGrouped });
    if (this.#isScheduled || this.#flight !== undefined || this.#timer !== undefined) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#start();
    });
  }

  /** One batch at a time: what gathers meanwhile goes with the next. */
  #start(): void {
    if (this.#flight !== undefined || this.#waiting.length === 0 || this.#isClosed) return;
    const batch = this.#waiting;
    this.#waiting = [];
    this.#flight = this.#publish(batch).then(
      () => {
        this.#flight = undefined;
        this.#start();
      },
      (error: unknown) => {
        this.#flight = undefined;
        this.#notSent(batch, error);
      },
    );
  }

  async #publish(batch: readonly Waiting[]): Promise<void> {
    const app = this.#app;
    const { settings } = app;
    const serializer = settings.eventSerializer;
    await app.serializers.prepare([{ serializer }]);
    const supervisor = app.producerConnection();
    const connection = await supervisor.connection({ timeoutMs: settings.publishTimeoutSeconds * 1000 });
    // Nobody could listen.
    if (!connection.capabilities.fanout) return;
    const exchange = eventExchange(settings, schemeOf(supervisor.status.url));
    const publications = messagesOf(batch).map(
      ({ routingKey, events }): Publication => ({
        exchange: exchange.name,
        routingKey,
        message: encodeEvents(events, this.#nodeName, serializer, app.serializers),
      }),
    );
    await app.producer.publishMessages(
      publications,
      [{ key: `${exchange.type}:${exchange.name}`, entities: { exchanges: [exchange] } }],
      { retry: false },
    );
  }

  #notSent(batch: readonly Waiting[], error: unknown): void {
    const { logger } = this.#app;
    if (this.#isClosed || isLovageError(error, 'ERR_CLOSED')) return;
    if (!isLovageError(error) || !error.retryable) {
      logger.error({ err: error, events: batch.length }, 'Events could not be sent and are dropped.');
      this.#start();
      return;
    }
    logger.debug(
      { err: error, events: batch.length },
      'Events could not be sent. They are kept until the broker is back.',
    );
    this.#waiting = [...batch, ...this.#waiting].slice(-MOST_WAITING);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#start();
    }, TRY_AGAIN_MS).unref();
  }
}

/** Grouped events that follow each other share a message. */
function messagesOf(batch: readonly Waiting[]): readonly {
  readonly routingKey: string;
  readonly events: EventMessage | readonly EventMessage[];
}[] {
  const messages: { routingKey: string; events: EventMessage | EventMessage[] }[] = [];
  let group: EventMessage[] | undefined;
  for (const { event, isGrouped } of batch) {
    if (!isGrouped) {
      messages.push({ routingKey: event.type.replaceAll('-', '.'), events: event });
      continue;
    }
    if (group === undefined || group.length >= MOST_IN_MESSAGE) {
      group = [];
      messages.push({ routingKey: `${event.type.slice(0, event.type.indexOf('-'))}.multi`, events: group });
    }
    group.push(event);
  }
  return messages;
}

/** Of a URL as a supervisor shows it. */
export function schemeOf(url: string): string {
  return url.slice(0, Math.max(0, url.indexOf('://'))).toLowerCase();
}
