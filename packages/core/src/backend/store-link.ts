import { setTimeout as sleep } from 'node:timers/promises';
import { ClosedError, ConnectionLostError, isLovageError, type LovageError, TimeoutError } from '../errors.ts';
import { anySignal } from '../internal/any-signal.ts';
import { LATE, within } from '../internal/deadline.ts';
import { silentLogger, type Logger } from '../internal/log.ts';
import { outsideOfTasks } from '../internal/outside-of-tasks.ts';
import type { BackendUrl } from '../transport/url.ts';
import type { BackendOptions } from './contract.ts';
import type { KeyValueDefinition, KeyValueStore } from './key-value-store.ts';

/** Every call to the store has an answer, or an error, within this time. */
const CALL_MS = 10_000;
const CLOSE_MS = 5000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5000;

/** Who needs the store even while nobody calls it. */
export interface StoreWatcher {
  /** Somebody waits for what the store tells: a lost one is opened again at once. */
  readonly isWaiting: boolean;
  /** On a store that was just opened, before anybody else has it. */
  attach(store: KeyValueStore): Promise<void>;
  /** Reads what was missed while there was no store. */
  catchUp(): Promise<void>;
}

/**
 * The store behind a backend, through its lives: opened when it is needed, given up when it is lost or answers nothing,
 * opened again by the next call, or at once while somebody waits.
 */
export class StoreLink {
  readonly #definition: KeyValueDefinition;
  readonly #url: BackendUrl;
  readonly #options: BackendOptions;
  readonly #logger: Logger;
  readonly #watcher: StoreWatcher;
  readonly #underway = new Set<Promise<unknown>>();
  readonly #stop = new AbortController();
  #store: KeyValueStore | undefined;
  #opening: Promise<KeyValueStore> | undefined;
  #isReopening = false;
  #isClosing = false;

  constructor(definition: KeyValueDefinition, url: BackendUrl, options: BackendOptions, watcher: StoreWatcher) {
    this.#definition = definition;
    this.#url = url;
    this.#options = options;
    this.#logger = options.logger ?? silentLogger;
    this.#watcher = watcher;
  }

  /** The live store, if there is one. */
  get live(): KeyValueStore | undefined {
    return this.#store;
  }

  /**
   * Runs `work` on the live store, opening one if there is none, within the time of a call. `isLast`: also while closing.
   * `isLong`: it may take its time, as each of its requests has its own limit.
   */
  async call<T>(
    work: (store: KeyValueStore) => Promise<T>,
    { isLast = false, isLong = false }: { readonly isLast?: boolean; readonly isLong?: boolean } = {},
  ): Promise<T> {
    if (this.#isClosing && !isLast) throw closedError();
    const deadline = Date.now() + CALL_MS;
    const store = this.#store ?? (await this.opened(deadline));
    const running = work(store);
    this.#underway.add(running);
    try {
      const result = isLong ? await running : await within(running, deadline - Date.now());
      if (result !== LATE) return result;
    } catch (error) {
      if (store.lost !== undefined && isLovageError(error, 'ERR_CONNECTION_LOST')) this.#lose(store, error);
      // Another call has found the link lost and closed it: to this one that is a loss too, and it may be tried again.
      if (isLovageError(error, 'ERR_CLOSED') && !this.#isClosing && this.#store !== store) {
        throw new ConnectionLostError('The link to the result store was lost during the call.', { cause: error });
      }
      throw error;
    } finally {
      this.#underway.delete(running);
    }
    const error = new TimeoutError(`The result store ${String(this.#url)} did not answer within ${CALL_MS} ms.`, {
      facts: { url: String(this.#url) },
    });
    // A link that answers nothing is of no use to the next call either.
    this.#lose(store, error);
    throw error;
  }

  async opened(deadline: number = Date.now() + CALL_MS): Promise<KeyValueStore> {
    if (this.#store !== undefined) return this.#store;
    if (this.#stop.signal.aborted) throw closedError();
    this.#opening ??= outsideOfTasks(() => this.#open()).finally(() => {
      this.#opening = undefined;
    });
    const store = await within(this.#opening, deadline - Date.now());
    if (store === LATE) throw this.#lateOpening();
    return store;
  }

  /** What is under way may still end; nothing new begins, but for the last calls. `onStop`: when no time is left. */
  async close(onStop: () => void): Promise<void> {
    this.#isClosing = true;
    const deadline = Date.now() + CLOSE_MS;
    await within(Promise.allSettled(this.#underway), CLOSE_MS);
    this.#stop.abort(closedError());
    onStop();
    const store = this.#store;
    this.#store = undefined;
    if (store !== undefined) await within(store.close(), Math.max(500, deadline - Date.now()));
  }

  async #open(): Promise<KeyValueStore> {
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(this.#lateOpening()), CALL_MS);
    const end = anySignal([this.#stop.signal, late.signal]);
    const { signal } = end;
    try {
      const store = await this.#definition.open(this.#url, { ...this.#options, signal });
      try {
        signal.throwIfAborted();
        await this.#watcher.attach(store);
        // Closed meanwhile: nobody would close this one.
        signal.throwIfAborted();
      } catch (error) {
        void store.close();
        throw error;
      }
      this.#store = store;
      store.lost?.catch((error: unknown) => this.#lose(store, error));
      return store;
    } finally {
      clearTimeout(timer);
      end.release();
    }
  }

  #lateOpening(): LovageError {
    const url = String(this.#url);
    return new TimeoutError(`The result store ${url} could not be opened within ${CALL_MS} ms.`, { facts: { url } });
  }

  #lose(store: KeyValueStore, error: unknown): void {
    if (this.#store !== store) return;
    this.#store = undefined;
    void store.close();
    if (this.#isClosing) return;
    this.#logger.warn({ err: error, url: String(this.#url) }, 'the link to the result store was lost');
    if (this.#watcher.isWaiting) void this.#reopen();
  }

  /** Somebody waits for notifications: opens again without being asked, and reads what was missed. */
  async #reopen(): Promise<void> {
    if (this.#isReopening) return;
    this.#isReopening = true;
    for (let failures = 0; this.#watcher.isWaiting && !this.#isClosing; failures++) {
      try {
        await this.opened();
        await this.#watcher.catchUp();
        break;
      } catch (error) {
        const pauseMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** failures) * (0.5 + Math.random() / 2);
        this.#logger.warn(
          { err: error, url: String(this.#url), pauseMs },
          'the result store could not be opened; trying again',
        );
        await sleep(pauseMs, undefined, { ref: false, signal: this.#stop.signal }).catch(() => {}); // closed meanwhile
      }
    }
    this.#isReopening = false;
  }
}

export function closedError(): LovageError {
  return new ClosedError('The result store is closed.');
}
