import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  anySignal,
  AuthError,
  BrokerBlockedError,
  ClosedError,
  ConnectError,
  ConnectionLostError,
  isLovageError,
  type LovageError,
  reasonOf,
} from '@lovage/core/transport';
import { type Dispatcher, Pool } from 'undici';
import type { TlsSettings } from '@lovage/core/options';

/** Where a service is, and who asks. */
export interface HttpEndpoint {
  /** What it is, for messages: `CouchDB`. */
  readonly service: string;
  /** `https://host:6984`. */
  readonly origin: string;
  /** Sent with every request; may hold secrets and is never shown. */
  readonly headers: Readonly<Record<string, string>>;
  /** undefined: plain text. */
  readonly tls: TlsSettings | undefined;
  /** The URL with its password masked, for messages. */
  readonly url: string;
}

export interface HttpLinkOptions {
  /** For one TCP connection with TLS. Default 4000. */
  readonly connectTimeoutMs?: number | undefined;
  /** A server that says nothing for so long while it owes an answer is lost. Default 40000. */
  readonly silenceMs?: number;
  /** How long a request that the server is too busy for (429, 5xx) is tried again. Default 10000. */
  readonly patienceMs?: number;
}

export interface HttpRequest {
  readonly method: 'GET' | 'PUT' | 'POST' | 'PATCH' | 'DELETE';
  /** With the query, encoded. */
  readonly path: string;
  /** Sent as JSON; text is taken as JSON already. */
  readonly body?: unknown;
  /** How long the server may let it wait by design (long polling); on top of the silence that loses it. Default 0. */
  readonly waitMs?: number;
  /** Abort rejects with the signal's reason and ends the request. */
  readonly signal?: AbortSignal | undefined;
}

export interface HttpReply {
  /** Never 401, 403 with no JSON, 429 or above 499: those are errors. */
  readonly status: number;
  /** Parsed JSON; undefined where there was none. */
  readonly body: unknown;
  /** More than 1: an earlier attempt may have done its work before it failed. */
  readonly attempts: number;
}

/** Requests that may be under way at once; those that wait at the server by design have connections of their own. */
const MAX_CONNECTIONS = 10;
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 2000;
const BUSY: ReadonlySet<number> = new Set([429, 500, 502, 503, 504]);

/**
 * JSON requests to one HTTP service, over connections that are kept. It has one life: after a connection that broke in
 * mid-request, or a server that stayed silent, everything pending rejects with `ConnectionLostError`, `lost` rejects,
 * and every later call rejects too. After `close()` calls reject with `ClosedError`.
 *
 * A server that is too busy (429, 500, 502, 503, 504) is asked again, with growing pauses or after its `Retry-After`, and
 * is a `BrokerBlockedError` when its time is over. 401 is an `AuthError`; other answers are the caller's.
 */
export class HttpLink {
  readonly endpoint: HttpEndpoint;
  /** Pending while the link lives; rejects with `ConnectionLostError`. Never settles after a `close()`. */
  readonly lost: Promise<never>;
  readonly #silenceMs: number;
  readonly #patienceMs: number;
  readonly #pool: Pool;
  readonly #waiting: Pool;
  readonly #end = new AbortController();
  #lose!: (error: LovageError) => void;
  /** Nothing has been answered yet: a failure is one of connecting. */
  #isFresh = true;
  #loss: LovageError | undefined;

  constructor(
    endpoint: HttpEndpoint,
    { connectTimeoutMs = 4000, silenceMs = 40_000, patienceMs = 10_000 }: HttpLinkOptions = {},
  ) {
    this.endpoint = endpoint;
    this.#silenceMs = silenceMs;
    this.#patienceMs = patienceMs;
    this.lost = new Promise((_, reject) => {
      this.#lose = reject;
    });
    this.lost.catch(() => undefined);
    const options = { pipelining: 1, connect: { ...endpoint.tls, timeout: connectTimeoutMs } };
    this.#pool = new Pool(endpoint.origin, { ...options, connections: MAX_CONNECTIONS });
    this.#waiting = new Pool(endpoint.origin, { ...options, connections: null });
  }

  async request({ method, path, body, waitMs = 0, signal }: HttpRequest): Promise<HttpReply> {
    const deadline = Date.now() + this.#patienceMs;
    for (let attempts = 1; ; attempts++) {
      const { statusCode, headers, text } = await this.#dispatch(method, path, body, waitMs, signal);
      if (statusCode === 401) {
        const { service, url } = this.endpoint;
        throw new AuthError(`${service} at ${url} refused the credentials. Check them in the URL.`, { facts: { url } });
      }
      if (!BUSY.has(statusCode)) return { status: statusCode, body: parse(text), attempts };
      const pauseMs =
        retryAfterMs(headers['retry-after']) ??
        Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (attempts - 1)) * (0.5 + Math.random() / 2);
      if (Date.now() + pauseMs > deadline) throw this.#busy(statusCode, text);
      const end = anySignal([this.#end.signal, signal]);
      try {
        await sleep(pauseMs, undefined, { signal: end.signal });
      } catch {
        throw signal?.aborted === true ? (signal.reason as Error) : this.#refusal();
      } finally {
        end.release();
      }
    }
  }

  /** The text of an answer that goes on and on, as it comes. Ends with the answer; a silent server is a loss. */
  async *stream(path: string, { signal }: { readonly signal?: AbortSignal } = {}): AsyncGenerator<string, void> {
    const reply = await this.#send('GET', path, undefined, this.#waiting, this.#silenceMs, signal);
    if (reply.statusCode !== 200) {
      const text = await this.#read(reply.body, signal);
      throw BUSY.has(reply.statusCode) ? this.#busy(reply.statusCode, text) : this.unexpected(reply.statusCode, text);
    }
    this.#isFresh = false;
    reply.body.setEncoding('utf8');
    try {
      for await (const chunk of reply.body as AsyncIterable<string>) yield chunk;
    } catch (error) {
      throw this.#failed(error, signal);
    }
  }

  /** The link is of no use any more. */
  fail(error: unknown): LovageError {
    if (this.#loss !== undefined) return this.#loss;
    const { service, url } = this.endpoint;
    const loss = isLovageError(error, 'ERR_CONNECTION_LOST')
      ? error
      : new ConnectionLostError(`The connection to ${service} at ${url} was lost: ${reasonOf(error)}`, {
          cause: error,
          facts: { url },
        });
    this.#loss = loss;
    this.#lose(loss);
    this.#destroy(loss);
    return loss;
  }

  /** Ends everything at once. */
  close(): void {
    if (this.#loss !== undefined) return;
    const { service, url } = this.endpoint;
    this.#loss = new ClosedError(`The connection to ${service} at ${url} is closed.`, { facts: { url } });
    this.#destroy(this.#loss);
  }

  /** For an answer that the caller has no use for. */
  unexpected(status: number, body: unknown): LovageError {
    const { service, url } = this.endpoint;
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    return new ConnectionLostError(`${service} at ${url} answered ${status}: ${String(text).slice(0, 200)}`, {
      facts: { url, status },
    });
  }

  async #dispatch(
    method: HttpRequest['method'],
    path: string,
    body: unknown,
    waitMs: number,
    signal: AbortSignal | undefined,
  ): Promise<{ statusCode: number; headers: Dispatcher.ResponseData['headers']; text: string }> {
    const pool = waitMs > 0 ? this.#waiting : this.#pool;
    const reply = await this.#send(method, path, body, pool, this.#silenceMs + waitMs, signal);
    const text = await this.#read(reply.body, signal);
    this.#isFresh = false;
    return { statusCode: reply.statusCode, headers: reply.headers, text };
  }

  async #send(
    method: HttpRequest['method'],
    path: string,
    body: unknown,
    pool: Pool,
    silenceMs: number,
    signal: AbortSignal | undefined,
  ): Promise<Dispatcher.ResponseData> {
    if (this.#loss !== undefined) throw this.#loss;
    signal?.throwIfAborted();
    try {
      return await pool.request({
        method,
        path,
        headers: { ...this.endpoint.headers, accept: 'application/json', 'content-type': 'application/json' },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
        ...(signal === undefined ? {} : { signal }),
        headersTimeout: silenceMs,
        bodyTimeout: silenceMs,
      });
    } catch (error) {
      throw this.#failed(error, signal);
    }
  }

  async #read(body: Readable, signal: AbortSignal | undefined): Promise<string> {
    try {
      return await (body as Dispatcher.ResponseData['body']).text();
    } catch (error) {
      throw this.#failed(error, signal);
    }
  }

  #failed(error: unknown, signal: AbortSignal | undefined): Error {
    if (this.#loss !== undefined) return this.#loss;
    if (signal?.aborted === true) return signal.reason as Error;
    if (!this.#isFresh) return this.fail(error);
    const { service, url } = this.endpoint;
    this.close();
    return new ConnectError(`${service} at ${url} could not be reached: ${reasonOf(error)}`, {
      cause: error,
      facts: { url },
      retryable: !isCertificateError(error),
    });
  }

  #busy(status: number, text: string): LovageError {
    const { service, url } = this.endpoint;
    return new BrokerBlockedError(`${service} at ${url} is too busy (${status}): ${text.slice(0, 200)}`, {
      facts: { url, status },
    });
  }

  #refusal(): Error {
    return this.#loss as Error;
  }

  #destroy(reason: LovageError): void {
    this.#end.abort(reason);
    void this.#pool.destroy(reason);
    void this.#waiting.destroy(reason);
  }
}

function parse(text: string): unknown {
  if (text === '') return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Seconds, or a date. Source: RFC 9110, 10.2.3. */
function retryAfterMs(value: string | string[] | undefined): number | undefined {
  const text = Array.isArray(value) ? value[0] : value;
  if (text === undefined) return undefined;
  const seconds = Number(text);
  const ms = Number.isFinite(seconds) ? seconds * 1000 : Date.parse(text) - Date.now();
  return Number.isFinite(ms) ? Math.max(0, ms) : undefined;
}

/** Node names certificate failures with OpenSSL's X509 codes; trying again cannot help. */
function isCertificateError(error: unknown): boolean {
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' && /^(CERT_|ERR_TLS_CERT|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|HOSTNAME_)/.test(code);
}
