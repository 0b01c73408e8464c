import type { MongoLink } from '@lovage/mongodb';
import {
  type BindingStore,
  type Broadcast,
  type Capabilities,
  HerdBrake,
  type Logger,
  type Pulled,
  type PullRequest,
  type Queue,
  type QueueDriver,
  type QueueEntry,
  type ReceiptSettlement,
  type StoredBinding,
  WakeUps,
} from '@lovage/core/transport';
import { Broadcasts } from './broadcasts.ts';
import { ChangeFeed } from './change-feed.ts';
import type { Layout } from './layout.ts';
import { Lease } from './lease.ts';
import { Messages, MISSED, type MongoReceipt } from './messages.ts';
import type { DriverSettings } from './options.ts';
import { QueueTtl, TemporaryQueues } from './queue-expiry.ts';
import { Routing } from './routing.ts';
import { Sweeper } from './sweeper.ts';

/** A hint that got lost costs at most so long. */
const SAFETY_POLL_MS = 5000;
/** Polling where there are no hints: from the first to the second while nothing comes. */
const POLL_MS = [5, 250] as const;
/** Delayed messages of other processes are looked for so often, at least. */
const DUE_MS = 1000;
/** Ten years. */
const MAX_DELAY_MS = 315_360_000_000;
/** What a document holds beside its payload. */
const OVERHEAD_BYTES = 64 * 1024;
const CLOSE_MS = 1000;

export interface MongoDriverOptions {
  readonly link: MongoLink;
  readonly layout: Layout;
  readonly settings: DriverSettings;
  readonly logger: Logger;
}

/** Kombu's queues in MongoDB, with leases. */
export class MongoDriver implements QueueDriver<MongoReceipt> {
  readonly capabilities: Capabilities;
  readonly lost: Promise<never>;
  readonly bindings: BindingStore;
  readonly broadcast: Broadcast;
  readonly #link: MongoLink;
  readonly #messages: Messages;
  readonly #lease: Lease;
  readonly #routing: Routing;
  readonly #broadcasts: Broadcasts;
  readonly #feed: ChangeFeed;
  readonly #sweeper: Sweeper;
  readonly #ttl: QueueTtl | undefined;
  readonly #temporary: TemporaryQueues;
  readonly #wakeUps = new WakeUps();
  readonly #brake = new HerdBrake();
  /** By the server's clock; Infinity: nothing is delayed, as far as we know. */
  #nextDueMs = 0;
  #lookedForDueAt = Number.NEGATIVE_INFINITY;

  constructor({ link, layout, settings, logger }: MongoDriverOptions) {
    this.#link = link;
    this.lost = link.lost;
    this.#messages = new Messages(link, layout);
    this.#lease = new Lease(link, layout, settings.leaseMs);
    this.#ttl = settings.ttl ? new QueueTtl(link, layout) : undefined;
    this.#temporary = new TemporaryQueues(link, layout);
    this.#routing = new Routing(link, layout, async (queue) => this.#ttl?.ofBinding(queue));
    this.#broadcasts = new Broadcasts(link, layout, settings.cappedQueueSize, logger);
    this.#feed = new ChangeFeed(link, layout, settings.changeStreams, () => this.#wakeUps.notify(), logger);
    this.#sweeper = new Sweeper({
      link,
      layout,
      messages: this.#messages,
      leaseMs: settings.leaseMs,
      logger,
      onRestored: () => this.#wakeUps.notify(),
      removeQueue: (name) => this.removeQueue(name),
      renewQueues: () => this.#temporary.renew((exchange, binding) => this.#routing.add(exchange, binding)),
    });
    link.lost.catch(() => {
      this.#stop();
      this.#wakeUps.notify();
    });
    this.capabilities = {
      fanout: true,
      priorityLevels: 10,
      servesFirst: 'highest',
      maxDelayMs: MAX_DELAY_MS,
      leaseMs: settings.leaseMs,
      maxMessageBytes: link.maxDocumentBytes - OVERHEAD_BYTES,
      guarantee: guaranteeOf(link),
    };
    this.bindings = {
      add: (exchange, binding) => this.#bind(exchange, binding),
      remove: (exchange, binding) => this.#unbind(exchange, binding),
      list: (exchange) => this.#routing.list(exchange),
    };
    this.broadcast = this.#broadcasts;
  }

  /** A queue exists as soon as a message names it; only what shall go away is written down. */
  async ensureQueue(queue: Queue): Promise<void> {
    const [, isTemporary] = await Promise.all([this.#ttl?.declare(queue), this.#temporary.declare(queue)]);
    if (isTemporary) this.#sweeper.start();
  }

  async removeQueue(name: string): Promise<void> {
    await Promise.all([
      this.#messages.remove(name),
      this.#routing.removeQueue(name),
      this.#temporary.removed(name),
      this.#ttl?.remove(name),
    ]);
  }

  async push(entries: readonly QueueEntry[]): Promise<void> {
    await this.#messages.insert(entries, await this.#ttl?.ofMessages(entries));
    const now = this.#link.serverMs;
    for (const { delayMs } of entries)
      if (delayMs > 0) this.#nextDueMs = Math.min(this.#nextDueMs, Math.floor(now + delayMs));
    this.#wakeUps.notify();
  }

  async pull({ queues, max, waitMs, signal }: PullRequest): Promise<readonly Pulled<MongoReceipt>[]> {
    this.#sweeper.start();
    await this.#ttl?.renew(queues);
    const deadline = performance.now() + waitMs;
    let pollMs: number = POLL_MS[0];
    for (let wasWoken = false; ; ) {
      if (signal.aborted) return [];
      const seen = this.#wakeUps.count;
      await this.#promoteDue(queues);
      const pulled = await this.#take(queues, max, signal);
      if (pulled.length > 0) {
        this.#brake.hit();
        return pulled;
      }
      if (wasWoken) {
        this.#brake.miss();
        // The hint may have been for a delayed message.
        this.#lookedForDueAt = Number.NEGATIVE_INFINITY;
        await this.#promoteDue(queues);
      }
      const leftMs = deadline - performance.now();
      if (leftMs <= 0 || signal.aborted) return [];
      const feed = await this.#feed.arm(queues);
      if (feed === 'opened') continue;
      const sleepMs = Math.min(
        leftMs,
        feed === 'live' ? SAFETY_POLL_MS : pollMs,
        Math.max(1, Math.ceil(this.#nextDueMs - this.#link.serverMs)),
      );
      pollMs = Math.min(POLL_MS[1], pollMs * 2);
      await this.#wakeUps.sleep(seen, sleepMs, signal);
      if (this.#link.isLost) await this.lost;
      wasWoken = this.#wakeUps.count !== seen;
      const pauseMs = wasWoken ? this.#brake.pauseMs : 0;
      if (pauseMs >= 1) await this.#wakeUps.sleep(this.#wakeUps.count, pauseMs, signal);
    }
  }

  async #take(queues: readonly string[], max: number, signal: AbortSignal): Promise<readonly Pulled<MongoReceipt>[]> {
    for (;;) {
      const owner = await this.#lease.hold();
      if (signal.aborted) return [];
      const taken = await this.#messages.take(queues, max, owner, signal);
      if (taken === MISSED) {
        this.#brake.miss();
        if (this.#brake.pauseMs >= 1) return [];
        continue;
      }
      // While it was under way others may have found our lease ended; then it is theirs, or will be.
      if (taken.length > 0 && !this.#lease.isValid(owner) && !(await this.#renewTaken())) {
        await this.#messages.release(owner);
        continue;
      }
      return taken.map(({ queue, payload, receipt }) => ({
        queue,
        payload,
        receipt,
        deliveryCount: receipt.deliveries,
      }));
    }
  }

  /** What was taken is lost from sight where this fails: it comes back when our lease ends, and that ends with the link. */
  async #renewTaken(): Promise<boolean> {
    try {
      return await this.#lease.renew();
    } catch (error) {
      this.#link.fail(error);
      throw error;
    }
  }

  async #promoteDue(queues: readonly string[]): Promise<void> {
    const now = performance.now();
    if (this.#link.serverMs < this.#nextDueMs && now - this.#lookedForDueAt < DUE_MS) return;
    this.#lookedForDueAt = now;
    for (;;) {
      const due = await this.#messages.nextDue(queues);
      this.#nextDueMs = due ?? Number.POSITIVE_INFINITY;
      const serverNow = this.#link.serverMs;
      if (due === undefined || due > serverNow) return;
      await this.#messages.promote(queues, serverNow);
    }
  }

  async settle(settlements: readonly ReceiptSettlement<MongoReceipt>[]): Promise<void> {
    await this.#messages.settle(settlements);
    if (settlements.some(({ outcome }) => outcome === 'requeue')) this.#wakeUps.notify();
  }

  readonly renewsByHolder = true;

  get leaseHolder(): string | undefined {
    return this.#lease.owner;
  }

  async extendLease(receipts: readonly MongoReceipt[]): Promise<readonly MongoReceipt[]> {
    const isAlive = await this.#lease.renew();
    const { owner } = this.#lease;
    return receipts.filter((receipt) => !isAlive || receipt.owner !== owner);
  }

  size(queue: string): Promise<number> {
    return this.#messages.size(queue);
  }

  purge(queue: string): Promise<number> {
    return this.#messages.purge(queue);
  }

  async close(): Promise<void> {
    this.#stop();
    this.#wakeUps.notify();
    if (!this.#link.isLost) {
      const ended = this.#lease.end((owner) => this.#messages.holdsAny(owner)).catch(() => undefined);
      await Promise.race([
        ended,
        new Promise<void>((resolve) => {
          setTimeout(resolve, CLOSE_MS).unref();
        }),
      ]);
    }
    await this.#link.close();
  }

  #stop(): void {
    this.#sweeper.stop();
    this.#feed.stop();
    this.#broadcasts.stop();
  }

  async #bind(exchange: string, binding: StoredBinding): Promise<void> {
    this.#temporary.bound(exchange, binding);
    await this.#routing.add(exchange, binding);
  }

  async #unbind(exchange: string, binding: StoredBinding): Promise<void> {
    this.#temporary.unbound(exchange, binding);
    await this.#routing.remove(exchange, binding);
  }
}

function guaranteeOf({ replication }: MongoLink): string {
  if (replication === undefined)
    return 'mongodb, one server without replicas: a confirmed publish is in its journal (j: true)';
  const where = replication === 'mongos' ? 'sharded' : `replica set "${replication}"`;
  return `mongodb, ${where}: a confirmed publish is in the journals of a majority (w: majority, j: true)`;
}
