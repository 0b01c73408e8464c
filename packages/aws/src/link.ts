import { setTimeout as sleep } from 'node:timers/promises';
import { anySignal, ClosedError, ConnectionLostError, type Logger, type LovageError } from '@lovage/core/transport';
import { type AwsService, kindOf, toLovageError } from './errors.ts';

/** Pauses between attempts, in milliseconds, jittered down to half. */
const PAUSES_MS = [50, 100, 200, 400, 800, 1600, 3000] as const;
const BUSY_MS = 10_000;
/** The part of the time until a link is lost that every attempt has. */
const LEAST_PART = 1 / 8;

export interface AwsLinkOptions {
  readonly service: AwsService;
  /** No answer to anything for this long, while something was asked: the link is lost. */
  readonly lossMs: number;
  /** How long one request may take, beyond the time that the service was asked to wait. */
  readonly requestMs: number;
  /** How long answers that ask for patience are obeyed, pauses included, before the call fails. Default 10000. */
  readonly busyMs?: number;
  /** Where it leads, for errors; no secrets. */
  readonly where: string;
  readonly logger: Logger;
}

export interface RequestOptions {
  /** For errors: `Receiving from the queue "a"`. */
  readonly what: string;
  /** How long the service was asked to wait. Default 0. */
  readonly waitMs?: number;
  /** Gives up at once with the signal's reason; the service may have done what was asked. */
  readonly signal?: AbortSignal;
}

/**
 * Requests over HTTP, where no socket is a session: a cut one is replaced. The link is lost when nothing was answered for
 * a while.
 */
export class AwsLink {
  readonly lost: Promise<never>;
  readonly #options: AwsLinkOptions;
  readonly #abort = new AbortController();
  #lose!: (error: Error) => void;
  #failingSince: number | undefined;

  constructor(options: AwsLinkOptions) {
    this.#options = options;
    this.lost = new Promise((_, reject) => {
      this.#lose = reject;
    });
    this.lost.catch(() => {});
  }

  get isOver(): boolean {
    return this.#abort.signal.aborted;
  }

  /** Requests under way end with `ClosedError`. */
  close(): void {
    this.#abort.abort(new ClosedError('The connection is closed.'));
  }

  /**
   * What `ask` gets. Tried again while the network fails, until the link counts as lost, and while the service asks for
   * patience, for `busyMs`. So what was asked may have been done before, by an attempt whose answer was lost. Rejects
   * with one of our errors.
   */
  async request<T>(ask: (signal: AbortSignal) => Promise<T>, { what, waitMs = 0, signal }: RequestOptions): Promise<T> {
    const startedAt = Date.now();
    for (let attempt = 0; ; attempt++) {
      const ends = [this.#abort.signal, ...(signal === undefined ? [] : [signal])];
      for (const each of ends) each.throwIfAborted();
      const timeout = new AbortController();
      const timer = setTimeout(() => timeout.abort(), waitMs + this.#attemptMs(attempt));
      const end = anySignal([timeout.signal, ...ends]);
      const askedAt = Date.now();
      const pauseMs = (PAUSES_MS[attempt] ?? (PAUSES_MS.at(-1) as number)) * (0.5 + Math.random() / 2);
      try {
        const answer = await ask(end.signal);
        this.#failingSince = undefined;
        return answer;
      } catch (error) {
        for (const each of ends) each.throwIfAborted();
        const failure = this.#judge(error, what, { answerDueAt: askedAt + waitMs, startedAt, pauseMs });
        if (failure !== undefined) throw failure;
      } finally {
        clearTimeout(timer);
        end.release();
      }
      const wake = anySignal(ends);
      await sleep(pauseMs, undefined, { signal: wake.signal }).catch(() => {});
      wake.release();
    }
  }

  /** Of one that is made again, no longer than until the link counts as lost: whoever asks has to learn it in time. */
  #attemptMs(attempt: number): number {
    const { requestMs, lossMs } = this.#options;
    if (attempt === 0 || this.#failingSince === undefined) return requestMs;
    const leftMs = this.#failingSince + lossMs - Date.now();
    return Math.min(requestMs, Math.max(leftMs, lossMs * LEAST_PART));
  }

  /** The error to end with, or undefined to try again. */
  #judge(
    error: unknown,
    what: string,
    { answerDueAt, startedAt, pauseMs }: { answerDueAt: number; startedAt: number; pauseMs: number },
  ): LovageError | undefined {
    const kind = kindOf(error);
    const now = Date.now();
    if (kind !== 'network') this.#failingSince = undefined;
    const { service, lossMs, busyMs = BUSY_MS, where, logger } = this.#options;
    if (kind === 'refused') return toLovageError(error, what, service);
    if (kind === 'busy') return now + pauseMs - startedAt > busyMs ? toLovageError(error, what, service) : undefined;
    this.#failingSince ??= Math.min(now, answerDueAt);
    logger.debug({ err: error }, `${what}: no answer; trying again`);
    if (now - this.#failingSince < lossMs) return undefined;
    const loss = new ConnectionLostError(`${where} did not answer for ${lossMs} ms.`, { cause: error });
    this.#lose(loss);
    this.#abort.abort(loss);
    return loss;
  }
}
