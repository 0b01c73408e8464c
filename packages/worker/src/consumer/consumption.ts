import type { Logger, QueueDefinition } from '@lovage/core';
import type { Connection, Topology } from '@lovage/core/transport';
import type { Clock } from '../clock.ts';
import type { Dispatcher } from './dispatcher.ts';
import type { PrefetchWindow } from './prefetch.ts';
import { ConsumerSession } from './session.ts';

export interface ConsumptionOptions {
  readonly queues: readonly QueueDefinition[];
  readonly window: PrefetchWindow;
  readonly clock: Clock;
  readonly logger: Logger;
  /** False: the worker stops, and nothing is started any more. */
  readonly isRunning: () => boolean;
}

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 10_000;

/** What a worker consumes from, and the consumer that does it: one for each connection, and one more after each change. */
export class Consumption {
  readonly #options: ConsumptionOptions;
  #queues: readonly QueueDefinition[];
  #session: ConsumerSession | undefined;
  #dispatcher: Dispatcher | undefined;

  constructor(options: ConsumptionOptions) {
    this.#options = options;
    this.#queues = options.queues;
  }

  get queues(): readonly QueueDefinition[] {
    return this.#queues;
  }

  get queueNames(): readonly string[] {
    return this.#queues.map(({ name }) => name);
  }

  /** Of the present connection; undefined: there is none. */
  get session(): ConsumerSession | undefined {
    return this.#session;
  }

  /** A new connection takes the place of the former one. */
  open(connection: Connection, dispatcher: Dispatcher): ConsumerSession {
    const { clock, logger, window } = this.#options;
    this.#dispatcher = dispatcher;
    if (this.#session !== undefined) this.#lose(this.#session);
    const session = new ConsumerSession(connection, clock, logger, () => dispatcher.hasPlenty);
    this.#session = session;
    window.detach();
    connection.closed.then(
      () => this.#lose(session),
      () => this.#lose(session),
    );
    return session;
  }

  /** Resolves when messages may come. */
  start(session: ConsumerSession): Promise<void> {
    return session.change(() => this.#start(session));
  }

  /** What is held of the former consumer stays ours to settle. An added queue that the broker refuses costs no other. */
  async setQueues(queues: readonly QueueDefinition[], added?: QueueDefinition): Promise<void> {
    const { window, isRunning } = this.#options;
    this.#queues = queues;
    const session = this.#session;
    if (session === undefined) return;
    await session.change(async () => {
      if (!session.isLive || !isRunning()) return;
      try {
        // While the former consumer goes on.
        if (added !== undefined) await session.connection.declare(added.topology);
        const former = session.consumer;
        session.consumer = undefined;
        window.detach();
        await former?.cancel();
        await this.#start(session);
      } catch (error) {
        if (added !== undefined) this.#queues = this.#queues.filter((queue) => queue !== added);
        if (session.consumer === undefined) void this.#startAgain(session, error);
        throw error;
      }
    });
  }

  /** Only within {@link ConsumerSession.change}. Does nothing when there is one. */
  async #start(session: ConsumerSession): Promise<void> {
    const { window, isRunning } = this.#options;
    const dispatcher = this.#dispatcher as Dispatcher;
    if (session.consumer !== undefined) return;
    const { connection } = session;
    await connection.declare(joinTopologies(this.#queues));
    if (!isRunning() || !session.isLive || this.#queues.length === 0) return;
    const { size: prefetch, refill } = window;
    const consumer = await connection.consume(
      this.queueNames,
      (deliveries) => dispatcher.receive(session, deliveries),
      {
        prefetch,
        refill,
        onLeaseLost: (deliveries) => dispatcher.leaseLost(session, deliveries),
      },
    );
    session.consumer = consumer;
    window.attach(consumer, [prefetch, refill]);
    const ended = (error?: unknown): void => {
      if (session.consumer !== consumer) return;
      session.consumer = undefined;
      if (session.isLive && isRunning()) void this.#startAgain(session, error);
    };
    consumer.done.then(() => ended(), ended);
    if (!isRunning()) await consumer.cancel();
  }

  /** The consumer ended and its connection lives: a queue was removed, a broker node went. Nothing but the stop ends this. */
  async #startAgain(session: ConsumerSession, cause: unknown): Promise<void> {
    const { clock, logger, isRunning } = this.#options;
    let error = cause;
    for (let delayMs = FIRST_PAUSE_MS; ; delayMs = Math.min(LONGEST_PAUSE_MS, delayMs * 2)) {
      await new Promise<void>((resolve) => {
        clock.after(delayMs, resolve);
      });
      if (!session.isLive || !isRunning() || session.consumer !== undefined) return;
      logger.warn({ err: error, queues: this.queueNames }, 'The broker ended the consumer. It is started again.');
      try {
        await this.start(session);
        return;
      } catch (failure) {
        error = failure;
      }
    }
  }

  #lose(session: ConsumerSession): void {
    if (!session.isLive) return;
    if (this.#session === session) {
      this.#session = undefined;
      this.#options.window.detach();
    }
    this.#dispatcher?.sessionLost(session);
  }
}

function joinTopologies(queues: readonly QueueDefinition[]): Topology {
  return {
    exchanges: queues.flatMap(({ topology }) => topology.exchanges ?? []),
    queues: queues.flatMap(({ topology }) => topology.queues ?? []),
    bindings: queues.flatMap(({ topology }) => topology.bindings ?? []),
  };
}
