import { setTimeout as sleep } from 'node:timers/promises';
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker as Thread } from 'node:worker_threads';
import type { Logger } from '../internal/log.ts';
import type { ConnectOptions } from '../transport/contract.ts';
import type { BrokerUrl } from '../transport/url.ts';
import type { LeaseRenewal, QueueDriver } from './driver.ts';

/**
 * Renews leases on behalf of a driver in another thread, on a link of its own. A transport has one in a module whose
 * export `openLeaseKeeper` is an {@link OpenLeaseKeeper}.
 */
export interface LeaseKeeper<Holder = unknown, Receipt = unknown> {
  /**
   * Restarts the leases; those that are lost by now stay so. Receipts are in the driver's `keptForm`. Where each has a
   * lease of its own: resolves with their forms from now on, in their order, and null for what was not renewed.
   */
  extend(holder: Holder, receipts: readonly Receipt[]): Promise<readonly (Receipt | null)[] | void>;
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
  /**
   * At 0: counts up while the event loop of the connection turns. At 1: counts up with each {@link LeaseThreadRenewal}. At
   * 2: 1 while one is under way.
   */
  readonly beats: Int32Array;
  /** For {@link LeaseThreadRenewal}s, which are read without the event loop's help. */
  readonly renewals: MessagePort;
}

/** Times are epoch milliseconds, as exact as `performance.now()`. */
export interface LeaseThreadRenewal {
  readonly numbers: readonly number[];
  readonly forms: readonly unknown[] | undefined;
  readonly askedAt: number;
  readonly answeredAt: number;
}

/** What has changed since the last one. */
export interface LeaseThreadMessage {
  readonly held: readonly (readonly [number: number, receipt: unknown])[];
  readonly released: readonly number[];
  readonly holder: unknown;
}

const BEATS_PER_LEASE = 12;
const LOOK_MS = 5;
const MOST_PATIENCE_MS = 2000;

/** Beside the caller; from TypeScript sources the built file, which every Node can run. */
export function builtModule(path: string, from: string): string {
  const url = new URL(path, from);
  if (!from.endsWith('.ts')) return url.href;
  return url.href.replace('/src/', '/dist/').replace(/\.ts$/, '.js');
}

export interface LeaseKeepingOptions<Receipt> {
  readonly driver: Pick<QueueDriver<Receipt>, 'leaseHolder' | 'renewsByHolder' | 'keptForm' | 'leaseKept'>;
  readonly module: string;
  readonly url: BrokerUrl;
  readonly connect: ConnectOptions;
  readonly leaseMs: number;
  readonly logger: Logger;
}

/**
 * Keeps the leases of one connection while its event loop stands still: a thread that knows what is held, and renews it
 * on a link of its own when the loop has shown no life for a quarter of the lease.
 *
 * Telling the thread wakes it, which costs more than a small task. What needs not be told at once waits for the next beat,
 * and what was taken and settled between two beats is never told.
 */
export class LeaseKeeping<Receipt> {
  readonly #thread: Thread;
  readonly #driver: LeaseKeepingOptions<Receipt>['driver'];
  readonly #beats = new Int32Array(new SharedArrayBuffer(12));
  readonly #renewals: MessagePort;
  readonly #logger: Logger;
  readonly #numbers = new Map<Receipt, number>();
  readonly #timer: NodeJS.Timeout;
  /** Not told yet. */
  readonly #held = new Map<number, Receipt>();
  #released: number[] = [];
  #holder: unknown;
  #number = 0;
  #renewalsSeen = 0;
  #isOver = false;

  constructor({ driver, module, url, connect, leaseMs, logger }: LeaseKeepingOptions<Receipt>) {
    this.#driver = driver;
    this.#logger = logger;
    const beats = this.#beats;
    const { logger: _, signal: __, ...options } = connect;
    const { port1, port2 } = new MessageChannel();
    port1.unref();
    this.#renewals = port1;
    const byHolder = driver.renewsByHolder === true;
    const data: LeaseThreadData = { module, url: url.raw, options, leaseMs, byHolder, beats, renewals: port2 };
    this.#thread = new Thread(new URL(builtModule('./lease-thread.js', import.meta.url)), {
      workerData: data,
      transferList: [port2],
      // From sources, what is inherited would let the built thread find sources too.
      ...(import.meta.url.endsWith('.ts') ? { execArgv: [] } : {}),
    });
    this.#thread.unref();
    this.#thread.on('message', ({ renewed, error }: { renewed?: number; error?: string }) => {
      if (error === undefined)
        logger.warn({ messages: renewed }, 'The event loop stood still; leases were renewed for it.');
      else logger.warn({ reason: error }, 'The event loop stood still, and leases could not be renewed for it.');
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
  hold(receipts: readonly Receipt[]): void {
    for (const receipt of receipts) {
      this.#numbers.set(receipt, this.#number);
      this.#held.set(this.#number++, receipt);
    }
    const { leaseHolder: holder, renewsByHolder } = this.#driver;
    const isKnown = renewsByHolder === true && holder === this.#holder;
    this.#holder = holder;
    if (!isKnown) this.#tell();
  }

  /** The driver has renewed its leases itself, which may give what it holds another form. */
  renewed(): void {
    if (this.#driver.keptForm === undefined || this.#numbers.size === 0) return;
    for (const [receipt, number] of this.#numbers) this.#held.set(number, receipt);
    this.#tell();
  }

  /**
   * Says that this thread turns, and whether the other one is renewing all the same: it began before, and what it does may
   * change what the driver has to say.
   */
  get isBusy(): boolean {
    if (this.#isOver) return false;
    Atomics.add(this.#beats, 0, 1);
    return Atomics.load(this.#beats, 2) === 1;
  }

  /** Resolves when the renewal under way is told, or takes too long. */
  async idle(): Promise<void> {
    const end = performance.now() + MOST_PATIENCE_MS;
    while (this.isBusy && performance.now() < end) await sleep(LOOK_MS);
  }

  /** Tells the driver what was renewed for it: before it judges a lease by its own clock, or names a receipt. */
  sync(): void {
    const count = Atomics.load(this.#beats, 1);
    if (count === this.#renewalsSeen || this.#isOver) return;
    this.#renewalsSeen = count;
    const receipts = new Map(Array.from(this.#numbers, ([receipt, number]) => [number, receipt]));
    for (let next = receiveMessageOnPort(this.#renewals); next; next = receiveMessageOnPort(this.#renewals)) {
      const { numbers, forms, askedAt, answeredAt } = next.message as LeaseThreadRenewal;
      const known = numbers.map((number, index) => ({ receipt: receipts.get(number), form: forms?.[index] }));
      const held = known.filter((one): one is { receipt: Receipt; form: unknown } => one.receipt !== undefined);
      const renewal: LeaseRenewal<Receipt> = {
        receipts: held.map(({ receipt }) => receipt),
        forms: forms === undefined ? undefined : held.map(({ form }) => form),
        askedAt: askedAt - performance.timeOrigin,
        answeredAt: answeredAt - performance.timeOrigin,
      };
      this.#driver.leaseKept?.(renewal);
    }
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
    this.#renewals.close();
    void this.#thread.terminate();
  }

  #tell(): void {
    if (this.#isOver || (this.#held.size === 0 && this.#released.length === 0)) return;
    const driver = this.#driver;
    const held = Array.from(this.#held, ([number, receipt]): [number, unknown] => [
      number,
      driver.keptForm === undefined ? receipt : driver.keptForm(receipt),
    ]);
    const message: LeaseThreadMessage = { held, released: this.#released, holder: this.#holder };
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
