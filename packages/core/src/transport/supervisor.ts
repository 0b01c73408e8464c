import {
  ClosedError,
  ConfigError,
  ConnectError,
  ConnectionLostError,
  isLovageError,
  LovageError,
  TimeoutError,
} from '../errors.ts';
import { LATE, within } from '../internal/deadline.ts';
import { silentLogger, type Logger } from '../internal/log.ts';
import { outsideOfTasks } from '../internal/outside-of-tasks.ts';
import type { Connection, ConnectOptions, Transport } from './contract.ts';
import type { BrokerUrl } from './url.ts';

/**
 * `idle`: nobody asked yet. `connecting`: a try is under way, its set-up included. `waiting`: for the next try.
 * `failed`: trying again is of no use. `closed`: for good.
 */
export type SupervisorState = 'idle' | 'connecting' | 'connected' | 'waiting' | 'failed' | 'closed';

/** What a listener is told, and what health checks read. */
export interface SupervisorStatus {
  readonly state: SupervisorState;
  /** Counts connections from 1; 0 before the first. What belongs to an earlier one is stale. */
  readonly epoch: number;
  /** The URL of the present or last try, its password masked. */
  readonly url: string;
  /** Why there is no connection: of the last try, or the loss. undefined while connected. */
  readonly error: Error | undefined;
  /** Tries that failed since the last connection. */
  readonly failures: number;
}

/** Runs on each new connection before anybody else gets it: declare, consume. Rejecting ends the connection. */
export type ConnectionSetup = (connection: Connection, epoch: number) => Promise<void> | void;

/** How the next try is timed. All milliseconds. */
export interface ReconnectSchedule {
  /** Before the second round of tries. Default 100; Celery's worker waits 2000. */
  readonly firstDelayMs: number;
  /** Default 5000. */
  readonly longestDelayMs: number;
  /** Each delay is this many times the last. Default 2. */
  readonly factor: number;
  /** The share of a delay that is random: 0 to 1. Default 0.5: a delay of 100 becomes 50 to 100. */
  readonly jitter: number;
  /** A connection that lived shorter does not start the delays anew. Default 5000. */
  readonly stableAfterMs: number;
  /** Tries without success after which waiting callers are told. Default: none, for ever. */
  readonly maxRetries: number | undefined;
}

export interface ConnectionSupervisorOptions {
  /** At least one. Tried in turn; each stands alone and inherits nothing from the others. */
  readonly urls: readonly BrokerUrl[];
  /** Finds the transport of a URL. Asked once per scheme. */
  readonly transport: (url: BrokerUrl) => Promise<Transport> | Transport;
  readonly connect?: Omit<ConnectOptions, 'signal'>;
  readonly schedule?: Partial<ReconnectSchedule>;
  readonly logger?: Logger;
  /** For tests. */
  readonly clock?: SupervisorClock;
}

/** The world outside, as far as a supervisor needs it. */
export interface SupervisorClock {
  /** Milliseconds of a clock that never goes back. */
  now(): number;
  /** From 0 up to, not including, 1. */
  random(): number;
  /** Calls back once; the function returned takes it back. `isIdle`: the process need not stay for it. */
  after(ms: number, callback: () => void, isIdle: boolean): () => void;
}

const DEFAULT_SCHEDULE: ReconnectSchedule = Object.freeze({
  firstDelayMs: 100,
  longestDelayMs: 5000,
  factor: 2,
  jitter: 0.5,
  stableAfterMs: 5000,
  maxRetries: undefined,
});

const DEFAULT_CONNECT_MS = 4000;
/** What a transport gets beyond its own time limit before the supervisor stops waiting for it. */
const CONNECT_GRACE_MS = 2000;
const SETUP_MS = 30_000;
const CLOSE_MS = 5000;

/** The longest that `setTimeout` can wait; beyond it, it would not wait at all. */
const MAX_TIMER_MS = 2 ** 31 - 1;

const systemClock: SupervisorClock = {
  now: () => performance.now(),
  random: Math.random,
  after(ms, callback, isIdle) {
    const timer = setTimeout(callback, Math.min(ms, MAX_TIMER_MS));
    if (isIdle) timer.unref();
    return () => clearTimeout(timer);
  },
};

interface Waiter {
  readonly resolve: (connection: Connection) => void;
  readonly reject: (error: Error) => void;
}

/** One try, from connecting to the loss: everything that could outlive it checks that it is the present one. */
interface Attempt {
  readonly abort: AbortController;
  readonly url: BrokerUrl;
}

/**
 * Keeps one connection to a broker: the only place where Lovage connects again. It begins when somebody asks for the
 * connection or registers a set-up, goes through the URLs in turn, and after a loss tries at once, then at growing
 * intervals with jitter.
 *
 * An error that trying again cannot mend (`AuthError`, `ConfigError`, `PreconditionFailedError` ...), given by every URL
 * in turn, ends in the state `failed`: callers get that error, and a new try is made at most every `longestDelayMs`,
 * when somebody asks.
 */
export class ConnectionSupervisor implements AsyncDisposable {
  readonly #options: ConnectionSupervisorOptions;
  readonly #schedule: ReconnectSchedule;
  readonly #clock: SupervisorClock;
  readonly #logger: Logger;
  readonly #transports = new Map<string, Transport>();
  readonly #setups = new Set<ConnectionSetup>();
  readonly #listeners = new Set<(status: SupervisorStatus) => void>();
  readonly #waiters = new Set<Waiter>();
  #state: SupervisorState = 'idle';
  #epoch = 0;
  #urlIndex = 0;
  #error: Error | undefined;
  #failures = 0;
  /** Tries since the delays began anew: decides on the delay, while `failures` tells people. */
  #tries = 0;
  #fatalUrls = 0;
  #connectedAt = 0;
  #failedAt = 0;
  #retryAt = 0;
  #live: Connection | undefined;
  #attempt: Attempt | undefined;
  #cancelRetry: (() => void) | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: ConnectionSupervisorOptions) {
    if (options.urls.length === 0) throw new ConfigError('A supervisor needs at least one broker URL.');
    this.#options = options;
    this.#schedule = { ...DEFAULT_SCHEDULE, ...options.schedule };
    this.#clock = options.clock ?? systemClock;
    this.#logger = options.logger ?? silentLogger;
  }

  /** The connection if there is one, set up and alive: saves the hot path a promise. */
  get live(): Connection | undefined {
    return this.#live;
  }

  get status(): SupervisorStatus {
    return {
      state: this.#state,
      epoch: this.#epoch,
      url: String(this.#url),
      error: this.#error,
      failures: this.#failures,
    };
  }

  get state(): SupervisorState {
    return this.#state;
  }

  get epoch(): number {
    return this.#epoch;
  }

  /** Called on each change of state, until the returned function is called. What it throws is logged. */
  onChange(listener: (status: SupervisorStatus) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /**
   * Runs `setup` on every connection from now on, in the order of registration, the present one included. A connection
   * is handed out when all of them resolved. The returned function takes it back.
   */
  onConnect(setup: ConnectionSetup): () => void {
    this.#setups.add(setup);
    if (this.#live !== undefined) {
      // Those who have the connection already keep it; if it cannot be set up, it ends for all.
      const connection = this.#live;
      this.#runSetup(setup, connection, this.#epoch).catch((error: unknown) => {
        if (connection === this.#live) this.#drop(connection, error);
      });
    } else this.#begin();
    return () => void this.#setups.delete(setup);
  }

  /**
   * The live connection, or the next one. Rejects with `ConnectError` (naming the URL and the last cause) or
   * `TimeoutError` after `timeoutMs`, with the signal's reason on abort, with a fatal error at once, with `ClosedError`
   * after `close()`. Without a time limit it waits as long as it takes.
   */
  connection({
    signal,
    timeoutMs,
  }: {
    readonly signal?: AbortSignal;
    readonly timeoutMs?: number;
  } = {}): Promise<Connection> {
    if (this.#state === 'closed') return Promise.reject(closedError());
    if (signal?.aborted) return Promise.reject(signal.reason as Error);
    if (this.#live !== undefined) return Promise.resolve(this.#live);
    if (this.#state === 'failed' && this.#clock.now() - this.#failedAt < this.#schedule.longestDelayMs) {
      return Promise.reject(this.#error as Error);
    }
    return new Promise((resolve, reject) => {
      const end = (): void => {
        this.#waiters.delete(waiter);
        cancelTimer?.();
        signal?.removeEventListener('abort', onAbort);
      };
      const waiter: Waiter = {
        resolve: (connection) => {
          end();
          resolve(connection);
        },
        reject: (error) => {
          end();
          reject(error);
        },
      };
      const onAbort = (): void => waiter.reject(signal?.reason as Error);
      const cancelTimer =
        timeoutMs === undefined
          ? undefined
          : this.#clock.after(timeoutMs, () => waiter.reject(this.#late(timeoutMs)), false);
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#waiters.add(waiter);
      this.#begin();
    });
  }

  /** Ends the connection and every wait for one. Never rejects, takes about `timeoutMs` at most; twice is fine. */
  close({ timeoutMs = CLOSE_MS }: { readonly timeoutMs?: number } = {}): Promise<void> {
    return (this.#closing ??= this.#close(timeoutMs));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(timeoutMs: number): Promise<void> {
    const connection = this.#live;
    this.#live = undefined;
    this.#attempt?.abort.abort(closedError());
    this.#attempt = undefined;
    this.#cancelRetry?.();
    this.#change('closed');
    for (const waiter of this.#waiters) waiter.reject(closedError());
    if (connection === undefined) return;
    const closed = connection.close().catch((error: unknown) => {
      this.#logger.warn({ err: error }, 'a connection did not close cleanly');
    });
    if ((await within(closed, timeoutMs)) === LATE) {
      this.#logger.warn(
        { url: String(this.#url), timeoutMs },
        'the broker did not answer while the connection was closed',
      );
    }
  }

  get #url(): BrokerUrl {
    return this.#options.urls[this.#urlIndex % this.#options.urls.length] as BrokerUrl;
  }

  /** Starts trying, if nothing is under way. */
  #begin(): void {
    if (this.#state === 'idle' || this.#state === 'failed') {
      this.#tries = 0;
      this.#failures = 0;
      this.#fatalUrls = 0;
      void this.#try();
    } else if (this.#state === 'waiting' && this.#waiters.size === 1) {
      // The timer of a wait that nobody waited for did not keep the process alive; somebody does now.
      this.#retryLater(this.#retryAt - this.#clock.now());
    }
  }

  #try(): Promise<void> {
    return outsideOfTasks(() => this.#attemptOnce());
  }

  async #attemptOnce(): Promise<void> {
    const attempt: Attempt = { abort: new AbortController(), url: this.#url };
    this.#attempt = attempt;
    this.#change('connecting');
    let connection: Connection | undefined;
    try {
      connection = await this.#connect(attempt);
      if (this.#attempt === attempt) await this.#setUp(connection, ++this.#epoch);
      if (this.#attempt === attempt) return this.#connected(attempt, connection);
    } catch (error) {
      if (this.#attempt === attempt) this.#failed(error);
    }
    if (connection !== undefined) await this.#discard(connection);
  }

  async #connect({ abort, url }: Attempt): Promise<Connection> {
    const { connect = {} } = this.#options;
    let transport = this.#transports.get(url.scheme);
    if (transport === undefined) {
      transport = await this.#options.transport(url);
      this.#transports.set(url.scheme, transport);
    }
    const limitMs = (connect.connectTimeoutMs ?? DEFAULT_CONNECT_MS) + CONNECT_GRACE_MS;
    const connecting = transport.connect(url, { ...connect, signal: abort.signal });
    try {
      const connection = await this.#within(connecting, limitMs, abort.signal);
      if (connection !== LATE) return connection;
      throw new ConnectError(`The broker ${String(url)} did not answer within ${limitMs} ms.`, {
        facts: { url: String(url) },
      });
    } catch (error) {
      abort.abort(error);
      // Should it come after all, nobody waits for it any more.
      connecting.then(
        (late) => this.#discard(late),
        () => undefined,
      );
      throw error;
    }
  }

  /** All set-ups in their order, but no longer than the connection lives. */
  async #setUp(connection: Connection, epoch: number): Promise<void> {
    const lost = connection.closed.then(() => {
      throw new ConnectionLostError('The connection was closed while it was set up.');
    });
    lost.catch(() => {});
    for (const setup of this.#setups) await Promise.race([this.#runSetup(setup, connection, epoch), lost]);
  }

  async #runSetup(setup: ConnectionSetup, connection: Connection, epoch: number): Promise<void> {
    const work = Promise.resolve(setup(connection, epoch));
    if ((await this.#within(work, SETUP_MS)) === LATE) {
      throw new TimeoutError(`Setting up the connection to ${String(this.#url)} took longer than ${SETUP_MS} ms.`);
    }
  }

  #connected(attempt: Attempt, connection: Connection): void {
    this.#live = connection;
    this.#error = undefined;
    this.#failures = 0;
    this.#fatalUrls = 0;
    this.#connectedAt = this.#clock.now();
    connection.closed.then(
      () => this.#drop(connection, new ConnectionLostError('The connection was closed.')),
      (error: unknown) => this.#drop(connection, error),
    );
    this.#change('connected');
    this.#logger.info({ url: String(attempt.url), epoch: this.#epoch }, 'connected to the broker');
    for (const waiter of this.#waiters) waiter.resolve(connection);
  }

  /** The live connection is gone, or of no use. */
  #drop(connection: Connection, error: unknown): void {
    if (this.#live !== connection) return;
    this.#live = undefined;
    this.#attempt = undefined;
    void this.#discard(connection);
    if (this.#clock.now() - this.#connectedAt >= this.#schedule.stableAfterMs) this.#tries = 0;
    this.#logger.warn({ err: error, url: String(this.#url) }, 'the connection to the broker was lost');
    this.#failed(error);
  }

  #failed(cause: unknown): void {
    const error = toLovageError(cause, this.#url);
    const { maxRetries } = this.#schedule;
    const { urls } = this.#options;
    this.#attempt = undefined;
    this.#error = error;
    this.#failures++;
    // A closed thing is the connection itself: the next one is open.
    this.#fatalUrls = error.retryable || error.code === 'ERR_CLOSED' ? 0 : this.#fatalUrls + 1;
    const failedUrl = String(this.#url);
    const wasLost = this.#tries === 0 && isLovageError(error, 'ERR_CONNECTION_LOST');
    // A lost connection is sought at the same place first.
    if (!wasLost) this.#urlIndex = (this.#urlIndex + 1) % urls.length;
    const isFatal = this.#fatalUrls >= urls.length;
    if (isFatal || (maxRetries !== undefined && this.#failures > maxRetries)) {
      this.#failedAt = this.#clock.now();
      const given = isFatal ? error : this.#connectError(`The broker could not be reached in ${this.#failures} tries`);
      this.#error = given;
      this.#change('failed');
      this.#logger.error({ err: given, url: failedUrl }, 'giving up on the broker');
      for (const waiter of this.#waiters) waiter.reject(given);
      return;
    }
    const delayMs = this.#nextDelay(wasLost);
    if (!wasLost)
      this.#logger.warn({ err: error, url: failedUrl, delayMs }, 'the broker could not be reached; trying again');
    this.#retryLater(delayMs);
  }

  /** None within a round through all URLs, and for the first try after a stable connection; then growing. */
  #nextDelay(wasLost: boolean): number {
    const { firstDelayMs, longestDelayMs, factor, jitter } = this.#schedule;
    if (wasLost) {
      this.#tries = 1;
      return 0;
    }
    const tries = this.#tries++;
    const round = Math.floor(tries / this.#options.urls.length);
    if ((tries + 1) % this.#options.urls.length !== 0) return 0;
    const delayMs = Math.min(longestDelayMs, firstDelayMs * factor ** round);
    return Math.round(delayMs * (1 - jitter * this.#clock.random()));
  }

  #retryLater(delayMs: number): void {
    this.#cancelRetry?.();
    this.#retryAt = this.#clock.now() + delayMs;
    const isIdle = this.#waiters.size === 0 && this.#setups.size === 0;
    this.#cancelRetry = this.#clock.after(
      Math.max(0, delayMs),
      () => {
        this.#cancelRetry = undefined;
        void this.#try();
      },
      isIdle,
    );
    if (this.#state !== 'waiting') this.#change('waiting');
  }

  async #discard(connection: Connection): Promise<void> {
    try {
      await connection.close();
    } catch (error) {
      this.#logger.warn({ err: error }, 'a connection did not close cleanly');
    }
  }

  /** Like the shared one, on the supervisor's clock, and ended by the signal. */
  #within<T>(work: Promise<T>, ms: number, signal?: AbortSignal): Promise<T | typeof LATE> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        cancel();
        reject(signal?.reason as Error);
      };
      const cancel = this.#clock.after(ms, () => resolve(LATE), true);
      signal?.addEventListener('abort', onAbort, { once: true });
      work.then(resolve, reject).finally(() => {
        cancel();
        signal?.removeEventListener('abort', onAbort);
      });
    });
  }

  #late(timeoutMs: number): Error {
    if (this.#error !== undefined)
      return this.#connectError(`There was no connection to the broker within ${timeoutMs} ms`);
    return new TimeoutError(`There was no connection to the broker ${String(this.#url)} within ${timeoutMs} ms.`, {
      facts: { url: String(this.#url) },
    });
  }

  #connectError(what: string): LovageError {
    const urls = this.#options.urls.map(String);
    return new ConnectError(`${what} (${urls.join(', ')}): ${this.#error?.message ?? 'no answer'}`, {
      cause: this.#error,
      facts: { url: urls.join(';') },
    });
  }

  #change(state: SupervisorState): void {
    this.#state = state;
    const { status } = this;
    for (const listener of this.#listeners) {
      try {
        listener(status);
      } catch (error) {
        this.#logger.error({ err: error }, 'a listener of the broker connection threw');
      }
    }
  }
}

function toLovageError(cause: unknown, url: BrokerUrl): LovageError {
  if (isLovageError(cause)) return cause;
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new ConnectError(`The broker ${String(url)} could not be reached: ${reason}`, {
    cause,
    facts: { url: String(url) },
  });
}

function closedError(): Error {
  return new ClosedError('The connection to the broker was closed by this process.');
}
