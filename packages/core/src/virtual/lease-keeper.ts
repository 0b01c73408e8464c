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
  /** Counts up while the event loop of the connection turns. */
  readonly beats: Int32Array;
}

export type LeaseThreadMessage =
  | { readonly held: readonly (readonly [number: number, receipt: unknown])[]; readonly holder: unknown }
  | { readonly released: readonly number[] };

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
  readonly logger: Logger;
}

/**
 * Keeps the leases of one connection while its event loop stands still: a thread that knows what is held, and renews it
 * on a link of its own when the loop has shown no life for a third of the lease.
 */
export class LeaseKeeping<Receipt> {
  readonly #thread: Thread;
  readonly #logger: Logger;
  readonly #numbers = new Map<Receipt, number>();
  readonly #timer: NodeJS.Timeout;
  #number = 0;
  #isOver = false;

  constructor({ module, url, connect, leaseMs, logger }: LeaseKeepingOptions) {
    this.#logger = logger;
    const beats = new Int32Array(new SharedArrayBuffer(4));
    const { logger: _, signal: __, ...options } = connect;
    const data: LeaseThreadData = { module, url: url.raw, options, leaseMs, beats };
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
    this.#timer = setInterval(() => Atomics.add(beats, 0, 1), leaseMs / BEATS_PER_LEASE).unref();
  }

  /** Before anybody is told of the messages: what is done with them may stop the loop at once. */
  hold(holder: unknown, receipts: readonly Receipt[]): void {
    const held = receipts.map((receipt) => {
      const number = this.#number++;
      this.#numbers.set(receipt, number);
      return [number, receipt] as const;
    });
    this.#post({ held, holder });
  }

  release(receipts: readonly Receipt[]): void {
    const released = receipts.flatMap((receipt) => this.#numbers.get(receipt) ?? []);
    for (const receipt of receipts) this.#numbers.delete(receipt);
    if (released.length > 0) this.#post({ released });
  }

  stop(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearInterval(this.#timer);
    void this.#thread.terminate();
  }

  #post(message: LeaseThreadMessage): void {
    if (this.#isOver) return;
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
