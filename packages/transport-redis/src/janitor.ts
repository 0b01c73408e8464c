import { randomUUID } from 'node:crypto';
import { type Logger, matchesTopic, priorityOf, type StoredBinding } from '@lovage/core/transport';
import type { RedisLink } from '@lovage/redis';
import type { Keys } from './keys.ts';
import type { DriverSettings } from './options.ts';
import { RELEASE_MUTEX, REQUEUE, RESTORE_FOREIGN, SWEEP } from './scripts.ts';

/** A lease that ends is noticed after at most so long. */
const LONGEST_PAUSE_MS = 1500;
/** Nothing is looked at before this, however short a lease. */
const SHORTEST_PAUSE_MS = 50;
const MOST_PER_SWEEP = 500;

/** `consumer:number:deliveries:step`, as the pull script makes them. */
const OWN_TAG = /^[\w-]{16}:\d+:\d+:\d+$/;
/** The end of a record that Python wrote: `, "exchange", "routing key"]`. */
const RECORD_END = /,\s*("(?:[^"\\]|\\.)*")\s*,\s*("(?:[^"\\]|\\.)*")\s*\]$/;

/**
 * Gives back what dead consumers hold: Lovage's when their lease has ended, Python's as Kombu does it, when they are older
 * than the visibility timeout, under Kombu's mutex.
 */
export class Janitor {
  readonly #link: RedisLink;
  readonly #keys: Keys;
  readonly #settings: DriverSettings;
  readonly #consumer: string;
  readonly #logger: Logger;
  readonly #onRestored: () => void;
  readonly #unroutable = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #isStopped = false;
  /** Server time of the last look; 0 before the first. */
  #serverMs = 0;
  #pauseMs = 0;
  #lookedForOldAt = Number.NEGATIVE_INFINITY;

  constructor(
    link: RedisLink,
    keys: Keys,
    settings: DriverSettings,
    consumer: string,
    logger: Logger,
    onRestored: () => void,
  ) {
    this.#link = link;
    this.#keys = keys;
    this.#settings = settings;
    this.#consumer = consumer;
    this.#logger = logger;
    this.#onRestored = onRestored;
  }

  /** Looks now and from now on. Twice is fine. */
  start(): void {
    if (this.#timer !== undefined || this.#isStopped) return;
    this.#plan(0);
  }

  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  #plan(ms: number): void {
    if (this.#isStopped) return;
    this.#pauseMs = ms;
    this.#timer = setTimeout(() => void this.#look(), ms);
    this.#timer.unref();
  }

  async #look(): Promise<void> {
    let pauseMs = LONGEST_PAUSE_MS;
    try {
      pauseMs = await this.#sweep();
    } catch (error) {
      if (this.#isStopped || this.#link.isLost) return;
      this.#logger.warn({ err: error }, 'the search for messages of dead workers failed; will try again');
    }
    this.#plan(pauseMs);
  }

  /** Milliseconds until the next look. */
  async #sweep(): Promise<number> {
    const { unacked, unackedIndex, leases, prefix, separator } = this.#keys;
    const reply = (await SWEEP.run(this.#link, 3, [
      unacked,
      unackedIndex,
      leases,
      prefix,
      separator,
      this.#consumer,
      MOST_PER_SWEEP,
      this.#serverMs,
      this.#pauseMs + this.#settings.leaseMs / 2 + 1000,
      this.#settings.visibilityTimeoutMs,
    ])) as readonly [number, number, number, number];
    const [nowMs, restored, leftMs, hasOld] = reply;
    this.#serverMs = nowMs;
    if (restored > 0) {
      this.#onRestored();
      this.#logger.warn({ messages: restored }, 'messages of dead workers were given back to their queues');
    }
    if (hasOld === 1 && nowMs - this.#lookedForOldAt >= this.#settings.unackedRestoreIntervalMs) {
      this.#lookedForOldAt = nowMs;
      await this.#restoreOld(nowMs);
    }
    if (restored >= MOST_PER_SWEEP) return 0;
    return Math.max(SHORTEST_PAUSE_MS, Math.min(LONGEST_PAUSE_MS, leftMs < 0 ? LONGEST_PAUSE_MS : leftMs + 20));
  }

  /** Source: kombu/transport/redis.py, QoS.restore_visible. Newest first, so that the oldest is served next. */
  async #restoreOld(nowMs: number): Promise<void> {
    const { unackedMutex, unackedIndex } = this.#keys;
    const token = randomUUID();
    const { unackedMutexExpireMs, unackedRestoreLimit, visibilityTimeoutMs } = this.#settings;
    const taken = await this.#link.text('set', [unackedMutex, token, 'nx', 'px', unackedMutexExpireMs]);
    if (taken !== 'OK') return;
    try {
      const range = [String((nowMs - visibilityTimeoutMs) / 1000), '0'];
      const limit = unackedRestoreLimit === undefined ? [] : ['LIMIT', 0, unackedRestoreLimit];
      const tags = (await this.#link.text('zrevrangebyscore', [unackedIndex, ...range, ...limit])) as readonly string[];
      let restored = 0;
      for (const tag of tags) if (await this.#restore(tag)) restored++;
      if (restored > 0) {
        this.#onRestored();
        this.#logger.warn(
          { messages: restored },
          'messages older than the visibility timeout were given back to their queues',
        );
      }
    } finally {
      await RELEASE_MUTEX.run(this.#link, 1, [unackedMutex, token]).catch(() => undefined);
    }
  }

  async #restore(tag: string): Promise<boolean> {
    const { unacked, unackedIndex, prefix, separator } = this.#keys;
    if (OWN_TAG.test(tag)) {
      await REQUEUE.run(this.#link, 2, [unacked, unackedIndex, prefix, separator, tag]);
      return true;
    }
    const record = (await this.#link.bytes('hget', [unacked, tag])) as Buffer | null;
    if (record === null) {
      await this.#link.text('zrem', [unackedIndex, tag]);
      return false;
    }
    const lists = await this.#listsFor(record.toString());
    if (lists === undefined || lists.length === 0) {
      if (!this.#unroutable.has(tag)) {
        this.#unroutable.add(tag);
        this.#logger.error(
          { deliveryTag: tag },
          'an unacked message leads to no queue any more; it stays in the unacked hash',
        );
      }
      return false;
    }
    const ending = RECORD_END.exec(record.toString('latin1'))?.[0].length ?? 0;
    const keys = [unacked, unackedIndex, ...lists];
    return (await RESTORE_FOREIGN.run(this.#link, keys.length, [...keys, tag, record, ending])) === 1;
  }

  async #listsFor(record: string): Promise<readonly string[] | undefined> {
    const parsed = parseRecord(record);
    if (parsed === undefined) return undefined;
    const { exchange, routingKey, priority } = parsed;
    const queues = exchange === '' ? [routingKey] : await this.#route(exchange, routingKey);
    return queues.map((queue) => this.#keys.list(queue, this.#keys.stepIndex(priority)));
  }

  async #route(exchange: string, routingKey: string): Promise<readonly string[]> {
    const members = (await this.#link.text('smembers', [this.#keys.bindings(exchange)])) as readonly string[];
    const bindings = members
      .map((member) => this.#keys.parseBinding(member))
      .filter((binding) => binding !== undefined);
    return [...new Set(bindings.filter((binding) => isBound(binding, routingKey)).map(({ queue }) => queue))];
  }
}

function isBound(binding: StoredBinding, routingKey: string): boolean {
  return binding.pattern === '' ? binding.routingKey === routingKey : matchesTopic(binding.routingKey, routingKey);
}

function parseRecord(record: string): { exchange: string; routingKey: string; priority: number } | undefined {
  try {
    const [envelope, exchange, routingKey] = JSON.parse(record) as readonly unknown[];
    if (typeof exchange !== 'string' || typeof routingKey !== 'string' || !RECORD_END.test(record)) return undefined;
    const priority = (envelope as { properties?: { priority?: unknown } } | null)?.properties?.priority;
    return { exchange, routingKey, priority: typeof priority === 'number' ? priorityOf({ priority }) : 0 };
  } catch {
    return undefined;
  }
}
