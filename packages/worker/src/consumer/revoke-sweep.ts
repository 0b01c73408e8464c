import type { Logger } from '@lovage/core';
import type { Clock } from '../clock.ts';

/** A look that took so little is not paid for with a rest. */
const LEAST_REST_MS = 50;
/** Where many wait and revokes are many, most of the time is still the tasks'. */
const RESTS_PER_LOOK = 9;

export interface RevokeSweepOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Ends what waits and is revoked. */
  readonly look: () => Promise<void>;
}

/**
 * Looks through what waits when tasks were revoked, one look at a time: a task that has to wait longer than revokes are
 * remembered would run all the same.
 */
export class RevokeSweep {
  readonly #options: RevokeSweepOptions;
  #isUnderWay = false;
  #isAsked = false;
  #isStopped = false;
  #endRest: () => void = () => {};

  constructor(options: RevokeSweepOptions) {
    this.#options = options;
  }

  /** Looks once this turn of the event loop is over, or again after the look under way. */
  soon(): void {
    this.#isAsked = true;
    if (this.#isUnderWay) return;
    this.#isUnderWay = true;
    setImmediate(() => {
      this.#sweep().catch((error: unknown) => {
        this.#options.logger.error({ err: error }, 'What waits here could not be looked through for revoked tasks.');
      });
    });
  }

  /** No look begins any more. */
  stop(): void {
    this.#isStopped = true;
    this.#endRest();
  }

  async #sweep(): Promise<void> {
    const { clock, look } = this.#options;
    try {
      while (this.#isAsked && !this.#isStopped) {
        this.#isAsked = false;
        const begin = clock.monotonic();
        await look();
        const restMs = (clock.monotonic() - begin) * RESTS_PER_LOOK;
        if (restMs > LEAST_REST_MS) await this.#rest(restMs);
      }
    } finally {
      this.#isUnderWay = false;
    }
  }

  #rest(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#options.clock.after(ms, resolve);
      this.#endRest = () => {
        cancel();
        resolve();
      };
    });
  }
}
