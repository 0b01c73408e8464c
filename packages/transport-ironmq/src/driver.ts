import { setTimeout as sleep } from 'node:timers/promises';
import {
  anySignal,
  type Capabilities,
  type LeaseRenewal,
  type Logger,
  PublishError,
  type Pulled,
  type PullRequest,
  type Queue,
  type QueueDriver,
  type QueueEntry,
  type ReceiptSettlement,
} from '@lovage/core/transport';
import type { IronSettings } from './options.ts';
import type { KeptReservation } from './lease-keeper.ts';
import { Outbox } from './outbox.ts';
import { Polls } from './polls.ts';
import { type IronQueues, MAX_MESSAGES, type Reserved } from './queues.ts';

/** A reserved message. Each touch gives it another reservation. */
export class IronReceipt {
  readonly queue: string;
  readonly id: string;
  reservation: string;
  /** While it is touched, its reservation is about to change. */
  touching: Promise<unknown> | undefined;

  constructor(queue: string, { id, reservation_id: reservation }: Reserved) {
    this.queue = queue;
    this.id = id;
    this.reservation = reservation;
  }
}

export interface IronDriverOptions {
  readonly settings: IronSettings;
  /** How long one request waits for messages. */
  readonly waitSeconds: number;
  readonly logger: Logger;
}

/** Between two questions of which the first was answered at once, with nothing; doubled while it stays so. */
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 2000;
const MAX_DELAY_SECONDS = 604_800;
/** Of a request beside the envelope, whose quotes are escaped on top of it. */
const REQUEST_BYTES = 1024;

/** IronMQ's pull queues: reservations are leases, a touch renews one. */
export class IronDriver implements QueueDriver<IronReceipt> {
  readonly capabilities: Capabilities;
  readonly lost: Promise<never>;
  readonly #queues: IronQueues;
  readonly #outbox: Outbox;
  readonly #polls: Polls;
  readonly #logger: Logger;
  #isClosed = false;

  constructor(queues: IronQueues, { settings, waitSeconds, logger }: IronDriverOptions) {
    this.#queues = queues;
    this.#logger = logger;
    this.lost = queues.lost;
    this.#outbox = new Outbox(queues, settings.maxMessageBytes);
    this.#polls = new Polls(queues, waitSeconds, (queue, messages) => this.#giveBack(queue, messages));
    this.capabilities = {
      fanout: false,
      priorityLevels: 0,
      servesFirst: 'highest',
      maxDelayMs: MAX_DELAY_SECONDS * 1000,
      leaseMs: settings.reservationSeconds * 1000,
      maxMessageBytes: settings.maxMessageBytes - REQUEST_BYTES,
      guarantee: `ironmq: a message that IronMQ took is kept until it is deleted, for ${settings.messageExpiration} seconds at most in queues made here`,
    };
  }

  async ensureQueue({ name }: Queue): Promise<void> {
    await this.#queues.ensure(name);
  }

  async removeQueue(name: string): Promise<void> {
    await this.#queues.remove(name);
  }

  async push(entries: readonly QueueEntry[]): Promise<void> {
    const errors = await Promise.all(
      entries.map(({ queue, payload, delayMs }) => this.#outbox.send(queue, payload, Math.ceil(delayMs / 1000))),
    );
    const failures = errors.flatMap((error, index) => (error === undefined ? [] : [{ index, error }]));
    if (failures.length > 0) throw new PublishError(failures, entries.length);
  }

  async pull({ queues, max, waitMs, signal }: PullRequest): Promise<readonly Pulled<IronReceipt>[]> {
    const deadline = Date.now() + waitMs;
    // One queue can be waited for at once; of several, a first round finds what is there, in the order asked.
    if (queues.length > 1) {
      const pulled: Pulled<IronReceipt>[] = [];
      for (const queue of queues) {
        if (pulled.length >= max || signal.aborted) break;
        try {
          pulled.push(...toPulled(queue, await this.#queues.reserve(queue, max - pulled.length, 0)));
        } catch (error) {
          // What the queues before gave is ours, and would stay so unseen.
          if (pulled.length === 0) throw error;
          break;
        }
      }
      if (pulled.length > 0) return pulled;
    }
    for (let pauseMs = FIRST_PAUSE_MS; !signal.aborted && !this.#isClosed; ) {
      const startedAt = Date.now();
      const pulled = await this.#wait(queues, max, signal);
      const now = Date.now();
      if (pulled.length > 0 || now >= deadline) return pulled;
      // Nobody waits for a queue that is not there: it would be asked for without end.
      if (now - startedAt >= FIRST_PAUSE_MS) continue;
      await sleep(Math.min(pauseMs, deadline - now), undefined, { signal }).catch(() => undefined);
      pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2);
    }
    return [];
  }

  async settle(settlements: readonly ReceiptSettlement<IronReceipt>[]): Promise<void> {
    await Promise.all(settlements.flatMap(({ receipt }) => receipt.touching ?? []));
    const acks = new Map<string, IronReceipt[]>();
    const requeues: IronReceipt[] = [];
    for (const { receipt, outcome } of settlements) {
      if (outcome === 'requeue') requeues.push(receipt);
      else acks.set(receipt.queue, [...(acks.get(receipt.queue) ?? []), receipt]);
    }
    await Promise.all([
      ...[...acks].map(([queue, receipts]) => this.#ack(queue, receipts)),
      // One after the other from the last on: what is released goes to the front.
      this.#release(requeues.toReversed()),
    ]);
  }

  keptForm({ queue, id, reservation }: IronReceipt): KeptReservation {
    return { queue, id, reservation };
  }

  leaseKept({ receipts, forms }: LeaseRenewal<IronReceipt>): void {
    for (const [index, receipt] of receipts.entries()) {
      const kept = forms?.[index] as KeptReservation | null | undefined;
      if (kept) receipt.reservation = kept.reservation;
    }
  }

  async extendLease(receipts: readonly IronReceipt[]): Promise<readonly IronReceipt[]> {
    const lost: IronReceipt[] = [];
    await Promise.all(
      receipts.map(async (receipt) => {
        // A touch that is still under way will do.
        if (receipt.touching !== undefined) return;
        const touching = this.#queues.touch(receipt.queue, receipt.id, receipt.reservation).finally(() => {
          receipt.touching = undefined;
        });
        receipt.touching = touching.catch(() => undefined);
        const reservation = await touching;
        if (reservation === undefined) lost.push(receipt);
        else receipt.reservation = reservation;
      }),
    );
    return lost;
  }

  size(queue: string): Promise<number> {
    return this.#queues.size(queue);
  }

  async purge(queue: string): Promise<number> {
    const count = await this.#queues.size(queue);
    if (count > 0) await this.#queues.clear(queue);
    return count;
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#polls.stop();
    this.#queues.close();
  }

  /** The first queue that has something; what others bring at the same moment is added as far as there is room. */
  async #wait(queues: readonly string[], max: number, signal: AbortSignal): Promise<readonly Pulled<IronReceipt>[]> {
    const pulled: Pulled<IronReceipt>[] = [];
    const rest = new AbortController();
    const ending = anySignal([signal, rest.signal]);
    const outcomes = await Promise.allSettled(
      queues.map(async (queue) => {
        const messages = await this.#polls.wait(queue, max, ending.signal).catch((error: unknown) => {
          rest.abort();
          throw error;
        });
        if (messages.length === 0) return;
        rest.abort();
        const room = max - pulled.length;
        pulled.push(...toPulled(queue, messages.slice(0, room)));
        if (messages.length > room) await this.#giveBack(queue, messages.slice(room));
      }),
    );
    ending.release();
    // What came beside a failure is ours, and would stay so unseen.
    if (pulled.length > 0) return pulled;
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
    return pulled;
  }

  async #giveBack(queue: string, messages: readonly Reserved[]): Promise<void> {
    try {
      await this.#release(messages.map((message) => new IronReceipt(queue, message)).toReversed());
    } catch (error) {
      this.#logger.warn(
        { err: error, queue, messages: messages.length },
        'messages could not be given back; their reservation will end',
      );
    }
  }

  async #release(receipts: readonly IronReceipt[]): Promise<void> {
    for (const { queue, id, reservation } of receipts) await this.#queues.release(queue, id, reservation);
  }

  async #ack(queue: string, receipts: readonly IronReceipt[]): Promise<void> {
    const parts: IronReceipt[][] = [];
    for (let from = 0; from < receipts.length; from += MAX_MESSAGES)
      parts.push(receipts.slice(from, from + MAX_MESSAGES));
    await Promise.all(
      parts.map(async (part) => {
        const ids = part.map(({ id, reservation }) => ({ id, reservation_id: reservation }));
        if ((await this.#queues.delete(queue, ids)) || part.length === 1) return;
        // Somebody else has one of them by now, and the others are still to be deleted, or gone already.
        await Promise.all(ids.map((one) => this.#queues.delete(queue, [one])));
      }),
    );
  }
}

/** IronMQ counts touches as well: only the first reservation is known for what it is. */
function toPulled(queue: string, messages: readonly Reserved[]): readonly Pulled<IronReceipt>[] {
  return messages.map((message) => ({
    queue,
    payload: message.body,
    receipt: new IronReceipt(queue, message),
    deliveryCount: message.reserved_count <= 1 ? 1 : 2,
  }));
}
