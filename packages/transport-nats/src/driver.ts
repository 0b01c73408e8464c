import {
  type Broadcast,
  type Capabilities,
  isLovageError,
  type LeaseRenewal,
  type LovageError,
  NotFoundError,
  PublishError,
  type PublishFailure,
  type Pulled,
  type PullRequest,
  type Queue,
  type QueueDriver,
  type QueueEntry,
  type ReceiptSettlement,
  TimeoutError,
  UnsupportedError,
} from '@lovage/core/transport';
import { type ApiFailure, fromApiFailure, type NatsLink, type Question, Window } from '@lovage/nats';
import { headers, type Msg, type MsgHdrs } from '@nats-io/transport-node';
import type { Bindings } from './bindings.ts';
import { type Fetched, fetchNext, fetchReady, isMessage, SourceGoneError } from './fetch.ts';
import { delaySubject, fanoutSubject } from './names.ts';
import type { NatsSettings } from './options.ts';
import { payloadOf } from './payload.ts';
import type { OpenQueue, Source, Streams } from './streams.ts';

/** Unconfirmed publishes at once; the server keeps 10,000 or 128 MiB of one stream waiting, and refuses beyond. */
const WINDOW_MESSAGES = 4000;
const WINDOW_BYTES = 32 * 1024 * 1024;
const MOST_PER_FETCH = 256;
const MOST_PER_PURGE = 500;
const SETTLE_MS = 4000;
const CLOSE_MS = 500;

const ACK = '+ACK';
const NAK = '-NAK';
export const IN_PROGRESS = '+WPI';

/** A message that this driver holds: where to acknowledge it, and since when it is surely ours. */
export class NatsReceipt {
  readonly source: Source;
  readonly ackSubject: string;
  renewedAt: number;

  constructor(source: Source, ackSubject: string, now: number) {
    this.source = source;
    this.ackSubject = ackSubject;
    this.renewedAt = now;
  }

  /** The server may have given it to somebody else. */
  isExpired(now: number): boolean {
    return now - this.renewedAt > this.source.ackWaitMs;
  }
}

/** Queues as work queue streams of JetStream, with one durable pull consumer that all workers share. */
export class NatsDriver implements QueueDriver<NatsReceipt> {
  readonly capabilities: Capabilities;
  readonly lost: Promise<never>;
  readonly broadcast: Broadcast;
  /** undefined: the server is too old; bindings are known to this process alone. */
  readonly bindings?: Bindings;
  readonly #link: NatsLink;
  readonly #streams: Streams;
  readonly #settings: NatsSettings;
  readonly #window = new Window(WINDOW_MESSAGES, WINDOW_BYTES);
  readonly #givenBack = new Map<string, GivenBack>();

  constructor(
    link: NatsLink,
    settings: NatsSettings,
    streams: Streams,
    bindings: Bindings | undefined,
    capabilities: Capabilities,
  ) {
    this.#link = link;
    this.#streams = streams;
    this.#settings = settings;
    this.capabilities = capabilities;
    this.lost = link.lost;
    if (bindings !== undefined) this.bindings = bindings;
    this.broadcast = {
      publish: async (exchange, _, payload) => link.send(fanoutSubject(exchange), payload),
      subscribe: async (exchange, _, listener) => {
        const subscription = link.connection.subscribe(fanoutSubject(exchange), {
          callback: (error, message) => {
            if (error === null) listener(payloadOf(message), '');
            else link.fail(error);
          },
        });
        // The server has seen the subscription when it answers what was sent after it.
        await link.connection.flush();
        return { unsubscribe: async () => subscription.unsubscribe() };
      },
    };
  }

  ensureQueue(queue: Queue): Promise<void> {
    return this.#streams.declare(queue);
  }

  removeQueue(name: string): Promise<void> {
    return this.#streams.remove(name);
  }

  async push(entries: readonly QueueEntry[]): Promise<void> {
    const failures = new Map<number, LovageError>();
    const gone = await this.#pushAll(entries, [...entries.keys()], failures);
    // Somebody removed the stream since it was last looked at: made again, and sent again, once.
    if (gone.length > 0) {
      for (const index of gone) this.#streams.forget((entries[index] as QueueEntry).queue);
      for (const index of await this.#pushAll(entries, gone, failures)) {
        failures.set(index, new NotFoundError(`No stream takes the messages of "${entries[index]?.queue}".`));
      }
    }
    if (failures.size === 0) return;
    const list: PublishFailure[] = [...failures].map(([index, error]) => ({ index, error }));
    throw new PublishError(
      list.sort((a, b) => a.index - b.index),
      entries.length,
    );
  }

  async pull({ queues, max, waitMs, signal }: PullRequest): Promise<readonly Pulled<NatsReceipt>[]> {
    const perQueue = await Promise.all(queues.map((queue) => this.#streams.sources(queue)));
    // The most urgent of every queue first; among equals the order of the queues.
    const sources = perQueue.flat().sort((a, b) => b.step - a.step);
    const fetched: Fetched[] = [];
    // What is ready is delivered after it is asked for, and that long ago at most.
    let deliveredAt = performance.now();
    try {
      for (const source of sources) {
        if (signal.aborted || fetched.length >= max) break;
        fetched.push(...(await fetchReady(this.#link, source, Math.min(MOST_PER_FETCH, max - fetched.length))));
      }
      if (fetched.length === 0 && waitMs > 0 && !signal.aborted) {
        fetched.push(...(await fetchNext(this.#link, sources, waitMs, signal)));
        deliveredAt = performance.now();
      }
    } catch (error) {
      if (isLovageError(error, 'ERR_CONNECTION_LOST')) throw error;
      if (error instanceof SourceGoneError) this.#streams.forget(error.source.queue);
      // What was taken before it is ours.
      if (fetched.length === 0) {
        if (!(error instanceof SourceGoneError)) throw error;
        throw new TimeoutError(`The queue "${error.source.queue}" is not there any more, or has no leader.`, {
          cause: error,
        });
      }
    }
    for (const { message } of fetched.splice(max)) this.#link.send(message.reply as string, NAK);
    return fetched.map(({ source, message }) => {
      const ackSubject = message.reply as string;
      const { deliveries, delivery } = readAckSubject(ackSubject);
      this.#givenBackTo(source.consumer).after(delivery);
      const receipt = new NatsReceipt(source, ackSubject, deliveredAt);
      return { queue: source.queue, payload: payloadOf(message), receipt, deliveryCount: deliveries };
    });
  }

  async settle(settlements: readonly ReceiptSettlement<NatsReceipt>[]): Promise<void> {
    const now = performance.now();
    const questions: Question[] = [];
    const requeued: NatsReceipt[] = [];
    for (const { receipt, outcome } of settlements) {
      // Somebody else may have it by now, and the server would take our word for theirs.
      if (receipt.isExpired(now)) continue;
      questions.push({ subject: receipt.ackSubject, payload: outcome === 'ack' ? ACK : NAK });
      if (outcome === 'requeue') requeued.push(receipt);
    }
    if (questions.length === 0) return;
    for (const { source } of requeued) this.#givenBackTo(source.consumer).add();
    for (const answer of await this.#link.askAll(questions, SETTLE_MS)) {
      if (isLovageError(answer)) throw answer;
    }
  }

  keptForm({ ackSubject }: NatsReceipt): string {
    return ackSubject;
  }

  leaseKept({ receipts, forms, askedAt, answeredAt }: LeaseRenewal<NatsReceipt>): void {
    for (const [index, receipt] of receipts.entries()) {
      // As in `extendLease`: only an answer within the lease says that the message was still ours.
      if (forms?.[index] !== null && !receipt.isExpired(answeredAt)) receipt.renewedAt = askedAt;
    }
  }

  async extendLease(receipts: readonly NatsReceipt[]): Promise<readonly NatsReceipt[]> {
    const askedAt = performance.now();
    const answers = await this.#link.askAll(
      receipts.map(({ ackSubject }) => ({ subject: ackSubject, payload: IN_PROGRESS })),
      this.#settings.leaseMs,
    );
    const now = performance.now();
    const gone: NatsReceipt[] = [];
    let failure: LovageError | undefined;
    for (const [index, receipt] of receipts.entries()) {
      const answer = answers[index] as Msg | LovageError;
      if (isLovageError(answer)) failure = answer;
      // The server answers whoever asks: only that it answered within the lease says that the message was still ours.
      else if (isUnanswered(answer) || receipt.isExpired(now)) gone.push(receipt);
      else receipt.renewedAt = askedAt;
    }
    if (failure !== undefined && gone.length === 0) throw failure;
    return gone;
  }

  async size(queue: string): Promise<number> {
    const stream = await this.#streams.find(queue);
    if (stream === undefined) throw new NotFoundError(`There is no queue "${queue}".`, { facts: { queue } });
    const consumers = await this.#streams.consumersOf(queue, stream);
    const held = consumers.reduce((sum, { name, num_ack_pending, delivered }) => {
      // What was given back still counts as pending for the server, until it is delivered again.
      return sum + num_ack_pending - this.#givenBackTo(name).after(delivered.consumer_seq);
    }, 0);
    return Math.max(0, stream.state.messages - held);
  }

  async purge(queue: string): Promise<number> {
    const stream = await this.#streams.find(queue);
    if (stream === undefined || stream.state.messages === 0) return 0;
    const consumers = await this.#streams.consumersOf(queue, stream);
    // Purging a stream takes what is held too.
    if (consumers.every(({ num_ack_pending }) => num_ack_pending === 0)) return this.#streams.purge(queue);
    let purged = await this.#streams.purge(queue, delaySubject(queue, '*', this.#settings.subjectPrefix));
    for (const source of await this.#streams.sources(queue)) {
      while (purged < stream.state.messages) {
        const fetched = await fetchReady(this.#link, source, MOST_PER_PURGE);
        const acks = fetched.map(({ message }) => ({ subject: message.reply as string, payload: ACK }));
        for (const answer of await this.#link.askAll(acks, SETTLE_MS)) if (isLovageError(answer)) throw answer;
        purged += fetched.length;
        if (fetched.length < MOST_PER_PURGE) break;
      }
    }
    return purged;
  }

  async close(): Promise<void> {
    this.bindings?.close();
    if (this.#link.loss === undefined) {
      const timer = new Promise<void>((resolve) => {
        setTimeout(resolve, CLOSE_MS).unref();
      });
      await Promise.race([this.#link.connection.flush().catch(() => undefined), timer]);
    }
    await this.#link.close();
  }

  /** Publishes those of `indexes`; gives back those whose stream is not there. */
  async #pushAll(
    entries: readonly QueueEntry[],
    indexes: readonly number[],
    failures: Map<number, LovageError>,
  ): Promise<readonly number[]> {
    const queues = new Map<string, OpenQueue | LovageError>();
    await Promise.all(
      [...new Set(indexes.map((index) => (entries[index] as QueueEntry).queue))].map(async (name) => {
        try {
          queues.set(name, await this.#streams.open(name));
        } catch (error) {
          if (!isLovageError(error) || isLovageError(error, 'ERR_CONNECTION_LOST')) throw error;
          queues.set(name, error);
        }
      }),
    );
    const sent: number[] = [];
    const questions: Question[] = [];
    let bytes = 0;
    for (const index of indexes) {
      const entry = entries[index] as QueueEntry;
      const queue = queues.get(entry.queue) as OpenQueue | LovageError;
      const question = isLovageError(queue) ? queue : this.#question(entry, queue);
      if (isLovageError(question)) {
        failures.set(index, question);
        continue;
      }
      sent.push(index);
      questions.push(question);
      bytes += entry.payload.length;
    }
    if (sent.length === 0) return [];
    await this.#window.enter(sent.length, bytes);
    let answers: readonly (Msg | LovageError)[];
    try {
      answers = await this.#link.askAll(questions, this.#settings.publishTimeoutMs);
    } finally {
      this.#window.leave(sent.length, bytes);
    }
    const gone: number[] = [];
    for (const [at, index] of sent.entries()) {
      const answer = answers[at] as Msg | LovageError;
      if (isLovageError(answer)) failures.set(index, answer);
      else if (isUnanswered(answer)) gone.push(index);
      else {
        const failure = failureIn(answer, (entries[index] as QueueEntry).queue);
        if (failure !== undefined) failures.set(index, failure);
      }
    }
    return gone;
  }

  #question({ queue, payload, deliveryTag, priority, delayMs }: QueueEntry, open: OpenQueue): Question | LovageError {
    const { subjectPrefix } = this.#settings;
    const subject = this.#streams.subjectOf(queue, open.hasPriorities ? this.#stepOf(priority) : 0);
    if (delayMs <= 0) return { subject, payload };
    if (!open.canDelay) {
      return new UnsupportedError(
        `The stream "${open.stream}" cannot delay messages: it was made without "allow_msg_schedules", or has limits.`,
        { facts: { queue } },
      );
    }
    return { subject: delaySubject(queue, deliveryTag, subjectPrefix), payload, headers: schedule(delayMs, subject) };
  }

  #stepOf(priority: number): number {
    return this.#settings.prioritySteps.findLast((step) => step <= priority) ?? 0;
  }

  #givenBackTo(consumer: string): GivenBack {
    let givenBack = this.#givenBack.get(consumer);
    if (givenBack === undefined) this.#givenBack.set(consumer, (givenBack = new GivenBack()));
    return givenBack;
  }
}

/**
 * How many messages this driver gave back to one consumer, and nobody fetched since. The server delivers those first, and
 * numbers deliveries through.
 */
class GivenBack {
  #count = 0;
  #lastDelivery = 0;

  add(): void {
    this.#count++;
  }

  /** How many are left, now that deliveries have come so far. */
  after(delivery: number): number {
    if (delivery > this.#lastDelivery) {
      this.#count = Math.max(0, this.#count - (delivery - this.#lastDelivery));
      this.#lastDelivery = delivery;
    }
    return this.#count;
  }
}

/** Source: ADR-51 of nats-architecture-and-design. The server takes the headers off when it is due. */
function schedule(delayMs: number, subject: string): MsgHdrs {
  const all = headers();
  all.set('Nats-Schedule', `@at ${new Date(Date.now() + delayMs).toISOString()}`);
  all.set('Nats-Schedule-Target', subject);
  return all;
}

/** Nobody listens there: the stream or the consumer is gone. */
export function isUnanswered(reply: Msg): boolean {
  return reply.data.length === 0 && reply.headers?.code === 503 && !isMessage(reply);
}

function failureIn(reply: Msg, queue: string): LovageError | undefined {
  const text = reply.string();
  if (!text.includes('"error"')) return undefined;
  const { error } = JSON.parse(text) as { error?: ApiFailure };
  return error === undefined ? undefined : fromApiFailure(error, `The queue "${queue}"`);
}

/** How often the message was delivered, and the how many-th delivery of its consumer it is. Source: nats-server/server/consumer.go, ackReplyInfo. */
function readAckSubject(ackSubject: string): { readonly deliveries: number; readonly delivery: number } {
  const tokens = ackSubject.split('.');
  // Newer servers put domain and account before the stream, and may put more behind.
  const first = tokens.length > 9 ? 6 : 4;
  return { deliveries: Number(tokens[first]) || 1, delivery: Number(tokens[first + 2]) || 0 };
}
