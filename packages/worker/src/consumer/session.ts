import type { Connection, Consumer, Delivery, Outcome } from '@lovage/core/transport';
import type { Clock } from '../clock.ts';
import type { Logger } from '@lovage/core';
import { Settler } from './settler.ts';

/** One connection that is consumed from, from its start to its loss. Tags of its deliveries mean nothing elsewhere. */
export class ConsumerSession {
  readonly connection: Connection;
  readonly settler: Settler;
  consumer: Consumer | undefined;
  isLive = true;
  #changing: Promise<void> = Promise.resolve();

  /** `mayLinger`: see {@link Settler}. */
  constructor(connection: Connection, clock: Clock, logger: Logger, mayLinger: () => boolean) {
    this.connection = connection;
    this.settler = new Settler({ connection, clock, logger, isLive: () => this.isLive, mayLinger });
  }

  /** Changes of the consumer, one after the other. */
  change(change: () => Promise<void>): Promise<void> {
    const done = this.#changing.then(change);
    this.#changing = done.catch(() => {});
    return done;
  }

  /** `isUrgent`: see {@link Settler.add}. */
  settle(delivery: Delivery, outcome: Outcome, isUrgent = false): void {
    // The broker delivers again what a lost connection held.
    if (this.isLive) this.settler.add(delivery, outcome, isUrgent);
  }
}
