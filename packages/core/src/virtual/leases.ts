import { silentLogger, type Logger } from '../internal/log.ts';
import type { ConnectOptions } from '../transport/contract.ts';
import type { BrokerUrl } from '../transport/url.ts';
import type { Held, VirtualConsumer } from './consumer.ts';
import type { QueueDriver } from './driver.ts';
import { LeaseKeeping } from './lease-keeper.ts';
import type { Link } from './link.ts';

/** Renewed so often that two may fail before a lease ends. */
const RENEWALS_PER_LEASE = 3;

export interface LeasesOptions<Receipt> {
  readonly driver: QueueDriver<Receipt>;
  /** `leaseKeeper` of the transport. */
  readonly keeper: string | undefined;
  readonly url: BrokerUrl;
  readonly connect: ConnectOptions;
  readonly link: Link;
  /** All that is unsettled. */
  readonly held: () => Iterable<Held<Receipt>>;
}

/**
 * Keeps what a connection holds its own, where a broker gives messages for a time only: by the timer of this thread, and
 * by another thread while this one stands still. What is lost all the same is told to its consumer.
 */
export class Leases<Receipt> {
  readonly #driver: QueueDriver<Receipt>;
  readonly #link: Link;
  readonly #held: () => Iterable<Held<Receipt>>;
  readonly #logger: Logger;
  readonly #keeping: LeaseKeeping<Receipt> | undefined;
  readonly #timer: NodeJS.Timeout | undefined;
  #renewedAt = 0;
  /** For how many ticks the renewal under way has been without an answer; undefined: none is under way. */
  #unanswered: number | undefined;

  constructor({ driver, keeper, url, connect, link, held }: LeasesOptions<Receipt>) {
    this.#driver = driver;
    this.#link = link;
    this.#held = held;
    this.#logger = connect.logger ?? silentLogger;
    const { leaseMs } = driver.capabilities;
    if (leaseMs === 0) return;
    if (connect.keepsLeases === true && keeper !== undefined) {
      try {
        this.#keeping = new LeaseKeeping({ driver, module: keeper, url, connect, leaseMs, logger: this.#logger });
      } catch (error) {
        this.#logger.warn({ err: error }, 'Leases cannot be renewed while the event loop stands still.');
      }
    }
    if (driver.extendLease !== undefined) {
      this.#timer = setInterval(() => this.#tick(), leaseMs / RENEWALS_PER_LEASE).unref();
    }
  }

  /** Before anybody is told of the messages: what is done with them may stop the loop at once. */
  hold(taken: readonly { readonly receipt: Receipt }[]): void {
    this.#keeping?.hold(taken.map(({ receipt }) => receipt));
  }

  /**
   * While the other thread renews, a receipt may change its form, so that nothing can be settled: resolves when it may be
   * again. undefined: now.
   */
  ready(): Promise<void> | undefined {
    return this.#keeping?.isBusy === true ? this.#keeping.idle() : undefined;
  }

  release(settled: readonly { readonly held: Held<Receipt> }[]): void {
    if (this.#keeping === undefined) return;
    this.#keeping.sync();
    this.#keeping.release(settled.flatMap(({ held: { receipt } }) => (receipt === undefined ? [] : [receipt.value])));
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#keeping?.stop();
  }

  /**
   * A broker that answers nothing says no more than one that is away. Ticks are counted, not time: after a standstill of
   * the loop the answer may be there, unread.
   */
  #tick(): void {
    if (this.#unanswered === undefined) {
      this.#unanswered = 0;
      void this.#renew().finally(() => {
        this.#unanswered = undefined;
      });
    } else if (++this.#unanswered >= RENEWALS_PER_LEASE) {
      const lost = this.#expired(this.#held());
      if (lost.length > 0) this.#logger.warn({ messages: lost.length }, 'the renewal of leases is not answered');
      this.#tellLost(lost);
    }
  }

  async #renew(): Promise<void> {
    await this.ready();
    this.#keeping?.sync();
    const byReceipt = new Map<Receipt, Held<Receipt>>();
    for (const held of this.#held()) if (held.receipt !== undefined) byReceipt.set(held.receipt.value, held);
    if (byReceipt.size === 0) return;
    const startedAt = Date.now();
    try {
      const receipts = await this.#driver.extendLease?.([...byReceipt.keys()]);
      this.#renewedAt = startedAt;
      this.#keeping?.renewed();
      this.#tellLost((receipts ?? []).flatMap((receipt) => byReceipt.get(receipt) ?? []));
    } catch (error) {
      if (this.#link.noticeLoss(error)) return;
      this.#logger.warn({ err: error, messages: byReceipt.size }, 'leases could not be renewed; trying again');
      this.#tellLost(this.#expired(byReceipt.values()));
    }
  }

  /** Those whose lease has ended by the clock. */
  #expired(all: Iterable<Held<Receipt>>): readonly Held<Receipt>[] {
    const { leaseMs } = this.#driver.capabilities;
    const now = Date.now();
    return [...all].filter(
      ({ receipt, takenAt }) => receipt !== undefined && now - Math.max(takenAt, this.#renewedAt) > leaseMs,
    );
  }

  #tellLost(lost: readonly Held<Receipt>[]): void {
    const byConsumer = new Map<VirtualConsumer<Receipt>, Held<Receipt>[]>();
    for (const held of lost) {
      // Settled meanwhile: that it is not ours any more is as it should be.
      if (held.isSettled) continue;
      const batch = byConsumer.get(held.consumer);
      if (batch === undefined) byConsumer.set(held.consumer, [held]);
      else batch.push(held);
    }
    for (const [consumer, batch] of byConsumer) consumer.leaseLost(batch);
  }
}
