import { randomBytes } from 'node:crypto';
import type { BeanstalkLink } from './link.ts';
import type { Producer } from './producer.ts';
import { readStats, type Reply } from './replies.ts';

/** So many reserves go out together at most; beyond, the next round takes the rest. */
const MOST_AT_ONCE = 64;
/** The longest wait of one reserve. A wake-up ends it sooner, unless the server takes no jobs just then. */
const LONGEST_WAIT_SECONDS = 4;
export const WAKE_TUBE_PREFIX = 'lovage.wake.';

export interface Job {
  readonly id: string;
  readonly body: Buffer;
  readonly tube: string;
  readonly priority: string;
  readonly ttrMs: number;
  /** How often it was reserved, this time included. */
  readonly reserves: number;
  /** It was reserved no earlier: milliseconds of `performance.now()`. */
  readonly reservedAt: number;
}

export interface TakerOptions {
  readonly link: BeanstalkLink;
  readonly producer: Producer;
  readonly ttrSeconds: number;
  /** A job that is held is about to time out. */
  readonly onDeadline: () => Promise<void>;
}

/**
 * The connection that reserves jobs, and so the only one that may delete, release and touch them. While it waits in a
 * reserve, beanstalkd reads nothing from it; a job in a tube that only this connection watches ends the wait.
 */
export class Taker {
  readonly #link: BeanstalkLink;
  readonly #producer: Producer;
  readonly #onDeadline: () => Promise<void>;
  readonly #longestWaitSeconds: number;
  readonly #wakeTube = `${WAKE_TUBE_PREFIX}${randomBytes(9).toString('base64url').replace(/[_]/g, '.')}`;
  readonly #watched = new Set<string>(['default']);
  #isWaiting = false;
  #isWaking = false;
  /** How many to ask for: a little more than came last time. */
  #guess = 1;

  constructor({ link, producer, ttrSeconds, onDeadline }: TakerOptions) {
    this.#link = link;
    this.#producer = producer;
    this.#onDeadline = onDeadline;
    this.#longestWaitSeconds = Math.max(1, Math.min(LONGEST_WAIT_SECONDS, Math.floor(ttrSeconds / 3)));
  }

  /** Up to `max` jobs that are ready now. */
  async takeReady(tubes: readonly string[], max: number): Promise<readonly Job[]> {
    this.#watch(tubes);
    const count = Math.min(max, this.#guess, MOST_AT_ONCE);
    const askedAt = performance.now();
    const replies = await Promise.all(
      Array.from({ length: count }, () => this.#link.command('reserve-with-timeout 0')),
    );
    const jobs = await this.#describe(
      replies.filter((reply) => this.#isJob(reply)),
      askedAt,
    );
    this.#guess = Math.min(MOST_AT_ONCE, Math.max(2, jobs.length * 2));
    if (replies.some(({ word }) => word === 'DEADLINE_SOON')) await this.#onDeadline();
    return jobs;
  }

  /** Waits for one job; nothing after `waitMs`, or on abort. */
  async waitForOne(tubes: readonly string[], waitMs: number, signal: AbortSignal): Promise<readonly Job[]> {
    this.#watch(tubes);
    const deadline = performance.now() + waitMs;
    const onAbort = (): void => this.#wake();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      while (!signal.aborted) {
        const leftMs = deadline - performance.now();
        if (leftMs <= 0) return [];
        const seconds = Math.min(this.#longestWaitSeconds, Math.ceil(leftMs / 1000));
        this.#isWaiting = true;
        const reply = await this.#link.command(`reserve-with-timeout ${seconds}`, { waitMs: seconds * 1000 });
        this.#isWaiting = false;
        if (reply.word === 'DEADLINE_SOON') await this.#onDeadline();
        if (!this.#isJob(reply)) continue;
        const jobs = await this.#describe([reply], performance.now());
        if (jobs.length > 0) return jobs;
      }
      return [];
    } finally {
      this.#isWaiting = false;
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** The replies to commands about jobs that this connection holds. */
  run(commands: readonly string[]): Promise<readonly Reply[]> {
    const replies = Promise.all(commands.map((command) => this.#link.command(command)));
    this.#wake();
    return replies;
  }

  /** Disconnects: beanstalkd makes everything ready that is still held. */
  async close(): Promise<void> {
    this.#link.close();
    if (this.#isWaking) await this.#producer.empty(this.#wakeTube).catch(() => undefined);
  }

  #wake(): void {
    if (!this.#isWaiting || this.#isWaking) return;
    this.#isWaking = true;
    this.#producer.wake(this.#wakeTube).then(
      (isDone) => {
        // Where it worked, the wake-up may have come and gone before its own confirmation.
        if (!isDone) this.#isWaking = false;
      },
      () => {
        this.#isWaking = false;
      },
    );
  }

  /** False for what is no job, and for the own wake-up, which is removed. */
  #isJob({ word, args, body }: Reply): boolean {
    if (word !== 'RESERVED') return false;
    if (body?.toString('latin1') !== this.#wakeTube) return true;
    this.#isWaking = false;
    // Its answer is nothing to wait for; a loss is told by the link.
    this.#link.command(`delete ${args[0]}`).catch(() => undefined);
    return false;
  }

  async #describe(replies: readonly Reply[], reservedAt: number): Promise<readonly Job[]> {
    const all = await Promise.all(replies.map(({ args }) => this.#link.command(`stats-job ${args[0]}`)));
    return replies.flatMap(({ args, body }, index) => {
      const stats = all[index]?.body;
      // Gone already: its time was over before we looked.
      if (stats === undefined || body === undefined) return [];
      const values = readStats(stats);
      return {
        id: args[0] as string,
        body,
        tube: values.get('tube') ?? '',
        priority: values.get('pri') ?? '0',
        ttrMs: Number(values.get('ttr')) * 1000,
        reserves: Number(values.get('reserves')) || 1,
        reservedAt,
      };
    });
  }

  /** Sent ahead of the reserves that follow; the answers need no waiting for. */
  #watch(tubes: readonly string[]): void {
    const wanted = new Set([this.#wakeTube, ...tubes]);
    const send = (command: string): void => void this.#link.command(command).catch(() => undefined);
    for (const tube of wanted) {
      if (this.#watched.has(tube)) continue;
      this.#watched.add(tube);
      send(`watch ${tube}`);
    }
    for (const tube of this.#watched) {
      if (wanted.has(tube)) continue;
      this.#watched.delete(tube);
      send(`ignore ${tube}`);
    }
  }
}
