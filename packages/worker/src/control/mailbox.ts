import { InvalidMessageError, type Logger, type Lovage } from '@lovage/core';
import {
  decodeCommand,
  encodeReply,
  isAddressedTo,
  mailboxTopology,
  replyExchange,
  type ControlCommand,
  type ReplyAddress,
} from '@lovage/core/protocol';
import type { Connection, Consumer, Delivery } from '@lovage/core/transport';
import type { Clock } from '../clock.ts';
import { NO_REPLY } from './orders.ts';
import type { Panel } from './panel.ts';
import { reprError } from './python-errors.ts';

export interface MailboxOptions {
  readonly app: Lovage;
  readonly nodeName: string;
  readonly panel: Panel;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Commands that may be under way at once; what comes on top of them is not answered. */
const MOST_AT_ONCE = 100;
const LISTEN_AGAIN_MS = 5000;

/**
 * Listens to remote control and answers it. Nothing that comes in, and nothing that goes wrong here, hurts the worker:
 * it is logged. Source: kombu/pidbox.py, Node.
 */
export class Mailbox {
  readonly #options: MailboxOptions;
  #running = 0;
  #isClosed = false;
  #consumer: Consumer | undefined;
  #sharesBindings = true;

  constructor(options: MailboxOptions) {
    this.#options = options;
  }

  /** Listens on one more connection; the former one is gone. Never rejects. */
  async listen(connection: Connection): Promise<void> {
    if (!connection.capabilities.fanout) return;
    const { app, nodeName, clock, logger } = this.#options;
    const { queue, ...topology } = mailboxTopology(nodeName, app.settings);
    const again = (error: unknown): void => {
      if (this.#isClosed) return;
      logger.warn({ err: error }, 'Remote control is not possible at the moment. It is tried again.');
      clock.after(LISTEN_AGAIN_MS, () => {
        if (!this.#isClosed && isOpen) void this.listen(connection);
      });
    };
    let isOpen = true;
    const close = (): void => {
      isOpen = false;
    };
    connection.closed.then(close, close);
    try {
      await connection.declare(topology);
      const sink = (deliveries: readonly Delivery[]): void => this.#receive(connection, deliveries);
      this.#sharesBindings = connection.capabilities.sharesBindings ?? true;
      const consumer = await connection.consume([queue], sink, { prefetch: 0 });
      this.#consumer = consumer;
      consumer.done.catch((error: unknown) => {
        if (isOpen) again(error);
      });
    } catch (error) {
      if (isOpen) again(error);
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#consumer?.cancel().catch(() => undefined);
  }

  #receive(connection: Connection, deliveries: readonly Delivery[]): void {
    connection.settle(deliveries.map((delivery) => ({ delivery, outcome: 'ack' }))).catch(() => undefined);
    for (const delivery of deliveries) this.#read(delivery);
  }

  #read({ message, malformed }: Delivery): void {
    const { app, nodeName, logger } = this.#options;
    let command: ControlCommand;
    try {
      if (malformed !== undefined) throw malformed;
      app.clock.adjust(message.headers['clock']);
      command = decodeCommand(message, app.serializers);
      if (!isAddressedTo(nodeName, command)) return;
    } catch (error) {
      logger.error({ err: error }, 'A control message cannot be read and is dropped.');
      return;
    }
    if (this.#running >= MOST_AT_ONCE) {
      logger.error({ method: command.method }, 'Too many control commands at once: this one is dropped.');
      return;
    }
    void this.#run(command);
  }

  async #run({ method, arguments: given, replyTo }: ControlCommand): Promise<void> {
    const { panel, logger } = this.#options;
    this.#running++;
    try {
      logger.debug({ method }, `pidbox received method ${method}`);
      let answer: unknown;
      try {
        answer = await panel.run(method, given);
      } catch (error) {
        logger.error({ err: error, method }, `The control command ${JSON.stringify(method)} failed.`);
        answer = { error: reprError(error) };
      }
      if (replyTo !== undefined && answer !== NO_REPLY) await this.#reply(answer, replyTo);
    } catch (error) {
      logger.error(
        { err: error, method },
        `The answer to the control command ${JSON.stringify(method)} could not be sent.`,
      );
    } finally {
      this.#running--;
    }
  }

  async #reply(answer: unknown, { exchange, routingKey, ticket }: ReplyAddress): Promise<void> {
    const { app, nodeName } = this.#options;
    const { taskSerializer: serializer } = app.settings;
    const known = replyExchange(app.settings);
    // Nobody who reaches this mailbox listens elsewhere, and a command must not make a worker declare just anything.
    if (exchange !== known.name)
      throw new InvalidMessageError(`The reply exchange is ${JSON.stringify(exchange)}. Expected "${known.name}".`);
    await app.serializers.prepare([{ serializer }]);
    const facts = { ticket, clock: app.clock.forward(), serializer };
    const message = encodeReply(nodeName, answer, facts, app.serializers);
    if (!this.#sharesBindings) {
      // The queue by its name, which follows from Kombu's. Source: kombu/pidbox.py, Mailbox.get_reply_queue.
      await app.producer.publishMessages([{ exchange: '', routingKey: `${routingKey}.${exchange}`, message }]);
      return;
    }
    await app.producer.publishMessages(
      [{ exchange, routingKey, message }],
      [{ key: exchange, entities: { exchanges: [known] } }],
    );
  }
}
