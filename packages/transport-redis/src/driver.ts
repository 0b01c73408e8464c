import { randomBytes } from 'node:crypto';
import {
  type BindingStore,
  type Broadcast,
  type Capabilities,
  HerdBrake,
  isLovageError,
  type Logger,
  PublishError,
  type PublishFailure,
  type Pulled,
  type PullRequest,
  type QueueDriver,
  type QueueEntry,
  type ReceiptSettlement,
  type StoredBinding,
  WakeUps,
} from '@lovage/core/transport';
import { type Deferred, deferred, type RedisLink, replyCode } from '@lovage/redis';
import { Janitor } from './janitor.ts';
import type { Keys } from './keys.ts';
import type { DriverSettings } from './options.ts';
import { renewLeases } from './lease-keeper.ts';
import { DELAY, PULL, PURGE, REQUEUE } from './scripts.ts';
import { Subscriber } from './subscriber.ts';

/** One script takes at most so many: Redis serves nobody else meanwhile. */
const MOST_PER_PULL = 500;
/** A batch ends when it has so many bytes; the list being emptied may add 64 messages. */
const MOST_BYTES_PER_PULL = 4 * 1024 * 1024;
/** Tags in one command or script. */
const MOST_TAGS = 1000;
/** Messages of ours that a pull names at most, and from how many characters on they are worth naming. */
const MOST_SENT = 4;
const WORTH_NOTING = 1024;
/** Of a uuid, as `newDeliveryTag` gives. */
const TAG_CHARS = 36;
/** How long an ack waits for something to go along with. */
const ACK_MS = 1;
/** A hint that got lost costs at most so long. */
const SAFETY_POLL_MS = 2000;
/** Polling where Redis gives no hints: from the first to the second while nothing comes. */
const POLL_MS = [5, 250] as const;
/** What the pull script gives for the time to the next delayed message when it did not come to the end of the queues. */
const MORE = -2;
/** Ten years. */
const MAX_DELAY_MS = 315_360_000_000;
/** Redis takes no larger value (`proto-max-bulk-len`), and the record of a message holds it whole. */
const MAX_MESSAGE_BYTES = 511 * 1024 * 1024;
const CLOSE_MS = 500;

export interface RedisDriverOptions {
  readonly link: RedisLink;
  /** Opens the second connection, for hints and broadcasts. */
  readonly openSubscriber: () => Promise<RedisLink>;
  readonly keys: Keys;
  readonly settings: DriverSettings;
  readonly guarantee: string;
  readonly logger: Logger;
}

/** What the scripts are told of a set of queues, made once. */
interface Plan {
  /** The same for the same queues in any order. */
  readonly id: string;
  readonly queues: readonly string[];
  readonly keys: readonly string[];
  /** Behind the changing arguments. */
  readonly args: readonly (string | number)[];
}

/** Nothing was left in these queues when we looked last, and Redis tells when something comes. */
interface Emptied {
  readonly planId: string;
  /** Hints up to that look. */
  readonly seen: number;
  /** Of `performance.now()`: when it has to be looked again all the same. */
  readonly until: number;
}

/** A message of ours as it lies in a list. */
interface Sent {
  readonly tag: string;
  readonly payload: string;
  readonly bytes: number;
}

/** The tag under which a message is recorded. */
export type RedisReceipt = string;

/** Kombu's queues in Redis: lists per priority step, with records of what is unacked. */
export class RedisDriver implements QueueDriver<RedisReceipt> {
  readonly capabilities: Capabilities;
  readonly lost: Promise<never>;
  readonly bindings: BindingStore;
  readonly broadcast: Broadcast;
  readonly #link: RedisLink;
  readonly #keys: Keys;
  readonly #settings: DriverSettings;
  readonly #logger: Logger;
  /** Names this connection in tags and leases: 16 characters. */
  readonly #consumer: string = randomBytes(12).toString('base64url');
  readonly #subscriber: Subscriber;
  readonly #janitor: Janitor;
  readonly #wakeUps = new WakeUps();
  readonly #brake = new HerdBrake();
  readonly #plans = new Map<string, Plan>();
  #tracking: Promise<boolean> | undefined;
  #emptied: Emptied | undefined;
  #acks: { readonly tags: string[]; readonly done: Deferred<void>; readonly timer: NodeJS.Timeout } | undefined;
  /** The queues of the last pull. */
  #asked: readonly string[] = [];
  /** Sent a moment ago to queues that are pulled from: they need not come back whole. */
  #sent: readonly Sent[] = [];
  #nextNumber = 1;
  #serverMs: number | undefined;
  #isClosed = false;

  constructor({ link, openSubscriber, keys, settings, guarantee, logger }: RedisDriverOptions) {
    this.#link = link;
    this.#keys = keys;
    this.#settings = settings;
    this.#logger = logger;
    const loss = deferred<never>();
    this.lost = loss.promise;
    this.lost.catch(() => undefined);
    const lose = (error: unknown): void => {
      loss.reject(error);
      this.#janitor.stop();
      this.#wakeUps.notify();
    };
    link.lost.catch((error: unknown) => {
      lose(error);
      this.#subscriber.fail(error);
    });
    this.#subscriber = new Subscriber(
      async () => {
        const second = await openSubscriber();
        if (this.#isClosed || link.isLost) second.close();
        // One life for both: a driver that hears no hints would go on as if all were well.
        second.lost.catch((error: unknown) => {
          lose(error);
          link.fail(error);
        });
        return second;
      },
      keys,
      () => this.#wakeUps.notify(),
    );
    this.#janitor = new Janitor(link, keys, settings, this.#consumer, logger, () => this.#wakeUps.notify());
    this.capabilities = {
      fanout: true,
      priorityLevels: settings.prioritySteps.length,
      servesFirst: 'lowest',
      maxDelayMs: MAX_DELAY_MS,
      leaseMs: settings.leaseMs,
      maxMessageBytes: MAX_MESSAGE_BYTES,
      publishesWhileConsuming: true,
      guarantee,
    };
    this.bindings = {
      add: (exchange, binding) => this.#bind('sadd', exchange, binding),
      remove: (exchange, binding) => this.#bind('srem', exchange, binding),
      list: (exchange) => this.#listBindings(exchange),
    };
    this.broadcast = {
      publish: async (exchange, routingKey, payload) => {
        await link.text('publish', [keys.channel(exchange, routingKey), payload]);
      },
      subscribe: (exchange, routingKey, listener) => this.#subscriber.subscribe(exchange, routingKey, listener),
    };
  }

  /** A list exists as soon as something is pushed to it. */
  async ensureQueue(): Promise<void> {}

  async removeQueue(name: string): Promise<void> {
    await this.#link.text('del', [this.#keys.delayed(name), ...this.#keys.lists(name)]);
  }

  async push(entries: readonly QueueEntry[]): Promise<void> {
    const batches = new Map<
      string,
      { readonly args: (string | number)[]; readonly indexes: number[]; readonly isDelayed: boolean }
    >();
    for (let index = 0; index < entries.length; index++) {
      const { queue, payload, priority, delayMs } = entries[index] as QueueEntry;
      const step = this.#keys.stepIndex(priority);
      const isDelayed = delayMs > 0;
      const key = isDelayed ? this.#keys.delayed(queue) : this.#keys.list(queue, step);
      let batch = batches.get(key);
      if (batch === undefined) batches.set(key, (batch = { args: [key], indexes: [], isDelayed }));
      if (isDelayed) batch.args.push(Math.ceil(delayMs), step + payload);
      else batch.args.push(payload);
      batch.indexes.push(index);
    }
    this.#sendAcks();
    const failures: PublishFailure[] = [];
    const pushing = Promise.all(
      Array.from(batches.values(), async ({ args, indexes, isDelayed }) => {
        try {
          await (isDelayed ? DELAY.run(this.#link, 1, args) : this.#link.text('lpush', args));
        } catch (error) {
          if (
            !isLovageError(error) ||
            isLovageError(error, 'ERR_CONNECTION_LOST') ||
            isLovageError(error, 'ERR_CLOSED')
          )
            throw error;
          for (const index of indexes) failures.push({ index, error });
        }
      }),
    );
    // Redis tells nothing of what came over this link. Whoever waits for it looks along, in the same round trip.
    const own = entries.filter(({ queue }) => this.#asked.includes(queue));
    this.#noteSent(own);
    if (own.some(({ delayMs }) => delayMs <= 0)) this.#wakeUps.notify();
    await pushing;
    if (own.some(({ delayMs }) => delayMs > 0)) this.#wakeUps.notify();
    if (failures.length > 0)
      throw new PublishError(
        failures.sort((a, b) => a.index - b.index),
        entries.length,
      );
  }

  #noteSent(entries: readonly QueueEntry[]): void {
    for (const { payload, deliveryTag, delayMs } of entries.slice(-MOST_SENT)) {
      if (delayMs > 0 || payload.length < WORTH_NOTING || deliveryTag.length !== TAG_CHARS) continue;
      const sent = { tag: deliveryTag, payload, bytes: Buffer.byteLength(payload) };
      this.#sent = [...this.#sent.slice(1 - MOST_SENT), sent];
    }
  }

  async pull({ queues, max, waitMs, signal }: PullRequest): Promise<readonly Pulled<RedisReceipt>[]> {
    this.#janitor.start();
    this.#asked = queues;
    const plan = this.#plan(queues);
    const isTracking = waitMs > 0 && (await (this.#tracking ??= this.#track()));
    const deadline = performance.now() + waitMs;
    let pollMs: number = POLL_MS[0];
    for (let wasWoken = false; ; ) {
      if (signal.aborted) return [];
      let emptied = isTracking ? this.#takeEmptied(plan) : undefined;
      if (emptied === undefined) {
        const seen = this.#wakeUps.count;
        const { pulled, dueMs } = await this.#take(plan, Math.min(max, MOST_PER_PULL));
        const restMs = Math.min(isTracking ? SAFETY_POLL_MS : pollMs, dueMs < 0 ? Number.POSITIVE_INFINITY : dueMs + 1);
        emptied = { planId: plan.id, seen, until: performance.now() + restMs };
        if (pulled.length > 0) {
          this.#brake.hit();
          if (isTracking && dueMs !== MORE) this.#emptied = emptied;
          return pulled;
        }
        if (wasWoken) this.#brake.miss();
        pollMs = Math.min(POLL_MS[1], pollMs * 2);
      }
      const now = performance.now();
      if (now >= deadline) return [];
      await this.#wakeUps.sleep(emptied.seen, Math.min(deadline, emptied.until) - now, signal);
      if (this.#link.isLost) await this.lost;
      wasWoken = this.#wakeUps.count !== emptied.seen;
      const pauseMs = wasWoken ? this.#brake.pauseMs : 0;
      if (pauseMs >= 1) await this.#wakeUps.sleep(this.#wakeUps.count, pauseMs, signal);
    }
  }

  /** What the last look has found, if it still holds for these queues. It holds once: the next look is a real one. */
  #takeEmptied({ id }: Plan): Emptied | undefined {
    const emptied = this.#emptied;
    this.#emptied = undefined;
    return emptied?.planId === id && emptied.seen === this.#wakeUps.count ? emptied : undefined;
  }

  async settle(settlements: readonly ReceiptSettlement<RedisReceipt>[]): Promise<void> {
    const acks: string[] = [];
    const requeues: string[] = [];
    for (const { receipt, outcome } of settlements) (outcome === 'ack' ? acks : requeues).push(receipt);
    const { unacked, unackedIndex, prefix, separator } = this.#keys;
    const done: Promise<unknown>[] = [];
    if (acks.length > 0) done.push(this.#ackSoon(acks));
    for (const tags of chunks(requeues))
      done.push(REQUEUE.run(this.#link, 2, [unacked, unackedIndex, prefix, separator, ...tags]));
    await Promise.all(done);
    if (requeues.length > 0) this.#wakeUps.notify();
  }

  /** Nobody waits for an ack: it goes along with the next push or pull, or by itself a moment later. */
  #ackSoon(tags: readonly string[]): Promise<void> {
    const acks = (this.#acks ??= {
      tags: [],
      done: deferred<void>(),
      timer: setTimeout(() => this.#sendAcks(), ACK_MS),
    });
    acks.tags.push(...tags);
    return acks.done.promise;
  }

  #sendAcks(): void {
    const acks = this.#acks;
    if (acks === undefined) return;
    this.#acks = undefined;
    clearTimeout(acks.timer);
    const { unacked, unackedIndex } = this.#keys;
    // The record first: an index without a record is swept, a record without an index would stay for ever.
    const sent = chunks(acks.tags).flatMap((part) => [
      this.#link.text('hdel', [unacked, ...part]),
      this.#link.text('zrem', [unackedIndex, ...part]),
    ]);
    acks.done.resolve(Promise.all(sent).then(() => undefined));
  }

  readonly renewsByHolder = true;

  get leaseHolder(): string {
    return this.#consumer;
  }

  extendLease(receipts: readonly RedisReceipt[]): Promise<readonly RedisReceipt[]> {
    return renewLeases(this.#link, this.#keys, this.#consumer, this.#settings.leaseMs, receipts);
  }

  async size(queue: string): Promise<number> {
    const lengths = await Promise.all([
      this.#link.text('zcard', [this.#keys.delayed(queue)]),
      ...this.#keys.lists(queue).map((key) => this.#link.text('llen', [key])),
    ]);
    return lengths.reduce((sum: number, length) => sum + (length as number), 0);
  }

  async purge(queue: string): Promise<number> {
    const keys = [this.#keys.delayed(queue), ...this.#keys.lists(queue)];
    return (await PURGE.run(this.#link, keys.length, keys)) as number;
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#janitor.stop();
    this.#wakeUps.notify();
    this.#sendAcks();
    if (this.#serverMs !== undefined && !this.#link.isLost) {
      // What we still hold may go to somebody else at once.
      const ended = this.#link
        .text('zadd', [this.#keys.leases, 'xx', this.#serverMs, this.#consumer])
        .catch(() => undefined);
      const timer = deferred<void>();
      const timeout = setTimeout(timer.resolve, CLOSE_MS);
      await Promise.race([ended, timer.promise]);
      clearTimeout(timeout);
    }
    this.#link.close();
    await this.#subscriber.close();
  }

  async #take(
    { queues, keys, args }: Plan,
    max: number,
  ): Promise<{ readonly pulled: readonly Pulled<RedisReceipt>[]; readonly dueMs: number }> {
    this.#sendAcks();
    let number = this.#nextNumber;
    // Reserved before the answer is known: several takes may be under way.
    this.#nextNumber += max;
    const own = this.#sent;
    const sent = own.flatMap(({ tag, bytes }) => [tag, bytes]);
    const reply = (await PULL.run(this.#link, keys.length, [
      ...keys,
      max,
      number,
      ...args,
      ...sent,
    ])) as readonly unknown[];
    // Where nothing is left, somebody else has what did not come.
    const isOver = reply[1] !== MORE;
    const came = new Set<Sent>();
    const pulled: Pulled<RedisReceipt>[] = [];
    for (let at = 2; at < reply.length; ) {
      const list = reply[at++] as number;
      const queue = queues[list % queues.length] as string;
      const step = this.#settings.prioritySteps[Math.floor(list / queues.length)] as number;
      const end = at + 1 + (reply[at] as number) * 2;
      for (at++; at < end; at += 2) {
        const deliveryCount = reply[at + 1] as number;
        const receipt = `${this.#consumer}:${number++}:${deliveryCount}:${step}`;
        const text = reply[at] as Buffer | number;
        const known = typeof text === 'number' ? (own[text] as Sent) : undefined;
        if (known !== undefined) came.add(known);
        pulled.push({ queue, payload: known?.payload ?? (text as Buffer), receipt, deliveryCount });
      }
    }
    if (own.length > 0) {
      this.#sent = this.#sent.filter((one) => !came.has(one) && !(isOver && own.includes(one)));
    }
    if (pulled.length > 0) this.#serverMs = reply[0] as number;
    return { pulled, dueMs: reply[1] as number };
  }

  #plan(asked: readonly string[]): Plan {
    const { queueOrder, prioritySteps, leaseMs } = this.#settings;
    // The caller begins with another queue each time; the other strategies want a fixed order.
    const id = JSON.stringify(queueOrder === 'round_robin' ? asked : asked.toSorted());
    let plan = this.#plans.get(id);
    if (plan === undefined) {
      const queues = queueOrder === 'sorted' ? asked.toSorted() : [...asked];
      plan = {
        id: JSON.stringify(asked.toSorted()),
        queues,
        keys: [
          ...queues.map((queue) => this.#keys.delayed(queue)),
          ...prioritySteps.flatMap((_, step) => queues.map((queue) => this.#keys.list(queue, step))),
        ],
        args: [
          this.#consumer,
          leaseMs,
          queues.length,
          prioritySteps.length,
          MOST_BYTES_PER_PULL,
          this.#keys.unacked,
          this.#keys.unackedIndex,
          this.#keys.leases,
          ...prioritySteps,
          ...queues.map((queue) => `, "", ${JSON.stringify(queue)}]`),
        ],
      };
      if (this.#plans.size >= 100) this.#plans.clear();
      this.#plans.set(id, plan);
    }
    return plan;
  }

  async #track(): Promise<boolean> {
    try {
      await this.#subscriber.track(this.#link);
      return true;
    } catch (error) {
      if (!isLovageError(error) || replyCode(error.cause) === undefined) {
        this.#tracking = undefined;
        throw error;
      }
      this.#logger.warn(
        { err: error },
        'Redis gives no hints of new messages (CLIENT TRACKING, SUBSCRIBE); the queues are polled several times a second',
      );
      return false;
    }
  }

  async #bind(command: 'sadd' | 'srem', exchange: string, binding: StoredBinding): Promise<void> {
    const member = this.#keys.bindingMember(binding);
    await Promise.all([
      this.#link.text(command, [this.#keys.bindings(exchange), member]),
      this.#link.text(command, [this.#keys.permanentBindings(exchange), member]),
    ]);
  }

  async #listBindings(exchange: string): Promise<readonly StoredBinding[]> {
    const members = (await this.#link.text('smembers', [this.#keys.bindings(exchange)])) as readonly string[];
    return members.map((member) => this.#keys.parseBinding(member)).filter((binding) => binding !== undefined);
  }
}

function* chunksOf<T>(items: readonly T[], size: number): Iterable<readonly T[]> {
  if (items.length > 0 && items.length <= size) yield items;
  else for (let from = 0; from < items.length; from += size) yield items.slice(from, from + size);
}

function chunks(tags: readonly string[]): readonly (readonly string[])[] {
  return [...chunksOf(tags, MOST_TAGS)];
}
