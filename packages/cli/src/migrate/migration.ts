import { setTimeout as sleep } from 'node:timers/promises';
import { isLovageError, type Logger } from '@lovage/core';
import type {
  Connection,
  ConnectionSupervisor,
  Consumer,
  Delivery,
  Message,
  Outcome,
  Publication,
  PublishError,
  Topology,
} from '@lovage/core/transport';
import { orEnded, unlessAborted } from '../stop-signals.ts';
import { readTaskFacts } from '../task-facts.ts';

/** A queue of the source and the one that its messages go to. */
export interface QueuePair {
  readonly from: string;
  readonly to: string;
  /** Declared at the destination, unless a queue of the name is there already. */
  readonly topology: Topology;
}

export interface MigrationOptions {
  readonly source: ConnectionSupervisor;
  readonly destination: ConnectionSupervisor;
  readonly queues: readonly QueuePair[];
  /** Messages to move at most. */
  readonly limit?: number;
  /** No more than what waits at the start: what comes back meanwhile is not moved again. */
  readonly presentOnly?: boolean;
  /** It ends when no message came for so long. */
  readonly idleMs: number;
  /** It does not end by itself. */
  readonly forever?: boolean;
  /** Messages stay at the source: they are given back at the end. */
  readonly copies?: boolean;
  /** False: the message stays. Default: all that can be read. */
  readonly wants?: (delivery: Delivery) => boolean;
  /** What is published instead of the message that came. Default: the same. */
  readonly rewrite?: (message: Message) => Message;
  /** Messages that are between the two brokers at once, and come twice if the process is killed. */
  readonly window: number;
  /** How long a lost broker is waited for. */
  readonly reconnectMs: number;
  /** Ends it in order: what is under way is finished, the rest given back. */
  readonly signal: AbortSignal;
  readonly logger: Logger;
  readonly onProgress?: (progress: MigrationProgress) => void;
  /** Before anything is touched: so many messages are out of reach, see {@link MigrationReport.delayed}. */
  readonly onDelayed?: (count: number) => void;
}

export interface MigrationProgress {
  readonly moved: number;
  /** Waiting at the source at the start; undefined until it is known. */
  readonly total: number | undefined;
}

/** A message that the destination did not take; it stays at the source. */
export interface FailedMessage {
  readonly queue: string;
  readonly id: string | null;
  readonly task: string | null;
  readonly error: string;
}

export interface MigrationReport {
  readonly moved: number;
  /** By queue of the source. */
  readonly queues: Readonly<Record<string, number>>;
  /** Left at the source because they were not asked for. */
  readonly skipped: number;
  /** Left at the source: the first thousand that could not be read or that the destination refused. */
  readonly failed: readonly FailedMessage[];
  /** Published, but the source could not be told: they may come again. */
  readonly unsettled: number;
  /** Messages that wait at the source now, delayed ones included; null: the broker did not say. */
  readonly left: Readonly<Record<string, number | null>>;
  /** Of any queue, kept back by the source until they are due and counted with none; null: the broker did not say. */
  readonly delayed: number | null;
  /** Queues that the source does not have. */
  readonly missing: readonly string[];
}

const MAX_FAILED_SHOWN = 1000;
/** Idle times that a source whose queues are not empty is granted before it counts as done. */
const PATIENCE = 5;
const LOOK_MS = 50;
/** Between tries to publish what a lost destination did not confirm; each is twice the one before. */
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 2000;
/** What AMQP can say; beyond it there is no limit. */
const MAX_PREFETCH = 65_535;

/**
 * Moves messages from one broker to another: body, content type, headers and properties as they are. A message is
 * settled at the source after the destination has confirmed it, so one that is killed on the way comes twice, never
 * not at all. A lost connection on either side is waited for.
 */
export class Migration {
  readonly #options: MigrationOptions;
  readonly #counts = new Map<string, number>();
  readonly #failed: FailedMessage[] = [];
  /** Taken and left: given back when it ends. */
  #kept: Delivery[] = [];
  /** Batches on their way, so that the end can wait for them. */
  readonly #underWay = new Set<Promise<void>>();
  #consumer: Consumer | undefined;
  #prefetch = 0;
  #connection: Connection | undefined;
  #limit = Number.POSITIVE_INFINITY;
  #taken = 0;
  /** Messages of {@link #underWay}. */
  #sending = 0;
  #moved = 0;
  #skipped = 0;
  #unsettled = 0;
  #total: number | undefined;
  #lastAt = 0;
  #failure: unknown;
  #ending = false;

  constructor(options: MigrationOptions) {
    this.#options = options;
  }

  async run(): Promise<MigrationReport> {
    const { source, destination, queues, reconnectMs, signal } = this.#options;
    const at = await orEnded(source.connection({ timeoutMs: reconnectMs, signal }), signal);
    const to = await orEnded(destination.connection({ timeoutMs: reconnectMs, signal }), signal);
    const counts = await sizes(
      at,
      queues.map(({ from }) => from),
    );
    const delayed = (await at.delayed?.()) ?? 0;
    if (delayed > 0) this.#options.onDelayed?.(delayed);
    const present = queues.filter(({ from }) => counts.get(from) !== undefined);
    const missing = queues.filter(({ from }) => !present.some((pair) => pair.from === from)).map(({ from }) => from);
    for (const pair of present) await declareAt(to, pair);
    this.#total = present.reduce((sum, { from }) => sum + (counts.get(from) ?? 0), 0);
    const { limit = Number.POSITIVE_INFINITY, presentOnly = false } = this.#options;
    this.#limit = presentOnly ? Math.min(limit, this.#total) : limit;
    this.#progress();
    if (present.length > 0 && this.#limit > 0) await this.#work(present);
    const names = present.map(({ from }) => from);
    const after = await source
      .connection({ timeoutMs: reconnectMs })
      .then(async (connection) => ({
        left: await sizes(connection, names),
        delayed: (await connection.delayed?.()) ?? 0,
      }))
      .catch(() => undefined);
    return {
      moved: this.#moved,
      queues: Object.fromEntries(this.#counts),
      skipped: this.#skipped,
      failed: this.#failed,
      unsettled: this.#unsettled,
      left: Object.fromEntries(names.map((name) => [name, after?.left.get(name) ?? null])),
      delayed: after?.delayed ?? null,
      missing,
    };
  }

  async #work(queues: readonly QueuePair[]): Promise<void> {
    const { source } = this.#options;
    const targets = new Map(queues.map(({ from, to }) => [from, to]));
    this.#lastAt = performance.now();
    const forget = source.onConnect((connection) => this.#consume(connection, targets));
    try {
      await this.#untilDone([...targets.keys()]);
    } finally {
      this.#ending = true;
      forget();
      await this.#stop();
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Again on each connection: what the one before held comes again. */
  async #consume(connection: Connection, targets: ReadonlyMap<string, string>): Promise<void> {
    if (this.#ending) return;
    this.#skipped = 0;
    this.#taken = this.#moved + this.#sending;
    this.#kept = [];
    this.#connection = connection;
    this.#lastAt = performance.now();
    const onDeliveries = (deliveries: readonly Delivery[]): void => this.#take(connection, deliveries, targets);
    this.#prefetch = this.#options.window;
    this.#consumer = await connection.consume([...targets.keys()], onDeliveries, { prefetch: this.#prefetch });
    this.#widen();
  }

  #take(connection: Connection, deliveries: readonly Delivery[], targets: ReadonlyMap<string, string>): void {
    const { wants = () => true } = this.#options;
    this.#lastAt = performance.now();
    const batch: Delivery[] = [];
    for (const delivery of deliveries) {
      if (this.#ending || this.#taken >= this.#limit) this.#kept.push(delivery);
      else if (delivery.malformed !== undefined) this.#fail(connection, delivery, delivery.malformed);
      else if (!wants(delivery)) {
        this.#skipped++;
        this.#keep(connection, delivery);
      } else {
        this.#taken++;
        batch.push(delivery);
      }
    }
    if (batch.length === 0) return;
    this.#sending += batch.length;
    const moving = this.#move(connection, batch, targets).catch((error: unknown) => {
      this.#failure ??= error;
    });
    this.#underWay.add(moving);
    void moving.finally(() => this.#underWay.delete(moving));
  }

  async #move(connection: Connection, batch: readonly Delivery[], targets: ReadonlyMap<string, string>): Promise<void> {
    const { rewrite = (message: Message) => message } = this.#options;
    const taken = await this.#publish(
      connection,
      batch.map((delivery) => ({
        delivery,
        publication: {
          // To the queue itself: the exchange it came by may lead elsewhere, or to several queues, over there.
          exchange: '',
          routingKey: targets.get(delivery.queue) ?? delivery.queue,
          message: withoutBrokerNotes(rewrite(delivery.message)),
          mandatory: true,
        },
      })),
    );
    for (const { queue } of taken) this.#counts.set(queue, (this.#counts.get(queue) ?? 0) + 1);
    this.#sending -= batch.length;
    this.#moved += taken.length;
    this.#lastAt = performance.now();
    this.#progress();
    if (this.#options.copies === true) {
      for (const delivery of taken) this.#keep(connection, delivery);
      return;
    }
    try {
      await connection.settle(taken.map((delivery) => ({ delivery, outcome: 'ack' as const })));
    } catch (error) {
      this.#unsettled += taken.length;
      this.#options.logger.warn(
        { err: error, messages: taken.length },
        'The source could not be told that messages were moved: they may come twice.',
      );
    }
  }

  /**
   * Those that the destination has. Refused ones stay; a lost link is waited for and the rest published again, unless
   * the signal says stop: then they stay too.
   */
  async #publish(
    at: Connection,
    items: readonly { readonly delivery: Delivery; readonly publication: Publication }[],
  ): Promise<readonly Delivery[]> {
    const { destination, reconnectMs, logger, signal } = this.#options;
    const done: Delivery[] = [];
    let pauseMs = 0;
    for (let left = items; ; pauseMs = Math.min(pauseMs * 2 || FIRST_PAUSE_MS, LONGEST_PAUSE_MS)) {
      if (pauseMs > 0) await unlessAborted(sleep(pauseMs, undefined, { signal }), signal);
      const isOver = pauseMs > 0 && signal.aborted;
      const connection = isOver
        ? undefined
        : (destination.live ??
          (await unlessAborted(destination.connection({ timeoutMs: reconnectMs, signal }), signal)));
      if (connection === undefined) {
        for (const { delivery } of left) {
          this.#taken--;
          this.#keep(at, delivery);
        }
        return done;
      }
      try {
        await connection.publish(left.map(({ publication }) => publication));
        return [...done, ...left.map(({ delivery }) => delivery)];
      } catch (error) {
        const failures = isLovageError(error, 'ERR_PUBLISH') ? (error as PublishError).failures : undefined;
        if (failures === undefined) {
          // Nothing is known of any of them: published again, they may be there twice.
          if (!isLovageError(error) || !error.retryable) throw error;
          logger.warn(
            { err: error, messages: left.length },
            'The destination was lost; what was on its way is sent again.',
          );
          continue;
        }
        const byIndex = new Map(failures.map((failure) => [failure.index, failure.error]));
        done.push(...left.filter((_, index) => !byIndex.has(index)).map(({ delivery }) => delivery));
        const again: (typeof items)[number][] = [];
        for (const [index, item] of left.entries()) {
          const failure = byIndex.get(index);
          if (failure === undefined) continue;
          if (failure.retryable && isLovageError(failure, 'ERR_CONNECTION_LOST')) again.push(item);
          else {
            this.#taken--;
            this.#fail(at, item.delivery, failure);
          }
        }
        if (again.length === 0) return done;
        left = again;
      }
    }
  }

  #fail(connection: Connection, delivery: Delivery, error: Error): void {
    const { id = null, task = null } = readTaskFacts(delivery.message);
    if (this.#failed.length < MAX_FAILED_SHOWN) {
      this.#failed.push({ queue: delivery.queue, id, task, error: error.message });
    }
    this.#keep(connection, delivery);
  }

  /** Held until the end: given back now, it would come again at once. The window grows by it. */
  #keep(connection: Connection, delivery: Delivery): void {
    // A link that was lost has given back what it held.
    if (connection !== this.#connection) return;
    this.#kept.push(delivery);
    this.#widen();
  }

  #widen(): void {
    if (this.#ending || this.#prefetch === 0 || this.#consumer === undefined) return;
    if (this.#kept.length < this.#prefetch / 2) return;
    const wider = Math.max(this.#prefetch, this.#kept.length) * 4;
    this.#prefetch = wider > MAX_PREFETCH ? 0 : wider;
    this.#consumer.setPrefetch(this.#prefetch).catch(() => undefined); // the connection is lost, and says so itself
  }

  async #untilDone(names: readonly string[]): Promise<void> {
    const { idleMs, forever = false, signal, source, reconnectMs } = this.#options;
    for (let patience = 1; ; ) {
      await new Promise((resolve) => {
        setTimeout(resolve, Math.min(LOOK_MS, idleMs));
      });
      if (signal.aborted || this.#failure !== undefined) return;
      if (this.#moved >= this.#limit) return;
      if (source.live === undefined) {
        await source.connection({ timeoutMs: reconnectMs, signal }).catch((error: unknown) => {
          if (!signal.aborted) throw error;
        });
        continue;
      }
      if (forever || this.#underWay.size > 0) continue;
      const idle = performance.now() - this.#lastAt;
      if (idle < idleMs) patience = 1;
      if (idle < idleMs * patience) continue;
      const ready = [...(await sizes(source.live, names)).values()].reduce((sum: number, size) => sum + (size ?? 0), 0);
      // Delayed messages count as waiting too: they are not waited for.
      if (ready === 0 || patience >= PATIENCE) return;
      patience++;
    }
  }

  /** What is on its way is finished; then all that was kept goes back. */
  async #stop(): Promise<void> {
    await this.#consumer?.cancel().catch(() => undefined);
    await Promise.all(this.#underWay);
    const { live } = this.#options.source;
    if (live === undefined || live !== this.#connection || this.#kept.length === 0) return;
    const outcome: Outcome = 'requeue';
    // Rejected when the link is lost: then they go back by themselves.
    await live.settle(this.#kept.map((delivery) => ({ delivery, outcome }))).catch(() => undefined);
  }

  #progress(): void {
    const total = this.#total === undefined ? undefined : Math.min(this.#limit, this.#total);
    this.#options.onProgress?.({ moved: this.#moved, total });
  }
}

/** A queue of the name that is there already is used as it is: its arguments are its owner's. */
async function declareAt(connection: Connection, { to, topology }: QueuePair): Promise<void> {
  try {
    await connection.declare(topology);
  } catch (error) {
    if (!isLovageError(error, 'ERR_PRECONDITION_FAILED')) throw error;
    await connection.inspect(to);
  }
}

/** Messages that wait, by queue; undefined for a queue that does not exist. */
export async function sizes(
  connection: Connection,
  queues: readonly string[],
): Promise<ReadonlyMap<string, number | undefined>> {
  const found = await Promise.all(
    queues.map(async (queue) => {
      try {
        return [queue, (await connection.inspect(queue)).ready] as const;
      } catch (error) {
        if (!isLovageError(error, 'ERR_NOT_FOUND')) throw error;
        return [queue, undefined] as const;
      }
    }),
  );
  return new Map(found);
}

/** What brokers and Kombu note of deliveries so far: the next broker counts for itself. */
const BROKER_NOTES = /^(?:redelivered$|x-(?:delivery-count|acquired-count|lovage-redelivery)$)/;

function withoutBrokerNotes(message: Message): Message {
  const names = Object.keys(message.headers);
  if (!names.some((name) => BROKER_NOTES.test(name))) return message;
  return { ...message, headers: withoutHeaders(message.headers, BROKER_NOTES) };
}

export function withoutHeaders(headers: Message['headers'], names: RegExp): Message['headers'] {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !names.test(name)));
}
