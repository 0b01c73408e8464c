import {
  BrokerBlockedError,
  ClosedError,
  ConnectionLostError,
  LovageError,
  MessageTooLargeError,
  type Publication,
  PublishError,
  type PublishFailure,
  TimeoutError,
  UnroutableError,
} from '@lovage/core/transport';
import { type IncomingMessage, writePublish } from './content.ts';
import { replyCode, requestError } from './errors.ts';
import type { Link, LinkChannel } from './link.ts';

/** How often waiting batches are held against their deadlines; one timer for all of them. */
const DEADLINE_CHECK_MS = 100;
const ACCESS_REFUSED = 403;
const NOT_FOUND = 404;

/** One call of `publish`. */
class Batch {
  readonly publications: readonly Publication[];
  readonly startedAt: number;
  readonly settled: Promise<void>;
  /** The next one to write. */
  next = 0;
  /** Without an answer yet, written or not. */
  open: number;
  done = false;
  readonly #failures: PublishFailure[] = [];
  #resolve!: () => void;
  #reject!: (error: LovageError) => void;

  constructor(publications: readonly Publication[]) {
    this.publications = publications;
    this.open = publications.length;
    this.startedAt = performance.now();
    this.settled = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  accept(): boolean {
    this.open--;
    return this.#finishIfAnswered();
  }

  fail(index: number, error: LovageError): boolean {
    if (this.done) return false;
    this.#failures.push({ index, error });
    this.open--;
    return this.#finishIfAnswered();
  }

  /** Ends the waiting: `indexes` are all those without an answer. */
  abandon(indexes: readonly number[], error: LovageError): void {
    if (this.done) return;
    for (const index of indexes) this.#failures.push({ index, error });
    this.open = 0;
    this.#finishIfAnswered();
  }

  #finishIfAnswered(): boolean {
    if (this.open > 0 || this.done) return false;
    this.done = true;
    if (this.#failures.length === 0) {
      this.#resolve();
    } else {
      this.#failures.sort((a, b) => a.index - b.index);
      this.#reject(new PublishError(this.#failures, this.publications.length));
    }
    return true;
  }
}

/** A confirm channel and what is on its way through it. */
interface ConfirmState {
  readonly channel: LinkChannel;
  /** Of the next message; the broker counts from 1 as well. */
  nextTag: number;
  /** Every tag below it has an answer. */
  lowestOpen: number;
  /** By tag modulo the length; undefined: answered. */
  readonly batches: (Batch | undefined)[];
  readonly indexes: Uint32Array;
}

/**
 * Publishes with confirms over one channel of a link: at most a window of messages is on its way, the others wait here
 * in their order. Every batch ends within its deadline.
 */
export class Publisher {
  readonly #link: Link;
  readonly #window: number;
  readonly #maxMessageBytes: number;
  #waiting: Batch[] = [];
  /** In the order of their calls, so that the first is the first to be late. */
  readonly #live = new Set<Batch>();
  #state: ConfirmState | undefined;
  #opening = false;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(link: Link, maxMessageBytes: number) {
    this.#link = link;
    this.#window = Math.max(1, Math.min(link.settings.publishWindow || 65_535, 65_535));
    this.#maxMessageBytes = maxMessageBytes;
    link.onLost((error) => this.#failAll(error));
    link.onUnblocked(() => this.#pump());
  }

  /** Resolves when the broker owns every message, else rejects with `PublishError`. */
  publish(publications: readonly Publication[]): Promise<void> {
    if (publications.length === 0) return Promise.resolve();
    const batch = new Batch(publications);
    if (this.#closed || this.#link.lost !== undefined) {
      batch.abandon(
        allFrom(publications, 0),
        this.#link.lost ?? new ClosedError('The connection to RabbitMQ is closed.'),
      );
      return batch.settled;
    }
    this.#live.add(batch);
    this.#waiting.push(batch);
    this.#timer ??= setInterval(this.#checkDeadlines, DEADLINE_CHECK_MS);
    this.#pump();
    return batch.settled;
  }

  /** Waits up to `timeoutMs` for what is on its way, then rejects the rest. */
  async close(timeoutMs: number): Promise<void> {
    this.#closed = true;
    if (this.#live.size > 0) {
      let timer: NodeJS.Timeout | undefined;
      const deadline = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, timeoutMs);
      });
      await Promise.race([Promise.allSettled([...this.#live].map(({ settled }) => settled)), deadline]);
      clearTimeout(timer);
    }
    this.#failAll(
      new ClosedError('The connection was closed before RabbitMQ confirmed this message; it may own it or not.'),
    );
  }

  #pump(): void {
    if (this.#waiting.length === 0 || this.#link.blockedSince !== undefined || this.#link.lost !== undefined) return;
    const state = this.#state;
    if (state === undefined || state.channel.closed) {
      if (!this.#opening) void this.#openChannel();
      return;
    }
    const { channel } = state;
    const { out, frameMax, writeBulk } = this.#link;
    const mask = state.batches.length - 1;
    let drained = 0;
    fill: for (const batch of this.#waiting) {
      const { publications } = batch;
      while (!batch.done && batch.next < publications.length) {
        if (state.nextTag - state.lowestOpen >= this.#window) break fill;
        const index = batch.next++;
        const { exchange, routingKey, message, mandatory = false } = publications[index] as Publication;
        try {
          if (message.body.length > this.#maxMessageBytes) throw tooLarge(message.body.length, this.#maxMessageBytes);
          writePublish(out, channel.number, frameMax, exchange, routingKey, mandatory, message, writeBulk);
        } catch (error) {
          if (batch.fail(index, error as LovageError)) this.#live.delete(batch);
          continue;
        }
        const slot = state.nextTag++ & mask;
        state.batches[slot] = batch;
        state.indexes[slot] = index;
      }
      drained++;
    }
    if (drained === this.#waiting.length) this.#waiting.length = 0;
    else if (drained > 0) this.#waiting.splice(0, drained);
    this.#link.scheduleFlush();
  }

  /** Never rejects. */
  async #openChannel(): Promise<void> {
    this.#opening = true;
    const capacity = 2 ** Math.ceil(Math.log2(this.#window));
    // Nothing can arrive on the channel before the state is there: nothing is published before.
    let state: ConfirmState | undefined;
    try {
      const channel = await this.#link.openChannel('confirm', {
        confirmed: (tag, multiple, accepted) => {
          if (state !== undefined) this.#confirmed(state, tag, multiple, accepted);
        },
        returned: (replyText, exchange, routingKey, message) => {
          if (state !== undefined) this.#returned(state, replyText, exchange, routingKey, message);
        },
      });
      state = {
        channel,
        nextTag: 1,
        lowestOpen: 1,
        batches: Array.from({ length: capacity }, () => undefined),
        indexes: new Uint32Array(capacity),
      };
      const opened = state;
      // amqplib closes the channels of a lost connection before it tells of the loss itself.
      channel.api.on('close', () => queueMicrotask(() => this.#channelClosed(opened)));
      this.#state = state;
      this.#opening = false;
    } catch (error) {
      this.#opening = false;
      for (const batch of this.#waiting.splice(0)) this.#abandon(batch, error as LovageError);
      return;
    }
    this.#pump();
  }

  #confirmed(state: ConfirmState, tag: number, multiple: boolean, accepted: boolean): void {
    const mask = state.batches.length - 1;
    if (tag >= state.nextTag || tag < state.lowestOpen) return;
    for (let at = multiple ? state.lowestOpen : tag; at <= tag; at++) this.#answer(state, at & mask, accepted);
    if (multiple) state.lowestOpen = tag + 1;
    while (state.lowestOpen < state.nextTag && state.batches[state.lowestOpen & mask] === undefined) state.lowestOpen++;
    if (this.#waiting.length > 0) this.#pump();
  }

  #answer(state: ConfirmState, slot: number, accepted: boolean): void {
    const batch = state.batches[slot];
    if (batch === undefined) return;
    state.batches[slot] = undefined;
    if (batch.done) return;
    const finished = accepted ? batch.accept() : batch.fail(state.indexes[slot] as number, refused());
    if (finished) this.#live.delete(batch);
  }

  /**
   * A return names no delivery tag. It is the first unanswered mandatory message with the same address and content;
   * where two are equal in all of that, telling them apart is of no use to anybody.
   */
  #returned(
    state: ConfirmState,
    replyText: string,
    exchange: string,
    routingKey: string,
    message: IncomingMessage,
  ): void {
    const mask = state.batches.length - 1;
    for (let tag = state.lowestOpen; tag < state.nextTag; tag++) {
      const slot = tag & mask;
      const batch = state.batches[slot];
      if (batch === undefined) continue;
      const index = state.indexes[slot] as number;
      const sent = batch.publications[index] as Publication;
      if (sent.mandatory !== true || sent.exchange !== exchange || sent.routingKey !== routingKey) continue;
      if (sent.message.properties.correlationId !== message.properties.correlationId) continue;
      if (Buffer.compare(sent.message.body, message.body) !== 0) continue;
      // The confirm that follows finds the slot of an answered message.
      state.batches[slot] = undefined;
      const error = new UnroutableError(
        `No queue is bound to exchange "${exchange}" for routing key "${routingKey}" (${replyText}). Declare the queue and its binding first.`,
        { facts: { exchange, routingKey } },
      );
      if (batch.fail(index, error)) this.#live.delete(batch);
      return;
    }
  }

  /** The server closes a channel over one message (a missing exchange); what else was on its way is in doubt. */
  #channelClosed(state: ConfirmState): void {
    if (this.#link.lost !== undefined) return;
    if (this.#state === state) this.#state = undefined;
    const cause = state.channel.failure;
    const open: (readonly [batch: Batch, index: number])[] = [];
    const mask = state.batches.length - 1;
    for (let tag = state.lowestOpen; tag < state.nextTag; tag++) {
      const batch = state.batches[tag & mask];
      if (batch !== undefined && !batch.done) open.push([batch, state.indexes[tag & mask] as number]);
      state.batches[tag & mask] = undefined;
    }
    const code = replyCode(cause);
    const guilty = code === NOT_FOUND || code === ACCESS_REFUSED ? guiltyExchange(open, cause as Error) : undefined;
    for (const [batch, index] of open) {
      const { exchange } = batch.publications[index] as Publication;
      const error =
        exchange === guilty
          ? requestError(cause, `publish to the exchange "${exchange}"`, { exchange })
          : inDoubt(cause);
      if (batch.fail(index, error)) this.#live.delete(batch);
    }
    this.#pump();
  }

  readonly #checkDeadlines = (): void => {
    if (this.#live.size === 0) {
      clearInterval(this.#timer);
      this.#timer = undefined;
      return;
    }
    const { publishTimeoutMs, blockedTimeoutMs } = this.#link.settings;
    const now = performance.now();
    const { blockedSince } = this.#link;
    for (const batch of this.#live) {
      if (blockedSince !== undefined && now - Math.max(batch.startedAt, blockedSince) >= blockedTimeoutMs) {
        this.#abandon(
          batch,
          new BrokerBlockedError(
            `RabbitMQ has taken no messages for ${blockedTimeoutMs} ms: a memory or disk alarm. See "rabbitmqctl status".`,
          ),
        );
      } else if (now - batch.startedAt >= publishTimeoutMs) {
        this.#abandon(
          batch,
          new TimeoutError(`RabbitMQ did not confirm a message within ${publishTimeoutMs} ms; it may own it or not.`),
        );
      } else if (blockedSince === undefined) {
        // Later calls are not late either.
        break;
      }
    }
    this.#dropAbandoned();
  };

  #abandon(batch: Batch, error: LovageError): void {
    this.#live.delete(batch);
    const indexes = allFrom(batch.publications, batch.next);
    const state = this.#state;
    if (state !== undefined && batch.next > 0) {
      const mask = state.batches.length - 1;
      // The slots stay taken until their confirms come: the window is the broker's load, not ours.
      for (let tag = state.lowestOpen; tag < state.nextTag; tag++) {
        if (state.batches[tag & mask] === batch) indexes.push(state.indexes[tag & mask] as number);
      }
    }
    batch.abandon(indexes, error);
  }

  #dropAbandoned(): void {
    if (this.#waiting.some(({ done }) => done)) this.#waiting = this.#waiting.filter(({ done }) => !done);
  }

  #failAll(error: LovageError): void {
    this.#waiting = [];
    for (const batch of this.#live) this.#abandon(batch, error);
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

function allFrom(publications: readonly Publication[], first: number): number[] {
  return Array.from({ length: publications.length - first }, (_, offset) => first + offset);
}

function guiltyExchange(open: readonly (readonly [Batch, number])[], cause: Error): string | undefined {
  const exchanges = new Set(open.map(([batch, index]) => (batch.publications[index] as Publication).exchange));
  if (exchanges.size === 1) return [...exchanges][0];
  // Several candidates: only the text tells which.
  return [...exchanges].find((exchange) => cause.message.includes(`'${exchange === '' ? 'amq.default' : exchange}'`));
}

function inDoubt(cause: unknown): LovageError {
  const reason = cause instanceof Error ? cause.message : 'no reason was given';
  return new ConnectionLostError(
    `The channel was closed before RabbitMQ confirmed this message; it may own it or not: ${reason}`,
    { cause },
  );
}

function refused(): LovageError {
  return new LovageError(
    'ERR_PUBLISH',
    'RabbitMQ refused a message: the queue is full and says "reject-publish", or it failed to store it.',
  );
}

function tooLarge(size: number, limit: number): LovageError {
  return new MessageTooLargeError(
    `A message of ${size} bytes is larger than ${limit}. See the transport option "maxMessageBytes".`,
  );
}
