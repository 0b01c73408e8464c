import { Worker as Thread } from 'node:worker_threads';
import type { Logger } from '../internal/log.ts';
import type { ConnectOptions } from '../transport/contract.ts';
import type { BrokerUrl } from '../transport/url.ts';

/**
 * Renews leases on behalf of a driver in another thread, on a link of its own. A transport has one in a module whose
 * export `openLeaseKeeper` is an {@link OpenLeaseKeeper}.
 */
export interface LeaseKeeper<Holder = unknown, Receipt = unknown> {
  /** Restarts the leases; those that are lost by now stay so. */
  extend(holder: Holder, receipts: readonly Receipt[]): Promise<void>;
  close(): Promise<void>;
}

export type OpenLeaseKeeper<Holder, Receipt> = (
  url: BrokerUrl,
  options: ConnectOptions,
) => Promise<LeaseKeeper<Holder, Receipt>>;

/** What the thread is started with. */
export interface LeaseThreadData {
  /** `file:` URL of the module with `openLeaseKeeper`. */
  readonly module: string;
  readonly url: string;
  readonly options: ConnectOptions;
  readonly leaseMs: number;
  /** `renewsByHolder` of the driver. */
  readonly byHolder: boolean;
  /** Counts up while the event loop of the connection turns. */
  readonly beats: Int32Array;
}

/** What has changed since the last one. */
export interface LeaseThreadMessage {
  readonly held: readonly (readonly [number: number, receipt: unknown])[];
  readonly released: readonly number[];
  readonly holder: unknown;
}

const BEATS_PER_LEASE = 12;

/** Beside the caller; from TypeScript sources the built file, which every Node can run. */
export function builtModule(path: string, from: string): string {
  const url = new URL(path, from);
  if (!from.endsWith('.ts')) return url.href;
  return url.href.replace('/src/', '/dist/').replace(/\.ts$/, '.js');
}

export interface LeaseKeepingOptions {
  readonly module: string;
  readonly url: BrokerUrl;
  readonly connect: ConnectOptions;
  readonly leaseMs: number;
  /** `renewsByHolder` of the driver. */
  readonly byHolder: boolean;
  readonly logger: Logger;
}

/**
 * Keeps the leases of one connection while its event loop stands still: a thread that knows what is held, and renews it
 * on a link of its own when the loop has shown no life for a third of the lease.
 *
 * Telling the thread wakes it, which costs more than a small task. What needs not be told at once waits for the next beat,
 * and what was taken and settled between two beats is never told.
 */
export class LeaseKeeping<Receipt> {
  readonly #thread: Thread;
  readonly #logger: Logger;
  readonly #numbers = new Map<Receipt, number>();
  readonly #byHolder: boolean;
  readonly #timer: NodeJS.Timeout;
  /** Not told yet. */
  readonly #held = new Map<number, Receipt>();
  #released: number[] = [];
  #holder: unknown;
  #number = 0;
  #isOver = false;

  constructor({ module, url, connect, leaseMs, byHolder, logger }: LeaseKeepingOptions) {
    this.#logger = logger;
    this.#byHolder = byHolder;
    const beats = new Int32Array(new SharedArrayBuffer(4));
    const { logger: _, signal: __, ...options } = connect;
    const data: LeaseThreadData = { module, url: url.raw, options, leaseMs, byHolder, beats };
    this.#thread = new Thread(new URL(builtModule('./lease-thread.js', import.meta.url)), { workerData: data });
    this.#thread.unref();
    this.#thread.on('message', ({ renewed, error }: { renewed?: number; error?: string }) => {
      if (error === undefined)
        logger.warn({ messages: renewed }, 'The event loop stood still; leases were renewed for it.');
      else logger.warn({ error }, 'The event loop stood still, and leases could not be renewed for it.');
    });
    this.#thread.on('error', (error) => {
      this.#isOver = true;
      logger.error(
        { err: error },
        'Leases are not renewed while the event loop stands still: the thread for it ended.',
      );
    });
    this.#timer = setInterval(() => {
      Atomics.add(beats, 0, 1);
      this.#tell();
    }, leaseMs / BEATS_PER_LEASE).unref();
  }

  /** Before anybody is told of the messages: what is done with them may stop the loop at once. */
  hold(holder: unknown, receipts: readonly Receipt[]): void {
    for (const receipt of receipts) {
      this.#numbers.set(receipt, this.#number);
      this.#held.set(this.#number++, receipt);
    }
    const isKnown = this.#byHolder && holder === this.#holder;
    this.#holder = holder;
    if (!isKnown) this.#tell();
  }

  release(receipts: readonly Receipt[]): void {
    for (const receipt of receipts) {
      const number = this.#numbers.get(receipt);
      if (number === undefined) continue;
      this.#numbers.delete(receipt);
      if (!this.#held.delete(number)) this.#released.push(number);
    }
  }

  stop(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearInterval(this.#timer);
    void this.#thread.terminate();
  }

  #tell(): void {
    if (this.#isOver || (this.#held.size === 0 && this.#released.length === 0)) return;
    const message: LeaseThreadMessage = { held: [...this.#held], released: this.#released, holder: this.#holder };
    this.#held.clear();
    this.#released = [];
    try {
      this.#thread.postMessage(message);
    } catch (error) {
      this.#logger.warn(
        { err: error },
        'Leases are not renewed while the event loop stands still: a receipt cannot be cloned.',
      );
      this.stop();
    }
  }
}
