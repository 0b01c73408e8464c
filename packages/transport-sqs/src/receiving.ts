import { type Message, ReceiveMessageCommand } from '@aws-sdk/client-sqs';
import type { AwsLink } from '@lovage/aws';
import { isLovageError, type Logger, type Pulled, type PullRequest } from '@lovage/core/transport';
import { MOST_ENTRIES } from './batches.ts';
import { fromBody } from './bodies.ts';
import type { SqsSettings } from './options.ts';
import type { Queues, SqsQueue } from './queues.ts';

/** A message as it was received, for settling it. */
export interface SqsReceipt {
  readonly queue: SqsQueue;
  readonly handle: string;
  /** 1 at first. */
  readonly count: number;
  /** Milliseconds of `performance.now()`. SQS takes a receipt beyond it too, and then deletes what another one holds. */
  leaseUntil: number;
  /** The envelope, for the name of the task where a back-off depends on it. */
  readonly payload: string | Uint8Array;
}

/** Receives that are under way for one queue at once, when it is full. */
const MOST_LANES = 8;
/** The first wait for an empty queue, in seconds; doubled while it stays empty. A wait that is under way cannot be ended. */
const FIRST_WAIT_SECONDS = 1;
/** With fewer free slots than queues, each queue is waited for so long. */
const TURN_SECONDS = 1;
const LONGEST_TIMER_MS = 2 ** 31 - 1;
/** A queue that is not there is not asked for again for so long. */
const GONE_MS = 1000;

interface Poll {
  readonly name: string;
  /** Messages that it may bring. */
  readonly count: number;
  readonly done: Promise<void>;
}

interface Line {
  /** Receives under way. */
  lanes: number;
  waitSeconds: number;
  /** The last receive was full. */
  isFull: boolean;
  /** Epoch milliseconds: not asked before. */
  pausedUntil: number;
}

export interface ReceivingOptions {
  readonly link: AwsLink;
  readonly queues: Queues;
  readonly settings: SqsSettings;
  /** The longest that SQS is asked to wait. */
  readonly mostWaitSeconds: number;
  readonly giveBack: (receipts: readonly SqsReceipt[]) => Promise<void>;
  readonly logger: Logger;
}

/**
 * Long polls, in parallel for all queues. SQS hands the messages of a poll to its client even when that has gone, and
 * hides them then for a lease: so a poll is never broken off. What one brings that nobody waits for any more is kept for
 * the next pull, and given back when none comes.
 */
export class Receiving {
  readonly #options: ReceivingOptions;
  readonly #lines = new Map<string, Line>();
  readonly #polls = new Set<Poll>();
  #turn = 0;
  #arrived: Pulled<SqsReceipt>[] = [];
  #wanted: ReadonlySet<string> = new Set();
  #failure: unknown;
  #wake: (() => void) | undefined;
  #isClosed = false;

  constructor(options: ReceivingOptions) {
    this.#options = options;
  }

  async pull({ queues, max, waitMs, signal }: PullRequest): Promise<readonly Pulled<SqsReceipt>[]> {
    const deadline = Date.now() + waitMs;
    this.#wanted = new Set(queues);
    try {
      for (let isFirst = true; ; isFirst = false) {
        const taken = this.#take(max);
        if (taken.length > 0 || signal.aborted) return taken;
        if (this.#failure !== undefined) {
          const failure = this.#failure;
          this.#failure = undefined;
          throw failure as Error;
        }
        const leftMs = deadline - Date.now();
        if (!isFirst && leftMs <= 0 && (waitMs > 0 || this.#polls.size === 0)) return [];
        const nextMs = this.#poll(queues, max, waitMs > 0);
        await this.#change(waitMs > 0 ? Math.min(leftMs, nextMs) : nextMs, signal);
      }
    } finally {
      this.#wanted = new Set();
      // More than there was room for; no pull comes for as long as there is none.
      if (this.#arrived.length > 0) void this.#returnUnwantedSoon();
    }
  }

  /** Resolves when no poll is under way; what they brought has gone back. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#wake?.();
    await Promise.all(Array.from(this.#polls, ({ done }) => done));
    await this.#returnUnwanted();
  }

  #take(max: number): readonly Pulled<SqsReceipt>[] {
    if (this.#arrived.length === 0) return [];
    const taken: Pulled<SqsReceipt>[] = [];
    const left: Pulled<SqsReceipt>[] = [];
    const now = performance.now();
    for (const pulled of this.#arrived) {
      // Others have it by now, or will.
      if (pulled.receipt.leaseUntil <= now) continue;
      (taken.length < max && this.#wanted.has(pulled.queue) ? taken : left).push(pulled);
    }
    this.#arrived = left;
    return taken;
  }

  /** Sends polls for as many messages as there is room for; milliseconds after which more can be sent. */
  #poll(names: readonly string[], max: number, mayWait: boolean): number {
    const now = Date.now();
    let room = max - this.#arrived.length;
    // One that may bring more than there is room for was sent for a consumer with another window.
    for (const { count } of this.#polls) if (count <= max) room -= count;
    let nextMs = Number.POSITIVE_INFINITY;
    const idle: string[] = [];
    for (const name of names) {
      const line = this.#line(name);
      if (line.lanes > 0 && !(line.isFull && line.lanes < MOST_LANES)) continue;
      if (line.pausedUntil > now) nextMs = Math.min(nextMs, line.pausedUntil - now);
      else idle.push(name);
    }
    const takesTurns = max < names.length;
    const first = this.#turn++ % Math.max(1, idle.length);
    const ordered = [...idle.slice(first), ...idle.slice(0, first)];
    for (const [index, name] of ordered.entries()) {
      let share = Math.ceil(room / (ordered.length - index));
      while (share > 0 && room > 0) {
        const line = this.#line(name);
        const count = Math.min(share, MOST_ENTRIES);
        const isExtra = line.lanes > 0;
        const longest = isExtra || !mayWait ? 0 : this.#options.mostWaitSeconds;
        this.#start(name, line, count, Math.min(longest, takesTurns ? TURN_SECONDS : line.waitSeconds));
        room -= count;
        share -= count;
        if (!line.isFull || line.lanes >= MOST_LANES) break;
      }
    }
    return nextMs;
  }

  #line(name: string): Line {
    let line = this.#lines.get(name);
    if (line === undefined) {
      line = { lanes: 0, waitSeconds: FIRST_WAIT_SECONDS, isFull: false, pausedUntil: 0 };
      this.#lines.set(name, line);
    }
    return line;
  }

  #start(name: string, line: Line, count: number, waitSeconds: number): void {
    line.lanes++;
    const done = this.#receive(name, line, count, waitSeconds)
      .catch((error: unknown) => {
        // Of no interest where nobody asks for the queue any more.
        if (this.#wanted.has(name)) this.#failure = error;
      })
      .finally(() => {
        line.lanes--;
        this.#polls.delete(poll);
        this.#wake?.();
        if (!this.#wanted.has(name)) void this.#returnUnwantedSoon();
      });
    const poll: Poll = { name, count, done };
    this.#polls.add(poll);
  }

  async #receive(name: string, line: Line, count: number, waitSeconds: number): Promise<void> {
    const { link, queues, settings, mostWaitSeconds } = this.#options;
    const queue = await queues.ensure(name);
    const command = new ReceiveMessageCommand({
      QueueUrl: queue.url,
      MaxNumberOfMessages: count,
      WaitTimeSeconds: waitSeconds,
      VisibilityTimeout: settings.leaseSeconds,
      MessageSystemAttributeNames: ['ApproximateReceiveCount'],
    });
    let messages: readonly Message[];
    try {
      const answer = await link.request((abortSignal) => queue.client.send(command, { abortSignal }), {
        what: `Receiving from the queue "${name}"`,
        waitMs: waitSeconds * 1000,
      });
      messages = answer.Messages ?? [];
    } catch (error) {
      if (!isLovageError(error, 'ERR_NOT_FOUND') || queue.predefined !== undefined) throw error;
      // Removed meanwhile, or so new that not all of SQS knows it: it is made again, as long as it is asked for.
      queues.forget(name);
      line.pausedUntil = Date.now() + GONE_MS;
      return;
    }
    line.isFull = messages.length === count && count === MOST_ENTRIES;
    if (messages.length > 0) {
      line.waitSeconds = FIRST_WAIT_SECONDS;
      line.pausedUntil = 0;
      const leaseUntil = performance.now() + settings.leaseSeconds * 1000;
      this.#arrived.push(...messages.map((message) => toPulled(name, queue, message, leaseUntil)));
    } else {
      if (waitSeconds > 0) line.waitSeconds = Math.min(mostWaitSeconds, line.waitSeconds * 2);
      if (mostWaitSeconds === 0) line.pausedUntil = Date.now() + settings.pollingIntervalMs;
    }
  }

  /** The next pull of a moment later may want it. */
  async #returnUnwantedSoon(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, this.#isClosed ? 0 : 100));
    await this.#returnUnwanted();
  }

  async #returnUnwanted(): Promise<void> {
    const now = performance.now();
    const unwanted = this.#arrived.filter(({ queue, receipt }) => !this.#wanted.has(queue) && receipt.leaseUntil > now);
    this.#arrived = this.#arrived.filter(({ queue }) => this.#wanted.has(queue));
    if (unwanted.length === 0) return;
    try {
      await this.#options.giveBack(unwanted.map(({ receipt }) => receipt));
    } catch (error) {
      this.#options.logger.warn(
        { err: error, messages: unwanted.length },
        'messages that came too late could not be given back; their lease will end',
      );
    }
  }

  #change(ms: number, signal: AbortSignal): Promise<void> {
    if (signal.aborted || this.#isClosed || this.#arrived.some(({ queue }) => this.#wanted.has(queue))) {
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      const end = (): void => {
        this.#wake = undefined;
        clearTimeout(timer);
        signal.removeEventListener('abort', end);
        resolve();
      };
      const timer = setTimeout(end, Math.max(1, Math.min(ms, LONGEST_TIMER_MS)));
      signal.addEventListener('abort', end, { once: true });
      this.#wake = end;
    });
  }
}

function toPulled(name: string, queue: SqsQueue, message: Message, leaseUntil: number): Pulled<SqsReceipt> {
  const payload = fromBody(message.Body ?? '');
  const count = Number(message.Attributes?.ApproximateReceiveCount ?? 1);
  const receipt: SqsReceipt = { queue, handle: message.ReceiptHandle as string, count, leaseUntil, payload };
  return { queue: name, payload, receipt, deliveryCount: count };
}
