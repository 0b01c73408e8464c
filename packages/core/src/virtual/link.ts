import { ClosedError, ConnectionLostError, isLovageError, type LovageError } from '../errors.ts';

/** How work that waits for the broker learns that no answer will come. */
type Fail = (error: Error) => void;

/**
 * The life of one connection: open until it is closed or lost, whichever is first. Work that waits for the broker is
 * known here, so that it ends with the link and an orderly close can wait for it.
 */
export class Link {
  /** Settles once: resolves after an orderly close, rejects with the loss of a link that was open. */
  readonly closed: Promise<void>;
  readonly #onLost: (error: Error) => void;
  /** Work whose outcome becomes unknown with the link. */
  readonly #pending = new Set<Fail>();
  #onIdle: (() => void) | undefined;
  #state: 'open' | 'closing' | 'closed' | 'lost' = 'open';
  #loss: Error | undefined;
  #settleClosed!: { resolve: () => void; reject: (error: Error) => void };

  /** `onLost` is called once, when the link is lost: not for one that is closed. */
  constructor(onLost: (error: Error) => void) {
    this.#onLost = onLost;
    this.closed = new Promise((resolve, reject) => {
      this.#settleClosed = { resolve, reject };
    });
    // Whoever does not look at `closed` learns of the loss from the next call.
    this.closed.catch(() => {});
  }

  /** Neither lost nor about to close. */
  get isOpen(): boolean {
    return this.#state === 'open';
  }

  get isLost(): boolean {
    return this.#state === 'lost';
  }

  /** The loss, once there was one. */
  get loss(): Error | undefined {
    return this.#loss;
  }

  /** Why no new work is taken: `ConnectionLostError` or `ClosedError`. */
  get refusal(): Error | undefined {
    return this.#loss ?? (this.#state === 'open' ? undefined : closedError());
  }

  /** Why nothing can be settled any more: unlike new work, that goes on while closing. */
  get settleRefusal(): Error | undefined {
    return this.#loss ?? (this.#state === 'closed' ? closedError() : undefined);
  }

  checkOpen(): void {
    const { refusal } = this;
    if (refusal !== undefined) throw refusal;
  }

  /** The work's outcome, or the end of the link if that comes first. */
  guard<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#pending.add(reject);
      work.then(
        (value) => {
          this.#untrack(reject);
          resolve(value);
        },
        (error: unknown) => {
          this.#untrack(reject);
          this.noticeLoss(error);
          reject(error as Error);
        },
      );
    });
  }

  /** Work that is under way until the function returned is called; `fail` is called if the link ends first. */
  track(fail: Fail): () => void {
    this.#pending.add(fail);
    return () => this.#untrack(fail);
  }

  /** Nothing is under way. */
  get isIdle(): boolean {
    return this.#pending.size === 0;
  }

  /** Resolves when nothing is under way. */
  idle(): Promise<void> {
    if (this.isIdle) return Promise.resolve();
    return new Promise((resolve) => {
      this.#onIdle = resolve;
    });
  }

  /** Whether the error says that the link is lost, which it then is. */
  noticeLoss(error: unknown): boolean {
    if (!isLovageError(error, 'ERR_CONNECTION_LOST')) return false;
    this.lose(error);
    return true;
  }

  lose(cause: unknown): void {
    if (this.#state === 'closed' || this.#state === 'lost') return;
    const wasOpen = this.#state === 'open';
    this.#state = 'lost';
    const error = isLovageError(cause, 'ERR_CONNECTION_LOST')
      ? cause
      : new ConnectionLostError('The link to the broker broke.', { cause });
    this.#loss = error;
    this.#failPending(error);
    this.#onLost(error);
    // A loss while closing is no news: whoever closes wants the end.
    if (wasOpen) this.#settleClosed.reject(error);
  }

  /** From now on no new work is taken. False: there is no link any more to close in order. */
  beginClose(): boolean {
    if (this.#state !== 'open') return false;
    this.#state = 'closing';
    return true;
  }

  /** What is still under way ends with `ClosedError`. */
  endWork(): void {
    if (this.#state === 'closing') this.#state = 'closed';
    this.#failPending(closedError());
  }

  /** The last step of an orderly close. */
  resolveClosed(): void {
    this.#settleClosed.resolve();
  }

  #failPending(error: Error): void {
    for (const fail of this.#pending) {
      this.#untrack(fail);
      fail(error);
    }
  }

  #untrack(fail: Fail): void {
    this.#pending.delete(fail);
    if (this.#pending.size === 0) this.#onIdle?.();
  }
}

function closedError(): LovageError {
  return new ClosedError('The connection is closed.');
}
