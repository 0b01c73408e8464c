import { isLovageError } from '@lovage/core';
import { atTurnEnd, type Connection, type Delivery, type Outcome, type Settlement } from '@lovage/core/transport';
import type { Logger } from '@lovage/core';
import type { Clock } from '../clock.ts';

const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 10_000;
/** So many go out without lingering. */
const BATCH = 8;
const LINGER_MS = 10;

export interface SettlerOptions {
  readonly connection: Connection;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly isLive: () => boolean;
  /** Nobody waits for the room that a settlement makes. */
  readonly mayLinger: () => boolean;
}

/**
 * Settles the deliveries of one connection: what ends in one turn of the event loop goes out as one batch, and so does
 * what ends within a moment where nobody waits for it. For slow tasks on few slots that is the difference between a trip
 * to the broker for each and one for several.
 *
 * A settlement that comes after the loss of its connection is dropped: the broker delivers the message again. As long as
 * the connection lives it does not, so what it refuses is tried until it does not refuse.
 */
export class Settler {
  readonly #connection: Connection;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #isLive: () => boolean;
  readonly #mayLinger: () => boolean;
  #batch: Settlement[] = [];
  #scheduled = false;
  #cancelLinger: (() => void) | undefined;
  readonly #flying = new Set<Promise<void>>();

  constructor({ connection, clock, logger, isLive, mayLinger }: SettlerOptions) {
    this.#connection = connection;
    this.#clock = clock;
    this.#logger = logger;
    this.#isLive = isLive;
    this.#mayLinger = mayLinger;
  }

  /** `isUrgent`: it never lingers, since what is done next relies on it. */
  add(delivery: Delivery, outcome: Outcome, isUrgent = false): void {
    this.#batch.push({ delivery, outcome });
    if (this.#scheduled) return;
    if (!isUrgent && outcome === 'ack' && this.#batch.length < BATCH && this.#mayLinger()) {
      this.#cancelLinger ??= this.#clock.after(LINGER_MS, () => this.flush());
      return;
    }
    this.#scheduled = true;
    atTurnEnd(() => this.flush());
  }

  /** Sends what has gathered, without waiting for the turn's end. */
  flush(): void {
    this.#scheduled = false;
    this.#cancelLinger?.();
    this.#cancelLinger = undefined;
    if (this.#batch.length === 0) return;
    const batch = this.#batch;
    this.#batch = [];
    const flight = this.#send(batch).finally(() => this.#flying.delete(flight));
    this.#flying.add(flight);
  }

  /** Resolves when the broker has all that was added before, or never will. Never rejects. */
  async drained(): Promise<void> {
    this.flush();
    await Promise.all(this.#flying);
  }

  async #send(batch: readonly Settlement[]): Promise<void> {
    for (let delayMs = FIRST_DELAY_MS; ; delayMs = Math.min(LONGEST_DELAY_MS, delayMs * 10)) {
      try {
        await this.#connection.settle(batch);
        return;
      } catch (error) {
        if (isLovageError(error, 'ERR_CONNECTION_LOST') || isLovageError(error, 'ERR_CLOSED') || !this.#isLive()) {
          this.#logger.debug(
            { deliveries: batch.length },
            'Deliveries could not be settled: their connection is gone. The broker delivers them again.',
          );
          return;
        }
        this.#logger.warn({ err: error, deliveries: batch.length, delayMs }, 'Settling failed and is tried again.');
        await new Promise<void>((resolve) => {
          this.#clock.after(delayMs, resolve);
        });
      }
    }
  }
}
