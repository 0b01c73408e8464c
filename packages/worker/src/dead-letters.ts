import { isLovageError, type Logger } from '@lovage/core';
import type { Connection, Delivery, Message, Topology } from '@lovage/core/transport';
import type { Clock } from './clock.ts';

/** Why a message was set aside: the header `x-lovage-reason`. */
export type DeadReason =
  /** Not an envelope. */
  | 'malformed'
  /** Not a task message of protocol 1 or 2. */
  | 'invalid-message'
  /** A body that is not what its content type says. */
  | 'undecodable'
  | 'content-disallowed'
  | 'not-registered'
  /** Delivered more often than `deliveryLimit`. */
  | 'delivery-limit'
  /** The task threw `Reject`, or failed with `acksOnFailureOrTimeout: false`. */
  | 'rejected';

export interface DeadLetterOptions {
  /** The dead letter queue of a queue; undefined: there is none, such messages are rejected as Celery does. */
  readonly queueFor: (queue: string) => { readonly name: string; readonly topology: Topology } | undefined;
  readonly nodeName: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

const FIRST_DELAY_MS = 1000;
const LONGEST_DELAY_MS = 30_000;
const ERROR_TEXT_LENGTH = 1000;

/**
 * Sets messages aside that cannot be run: the original bytes, content type and headers, in a queue of their own, with
 * headers that say why, from where and when. Nothing is dropped: the original is settled after the copy is safe.
 */
export class DeadLetters {
  readonly #options: DeadLetterOptions;
  readonly #declared = new WeakMap<Connection, Map<string, Promise<void>>>();

  constructor(options: DeadLetterOptions) {
    this.#options = options;
  }

  /** False: messages of this queue that cannot be run are rejected. */
  hasPlaceFor(queue: string): boolean {
    return this.#options.queueFor(queue) !== undefined;
  }

  /**
   * Resolves with true when the broker has the copy, with false when there is no place for it or its connection is
   * gone. Tried again as long as the connection lives: a broker that refuses for now must not lose a message.
   */
  async put(
    connection: Connection,
    delivery: Delivery,
    reason: DeadReason,
    error: unknown,
    isLive: () => boolean,
  ): Promise<boolean> {
    const { queueFor, clock, logger } = this.#options;
    const place = queueFor(delivery.queue);
    if (place === undefined) return false;
    const queue = place.name;
    const facts = this.#facts(delivery, reason, error);
    let message: Message = withHeaders(delivery.message, { ...ownHeaders(delivery.message), ...facts });
    for (let delayMs = FIRST_DELAY_MS; ; delayMs = Math.min(LONGEST_DELAY_MS, delayMs * 2)) {
      try {
        await this.#declare(connection, queue, place.topology);
        await connection.publish([{ exchange: '', routingKey: queue, message, mandatory: true }]);
        return true;
      } catch (failure) {
        if (!isLive() || isLovageError(failure, 'ERR_CONNECTION_LOST') || isLovageError(failure, 'ERR_CLOSED'))
          return false;
        logger.error(
          { err: failure, queue, reason, delayMs },
          `A message could not be set aside in "${queue}" and is tried again.`,
        );
        // Headers from outside may be what the broker cannot take.
        message = withHeaders(delivery.message, { ...facts, 'x-lovage-headers': 'dropped' });
        await new Promise<void>((resolve) => {
          clock.after(delayMs, resolve);
        });
      }
    }
  }

  #facts(delivery: Delivery, reason: DeadReason, error: unknown): Record<string, unknown> {
    return {
      'x-lovage-reason': reason,
      'x-lovage-error': errorText(error),
      'x-lovage-queue': delivery.queue,
      'x-lovage-exchange': delivery.exchange,
      'x-lovage-routing-key': delivery.routingKey,
      'x-lovage-delivery-count': delivery.deliveryCount,
      'x-lovage-time': new Date(this.#options.clock.now()).toISOString(),
      'x-lovage-worker': this.#options.nodeName,
    };
  }

  #declare(connection: Connection, queue: string, topology: Topology): Promise<void> {
    let declared = this.#declared.get(connection);
    if (declared === undefined) this.#declared.set(connection, (declared = new Map()));
    const known = declared.get(queue);
    if (known !== undefined) return known;
    const table = declared;
    const declaring = connection.declare(topology).catch((error: unknown) => {
      table.delete(queue);
      throw error;
    });
    table.set(queue, declaring);
    return declaring;
  }
}

function withHeaders(
  { body, contentType, contentEncoding, properties }: Message,
  headers: Record<string, unknown>,
): Message {
  // An expiry of the original would let the copy vanish.
  const { expiration: _, ...kept } = properties;
  return { body, contentType, contentEncoding, headers, properties: { ...kept, deliveryMode: 2 } };
}

function ownHeaders({ headers }: Message): Record<string, unknown> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => name !== '__proto__'));
}

function errorText(error: unknown): string {
  const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  return text.slice(0, ERROR_TEXT_LENGTH);
}
