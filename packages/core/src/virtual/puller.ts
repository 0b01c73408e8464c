import { ConnectionLostError, isLovageError } from '../errors.ts';
import { LATE, within } from '../internal/deadline.ts';
import type { Logger } from '../internal/log.ts';
import { outsideOfTasks } from '../internal/outside-of-tasks.ts';
import { Held, type VirtualConsumer } from './consumer.ts';
import type { Pulled, QueueDriver } from './driver.ts';
import { OwnMessages } from './own-messages.ts';
import { PayloadPacker, PulledDelivery } from './pulled-delivery.ts';

/** One pull takes at most so many, however large the windows are. */
const MAX_PULL = 256;
/** How long a pull waits for the first message. The driver may wait less. */
const WAIT_MS = 20_000;
/** An aborted pull that does not end within this time is a dead link. */
const ABORT_MS = 5000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5000;

export interface PullerOptions<Receipt> {
  readonly driver: QueueDriver<Receipt>;
  readonly owner: object;
  readonly logger: Logger;
  /** Called with what was taken, before a consumer is told of it. */
  readonly onTaken?: ((pulled: readonly Pulled<Receipt>[]) => void) | undefined;
  /** The link is gone. */
  readonly onLost: (error: Error) => void;
}

/**
 * Fetches for all consumers of a connection, one pull at a time: it asks for the queues of those that have a free slot,
 * and never for more than the smallest of their windows can take.
 */
export class Puller<Receipt> {
  readonly #options: PullerOptions<Receipt>;
  readonly #consumers = new Set<VirtualConsumer<Receipt>>();
  #isRunning = false;
  #isStopped = false;
  #active: { readonly abort: AbortController; readonly consumers: ReadonlySet<VirtualConsumer<Receipt>> } | undefined;
  /** Resolves when the pull under way has ended and its messages are dealt with. */
  #round: Promise<void> = Promise.resolve();
  readonly #packer = new PayloadPacker();
  readonly #own = new OwnMessages();
  #endPause: (() => void) | undefined;
  #turns = 0;
  #failures = 0;

  constructor(options: PullerOptions<Receipt>) {
    this.#options = options;
  }

  add(consumer: VirtualConsumer<Receipt>): void {
    this.#consumers.add(consumer);
    this.wake();
  }

  /** A message goes out that may come back at once: it is not decoded again. */
  noteSent(queue: string, tag: string, payload: string, body: Uint8Array): void {
    if (!OwnMessages.isWorthIt(payload)) return;
    for (const { pulled } of this.#consumers) if (pulled.has(queue)) return this.#own.note(tag, payload, body);
  }

  /** Resolves when nothing more is fetched for it; what was already on its way has gone back to the broker. */
  async remove(consumer: VirtualConsumer<Receipt>): Promise<void> {
    this.#consumers.delete(consumer);
    if (!this.#isRunning || this.#active?.consumers.has(consumer) === false) return;
    this.#active?.abort.abort();
    this.#endPause?.();
    if ((await within(this.#round, ABORT_MS)) === LATE && !this.#isStopped) {
      this.#options.onLost(
        new ConnectionLostError(`The broker did not answer within ${ABORT_MS} ms while a consumer was cancelled.`),
      );
    }
  }

  /** Fetches nothing any more; what the pull under way brings is left to the broker's lease. */
  stop(): void {
    this.#isStopped = true;
    this.#active?.abort.abort();
    this.#endPause?.();
  }

  /** Something may have changed: a consumer came, or a slot became free. */
  wake(): void {
    if (this.#isStopped) return;
    if (!this.#isRunning) {
      this.#isRunning = true;
      void outsideOfTasks(() => this.#run());
      return;
    }
    const { consumers, abort } = this.#active ?? {};
    if (consumers === undefined || abort === undefined) return;
    // A pull that waits for other queues only would leave this consumer waiting as well.
    if (this.#hungry().some((consumer) => !consumers.has(consumer))) abort.abort();
  }

  #hungry(): readonly VirtualConsumer<Receipt>[] {
    return [...this.#consumers].filter((consumer) => consumer.isHungry && consumer.pulled.size > 0);
  }

  async #run(): Promise<void> {
    for (;;) {
      const consumers = this.#isStopped ? [] : this.#hungry();
      if (consumers.length === 0) {
        this.#isRunning = false;
        return;
      }
      const round = this.#pull(consumers);
      this.#round = round;
      await round;
    }
  }

  async #pull(consumers: readonly VirtualConsumer<Receipt>[]): Promise<void> {
    const abort = new AbortController();
    this.#active = { abort, consumers: new Set(consumers) };
    let pulled: readonly Pulled<Receipt>[];
    try {
      pulled = await this.#options.driver.pull({
        queues: this.#queuesOf(consumers),
        max: Math.min(MAX_PULL, ...consumers.map(({ room }) => room)),
        waitMs: WAIT_MS,
        signal: abort.signal,
      });
      this.#failures = 0;
    } catch (error) {
      await this.#failed(error, consumers, abort.signal);
      return;
    } finally {
      this.#active = undefined;
    }
    if (this.#isStopped || pulled.length === 0) return;
    await this.#hand(pulled, consumers);
  }

  /** Each once, beginning with another one every time, so that no queue starves where the driver keeps the order. */
  #queuesOf(consumers: readonly VirtualConsumer<Receipt>[]): readonly string[] {
    const first = consumers[0];
    if (consumers.length === 1 && first !== undefined && first.pulled.size === 1) return [...first.pulled];
    const queues = [...new Set(consumers.flatMap(({ pulled }) => [...pulled]))];
    const start = this.#turns++ % queues.length;
    return [...queues.slice(start), ...queues.slice(0, start)];
  }

  async #hand(pulled: readonly Pulled<Receipt>[], consumers: readonly VirtualConsumer<Receipt>[]): Promise<void> {
    this.#options.onTaken?.(pulled);
    const batches = new Map<VirtualConsumer<Receipt>, Held<Receipt>[]>();
    const orphans: Pulled<Receipt>[] = [];
    const now = Date.now();
    const shares = consumers.length === 1 ? undefined : this.#turns;
    for (const [index, message] of pulled.entries()) {
      const takers = consumers.filter((consumer) => consumer.isOpen && consumer.pulled.has(message.queue));
      // Competing consumers of one connection take turns; any of them has room for the whole batch.
      const consumer = takers[((shares ?? 0) + index) % takers.length];
      if (consumer === undefined) {
        orphans.push(message);
        continue;
      }
      const { payload, queue, deliveryCount } = message;
      const delivery = new PulledDelivery(payload, queue, deliveryCount, this.#packer, this.#own.find(payload));
      const held = new Held(this.#options.owner, consumer, { value: message.receipt }, now, delivery);
      const batch = batches.get(consumer);
      if (batch === undefined) batches.set(consumer, [held]);
      else batch.push(held);
    }
    for (const [consumer, batch] of batches) consumer.deliver(batch);
    if (orphans.length > 0) await this.#giveBack(orphans);
  }

  /** What a cancelled consumer would have got. */
  async #giveBack(orphans: readonly Pulled<Receipt>[]): Promise<void> {
    const { driver, logger } = this.#options;
    try {
      await driver.settle(orphans.map(({ receipt }) => ({ receipt, outcome: 'requeue' })));
    } catch (error) {
      if (this.#noticeLoss(error)) return;
      logger.warn({ err: error, messages: orphans.length }, 'messages could not be given back; their lease will end');
    }
  }

  async #failed(error: unknown, consumers: readonly VirtualConsumer<Receipt>[], signal: AbortSignal): Promise<void> {
    if (this.#isStopped || this.#noticeLoss(error)) return;
    // A driver that throws on abort has taken nothing.
    if (signal.aborted) return;
    if (isLovageError(error) && !error.retryable) {
      for (const consumer of consumers) {
        this.#consumers.delete(consumer);
        consumer.fail(error);
      }
      return;
    }
    const pauseMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** this.#failures++);
    this.#options.logger.warn({ err: error, pauseMs }, 'fetching messages failed; trying again');
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, pauseMs);
      this.#endPause = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#endPause = undefined;
  }

  #noticeLoss(error: unknown): boolean {
    if (!isLovageError(error, 'ERR_CONNECTION_LOST') && !isLovageError(error, 'ERR_CLOSED')) return false;
    this.#options.onLost(error);
    return true;
  }
}
