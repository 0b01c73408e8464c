import { ConnectionLostError, isLovageError, type PublishError } from '../errors.ts';
import { TurnBatch } from '../internal/turn-batch.ts';
import type { Delivery, Outcome, Settlement } from '../transport/contract.ts';
import type { Message } from '../transport/message.ts';
import type { Queue } from '../transport/topology.ts';
import type { Held } from './consumer.ts';
import type { Consumers } from './consumers.ts';
import type { Declarations } from './declarations.ts';
import type { QueueDriver } from './driver.ts';
import type { Leases } from './leases.ts';
import type { Link } from './link.ts';
import type { Publisher } from './publisher.ts';

const MAX_SETTLEMENTS = 1000;

export interface SettlerOptions<Receipt> {
  readonly driver: Pick<QueueDriver<Receipt>, 'settle'>;
  readonly link: Link;
  readonly declarations: Declarations;
  readonly consumers: Consumers<Receipt>;
  readonly leases: Leases<Receipt>;
  /** Takes dead letters. */
  readonly publisher: Publisher;
}

interface Settling<Receipt> {
  readonly held: Held<Receipt>;
  readonly outcome: Outcome;
}

/** What the broker is told of a message. */
interface Answer<Receipt> {
  readonly held: Held<Receipt>;
  readonly receipt: Receipt;
  readonly outcome: 'ack' | 'requeue';
}

interface DeadLetter<Receipt> {
  readonly held: Held<Receipt>;
  readonly receipt: Receipt;
  readonly target: NonNullable<Queue['deadLetter']>;
}

/** Settles what consumers hold, all of a turn together. A rejected message is in its dead letter place before it is acknowledged. */
export class Settler<Receipt> {
  readonly #driver: SettlerOptions<Receipt>['driver'];
  readonly #link: Link;
  readonly #declarations: Declarations;
  readonly #consumers: Consumers<Receipt>;
  readonly #leases: Leases<Receipt>;
  readonly #publisher: Publisher;
  readonly #batch: TurnBatch<Settling<Receipt>>;

  constructor({ driver, link, declarations, consumers, leases, publisher }: SettlerOptions<Receipt>) {
    this.#driver = driver;
    this.#link = link;
    this.#declarations = declarations;
    this.#consumers = consumers;
    this.#leases = leases;
    this.#publisher = publisher;
    this.#batch = new TurnBatch((items) => this.#settle(items), { maxItems: MAX_SETTLEMENTS });
  }

  settle(settlements: readonly Settlement[]): Promise<void> {
    let done: Promise<void> | undefined;
    const turns = new Set<Promise<void>>();
    let isStale = false;
    for (const { delivery, outcome } of settlements) {
      const held = this.#consumers.heldOf(delivery);
      if (held === undefined) {
        isStale = true;
        continue;
      }
      if (held.isSettled) continue;
      held.isSettled = true;
      const turn = this.#batch.add({ held, outcome });
      if (done === undefined) done = turn;
      else if (done !== turn) turns.add(turn);
    }
    if (isStale) {
      const stale = new ConnectionLostError(
        'A delivery of an earlier connection cannot be settled: the broker gives it to somebody again.',
      );
      return Promise.allSettled([done, ...turns]).then(() => Promise.reject(stale));
    }
    if (turns.size > 0) return Promise.all([done, ...turns]).then(() => undefined);
    return done ?? Promise.resolve();
  }

  /** Hands on what waits for the end of the turn, now. */
  flush(): void {
    this.#batch.flush();
  }

  async #settle(items: readonly Settling<Receipt>[]): Promise<void> {
    const untrack = this.#link.track(() => {}); // the parts notice a loss themselves
    try {
      const ready = this.#leases.ready();
      if (ready !== undefined) await ready;
      if (this.#link.loss !== undefined) throw this.#link.loss;
      const { direct, dead } = this.#take(items);
      await Promise.all([this.#tell(direct), dead.length > 0 ? this.#bury(dead) : undefined]);
    } finally {
      untrack();
    }
  }

  /** Their consumers hold them no longer. */
  #take(items: readonly Settling<Receipt>[]): {
    readonly direct: readonly Answer<Receipt>[];
    readonly dead: readonly DeadLetter<Receipt>[];
  } {
    const direct: Answer<Receipt>[] = [];
    const dead: DeadLetter<Receipt>[] = [];
    for (const { held, outcome } of items) {
      this.#consumers.release(held);
      if (held.receipt === undefined) {
        if (outcome === 'requeue') held.consumer.broadcastAgain(held);
        continue;
      }
      const receipt = held.receipt.value;
      const target = outcome === 'reject' ? this.#declarations.queue(held.delivery.queue)?.deadLetter : undefined;
      if (target !== undefined) dead.push({ held, receipt, target });
      else direct.push({ held, receipt, outcome: outcome === 'requeue' ? 'requeue' : 'ack' });
    }
    this.#leases.release(items);
    return { direct, dead };
  }

  async #tell(answers: readonly Answer<Receipt>[]): Promise<void> {
    if (answers.length === 0) return;
    try {
      await this.#link.guard(this.#driver.settle(answers.map(({ receipt, outcome }) => ({ receipt, outcome }))));
    } catch (error) {
      this.#restore(answers);
      throw error;
    }
  }

  /** The copy in the dead letter place is owned by the broker before the original is acknowledged. */
  async #bury(letters: readonly DeadLetter<Receipt>[]): Promise<void> {
    const published = this.#publisher.publish(
      letters.map(({ held, target }) => ({
        ...target,
        message: deadLetter(held.delivery),
        mandatory: target.exchange !== '',
      })),
    );
    this.#publisher.flush();
    const refused = new Set<number>();
    let failure: unknown;
    try {
      await published;
    } catch (error) {
      failure = error;
      if (isLovageError(error, 'ERR_PUBLISH'))
        for (const { index } of (error as PublishError).failures) refused.add(index);
      else for (const index of letters.keys()) refused.add(index);
    }
    this.#restore(letters.filter((_, index) => refused.has(index)));
    await this.#tell(
      letters.flatMap(({ held, receipt }, index) => (refused.has(index) ? [] : [{ held, receipt, outcome: 'ack' }])),
    );
    if (failure !== undefined) throw failure as Error;
  }

  /** The link lives, so they are still ours. */
  #restore(settled: readonly { readonly held: Held<Receipt>; readonly receipt: Receipt }[]): void {
    if (!this.#link.isOpen) return;
    this.#leases.hold(settled);
    for (const { held } of settled) this.#consumers.restore(held);
  }
}

/** The names are RabbitMQ's. */
function deadLetter({ message, malformed, queue, exchange }: Delivery): Message {
  return {
    ...message,
    contentType: malformed === undefined ? message.contentType : 'application/octet-stream',
    contentEncoding: malformed === undefined ? message.contentEncoding : 'binary',
    headers: {
      'x-first-death-queue': queue,
      'x-first-death-exchange': exchange,
      'x-first-death-reason': 'rejected',
      ...message.headers,
    },
  };
}
