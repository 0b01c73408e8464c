import { BrokerBlockedError, TimeoutError } from '@lovage/core/transport';
import type { NatsLink } from '@lovage/nats';
import { createInbox, type Msg, nanos, type Subscription } from '@nats-io/transport-node';
import type { Source } from './streams.ts';

/** The server answers a request that does not wait at once. */
const ANSWER_MS = 4000;
/** What a request that waits may take beyond its time. */
const GRACE_MS = 2000;

export interface Fetched {
  readonly source: Source;
  readonly message: Msg;
}

/** A message of a queue, which wants an acknowledgement; the rest are states of the server. */
export function isMessage(reply: Msg): boolean {
  return reply.reply?.startsWith('$JS.ACK.') === true;
}

/** The consumer or its stream is not there any more. */
export class SourceGoneError extends Error {
  readonly source: Source;
  constructor(source: Source) {
    super(`The consumer "${source.consumer}" does not answer.`);
    this.source = source;
  }
  static {
    SourceGoneError.prototype.name = 'SourceGoneError';
  }
}

/** Up to `max` messages that are ready now. Rejects with `ConnectionLostError`, or retryably; then nothing was taken. */
export function fetchReady(link: NatsLink, source: Source, max: number): Promise<readonly Fetched[]> {
  return new Fetch(link, [source], { batch: max, no_wait: true }, ANSWER_MS).result;
}

/**
 * Waits until one of the sources has a message, and takes it. Where two have one at the same moment both are taken:
 * no request can be called back without a look at what it met.
 */
export function fetchNext(
  link: NatsLink,
  sources: readonly Source[],
  waitMs: number,
  signal: AbortSignal,
): Promise<readonly Fetched[]> {
  return new Fetch(link, sources, { batch: 1, expires: nanos(waitMs) }, waitMs + GRACE_MS, signal).result;
}

/** Source: ADR-13 of nats-architecture-and-design. */
interface PullRequest {
  readonly batch: number;
  readonly no_wait?: true;
  readonly expires?: number;
}

/** One request to each of some consumers, until all are answered; if they wait, until one of them has a message. */
class Fetch {
  readonly result: Promise<readonly Fetched[]>;
  readonly #link: NatsLink;
  readonly #request: PullRequest;
  readonly #fetched: Fetched[] = [];
  readonly #open = new Map<Source, Subscription>();
  readonly #news: { end: () => void };
  readonly #timer: NodeJS.Timeout;
  readonly #signal: AbortSignal | undefined;
  #settle!: { resolve: (fetched: readonly Fetched[]) => void; reject: (error: Error) => void };
  #failure: Error | undefined;
  #isEnding = false;

  constructor(
    link: NatsLink,
    sources: readonly Source[],
    request: PullRequest,
    timeoutMs: number,
    signal?: AbortSignal,
  ) {
    this.#link = link;
    this.#request = request;
    this.#signal = signal;
    this.result = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
    this.#news = link.listen({
      onReply: () => {},
      onLost: (error) => this.#end(error),
      onDenied: (subject, error) => {
        if (sources.some(({ requestSubject }) => requestSubject === subject)) this.#end(error);
      },
    });
    this.#timer = setTimeout(() => {
      const isLate = request.no_wait === true;
      this.#end(isLate ? new TimeoutError(`JetStream did not answer within ${timeoutMs} ms.`) : undefined);
    }, timeoutMs);
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    const text = JSON.stringify(request);
    for (const source of sources) {
      // A message keeps the subject that it was published to: only an inbox of its own tells whose answer it is.
      const inbox = createInbox(link.endpoint.inboxPrefix);
      const subscription = link.connection.subscribe(inbox, {
        callback: (error, reply) => this.#onReply(source, error ?? undefined, reply),
      });
      this.#open.set(source, subscription);
      link.send(source.requestSubject, text, inbox);
    }
    if (signal?.aborted) this.#end();
  }

  readonly #onAbort = (): void => this.#end();

  #onReply(source: Source, error: Error | undefined, reply: Msg): void {
    if (error === undefined && isMessage(reply)) this.#fetched.push({ source, message: reply });
    else this.#failure ??= error ?? failureIn(reply, source);
    if (this.#isEnding) return;
    const isFirst = this.#request.no_wait !== true;
    if (isFirst || !isMessage(reply) || this.#fetched.length === this.#request.batch) {
      this.#open.get(source)?.unsubscribe();
      this.#open.delete(source);
    }
    if ((isFirst && this.#fetched.length > 0) || this.#failure !== undefined || this.#open.size === 0) this.#end();
  }

  #end(failure?: Error): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.#failure ??= failure;
    clearTimeout(this.#timer);
    this.#news.end();
    this.#signal?.removeEventListener('abort', this.#onAbort);
    if (this.#open.size === 0) return this.#finish();
    // The server forgets a request whose inbox nobody listens to; what was on its way to it still arrives.
    void Promise.allSettled([...this.#open.values()].map((subscription) => subscription.drain())).then(() =>
      this.#finish(),
    );
  }

  #finish(): void {
    const failure = this.#link.loss ?? (this.#fetched.length === 0 ? this.#failure : undefined);
    if (failure === undefined) this.#settle.resolve(this.#fetched);
    else this.#settle.reject(failure);
  }
}

/** What the server says instead of a message; undefined: there is none. Source: nats-server/server/consumer.go. */
function failureIn(reply: Msg, source: Source): Error | undefined {
  const code = reply.headers?.code;
  const description = reply.headers?.description ?? '';
  // No messages; the time is over, or others wait for them already.
  if (code === 404 || code === 408) return undefined;
  if (code === 503 || /deleted/i.test(description)) return new SourceGoneError(source);
  return new BrokerBlockedError(`JetStream has no messages for "${source.consumer}" now: ${code} ${description}.`);
}
