import {
  AuthError,
  ConnectionLostError,
  type Logger,
  type LovageError,
  MessageTooLargeError,
  TimeoutError,
} from '@lovage/core/transport';
import {
  type ConnectionOptions,
  connect,
  createInbox,
  credsAuthenticator,
  errors,
  type Msg,
  type MsgHdrs,
  type NatsConnection,
  nkeyAuthenticator,
} from '@nats-io/transport-node';
import type { HostAndPort, NatsEndpoint } from './endpoint.ts';
import { toLovageError } from './errors.ts';
import { probe } from './probe.ts';

/** How often an open link looks whether its server still speaks, as parts of a heartbeat. */
const CHECKS_PER_HEARTBEAT = 4;

/** Opens a link to the first of the servers, in a random order, that answers. */
export async function openLink(
  endpoint: NatsEndpoint,
  { clientName, logger, signal }: { clientName: string | undefined; logger: Logger; signal: AbortSignal | undefined },
): Promise<NatsLink> {
  signal?.throwIfAborted();
  const deadline = performance.now() + endpoint.connectTimeoutMs;
  const servers = shuffled(endpoint.servers);
  let failure: unknown;
  for (const [index, server] of servers.entries()) {
    const leftMs = Math.max(1, deadline - performance.now()) / (servers.length - index);
    try {
      await probe(server, { timeoutMs: leftMs, speaksFirst: !endpoint.tlsFirst, signal });
      return await connectTo(server, endpoint, { clientName, logger, signal, timeoutMs: deadline - performance.now() });
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      failure = error;
    }
  }
  throw toLovageError(failure, 'opening', endpoint.url);
}

async function connectTo(
  { host, port }: HostAndPort,
  endpoint: NatsEndpoint,
  more: { clientName: string | undefined; logger: Logger; signal: AbortSignal | undefined; timeoutMs: number },
): Promise<NatsLink> {
  const { signal } = more;
  const opening = connect({
    ...connectionOptions(endpoint),
    servers: `${host.includes(':') ? `[${host}]` : host}:${port}`,
    timeout: Math.max(1, more.timeoutMs),
    ...(more.clientName === undefined ? {} : { name: more.clientName }),
  });
  if (signal === undefined) return new NatsLink(await opening, endpoint, more.logger);
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    const connection = await Promise.race([opening, aborted]);
    return new NatsLink(connection, endpoint, more.logger);
  } catch (error) {
    // Should it come after all, nobody waits for it any more.
    opening.then(
      (late) => late.close(),
      () => undefined,
    );
    throw error;
  } finally {
    if (onAbort !== undefined) signal.removeEventListener('abort', onAbort);
    aborted.catch(() => undefined);
  }
}

function connectionOptions(endpoint: NatsEndpoint): ConnectionOptions {
  const { username, password, token, credentials, nkeySeed, tls, tlsFirst, inboxPrefix } = endpoint;
  return {
    reconnect: false,
    ignoreClusterUpdates: true,
    noAsyncTraces: true,
    ...(username === undefined ? {} : { user: username }),
    ...(password === undefined ? {} : { pass: password }),
    ...(token === undefined ? {} : { token }),
    ...(credentials === undefined
      ? nkeySeed === undefined
        ? {}
        : { authenticator: nkeyAuthenticator(nkeySeed) }
      : { authenticator: credsAuthenticator(credentials) }),
    // The client hands them on to Node as they are.
    ...(tls === undefined ? {} : { tls: { ...tls, ...(tlsFirst ? { handshakeFirst: true } : {}) } as object }),
    ...(inboxPrefix === undefined ? {} : { inboxPrefix }),
  };
}

/** One message that wants an answer. */
export interface Question {
  readonly subject: string;
  readonly payload: string | Uint8Array;
  readonly headers?: MsgHdrs;
}

/** What listens for the answers to something sent: ends when it says so, or with the link. */
export interface Listener {
  onReply(reply: Msg, index: number): void;
  onLost(error: LovageError): void;
  onDenied?(subject: string, error: LovageError): void;
}

/**
 * One open connection. When it is lost, everything pending rejects with `ConnectionLostError` and `lost` rejects.
 * All answers to questions come in by one subscription.
 */
export class NatsLink {
  readonly connection: NatsConnection;
  /** Pending while the link lives; rejects with `ConnectionLostError`. Never settles after a `close()`. */
  readonly lost: Promise<never>;
  readonly endpoint: NatsEndpoint;
  readonly #logger: Logger;
  readonly #listeners = new Map<number, Listener>();
  readonly #inbox: string;
  readonly #watchdog: NodeJS.Timeout;
  #rejectLost!: (error: LovageError) => void;
  #loss: LovageError | undefined;
  #isClosed = false;
  #next = 1;
  #messagesSeen = 0;
  #silentChecks = 0;

  constructor(connection: NatsConnection, endpoint: NatsEndpoint, logger: Logger) {
    this.connection = connection;
    this.endpoint = endpoint;
    this.#logger = logger;
    this.lost = new Promise<never>((_, reject) => {
      this.#rejectLost = reject;
    });
    this.lost.catch(() => undefined);
    this.#inbox = `${createInbox(endpoint.inboxPrefix)}.`;
    connection.subscribe(`${this.#inbox}>`, {
      callback: (error, reply) => {
        if (error === null) this.#dispatch(reply);
        else this.fail(toLovageError(error, 'open', endpoint.url));
      },
    });
    void connection.closed().then((error) => this.fail(error ?? new Error('the server closed the connection')));
    void this.#watchStatus();
    this.#watchdog = setInterval(() => this.#check(), endpoint.heartbeatMs / CHECKS_PER_HEARTBEAT).unref();
  }

  /** What ended the link; undefined while it lives. */
  get loss(): LovageError | undefined {
    return this.#loss;
  }

  /** Ends the link as lost. */
  fail(cause: unknown): void {
    if (this.#isClosed || this.#loss !== undefined) return;
    const { url } = this.endpoint;
    const error = toLovageError(cause, 'open', url);
    this.#loss =
      error.code === 'ERR_CONNECTION_LOST'
        ? error
        : new ConnectionLostError(`The connection to NATS at ${url} was lost: ${error.message}`, {
            cause,
            facts: { url },
          });
    clearInterval(this.#watchdog);
    this.#rejectLost(this.#loss);
    const listeners = [...this.#listeners.values()];
    this.#listeners.clear();
    for (const listener of listeners) listener.onLost(this.#loss);
    void this.connection.close().catch(() => undefined);
  }

  /** Disconnects at once. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#watchdog);
    const error = new ConnectionLostError('The connection to NATS was closed.');
    for (const listener of this.#listeners.values()) listener.onLost(error);
    this.#listeners.clear();
    await this.connection.close().catch(() => undefined);
  }

  /** Hears what is sent to `replyTo(index)`, until `end()`. Throws `ConnectionLostError` when there is no link. */
  listen(listener: Listener): { replyTo: (index?: number) => string; end: () => void } {
    if (this.#loss !== undefined) throw this.#loss;
    const id = this.#next++;
    this.#listeners.set(id, listener);
    return {
      replyTo: (index = 0) => `${this.#inbox}${id}.${index}`,
      end: () => this.#listeners.delete(id),
    };
  }

  /** Sends without waiting for anything. Throws `ConnectionLostError` when there is no link. */
  send(subject: string, payload: string | Uint8Array, replyTo?: string, headers?: MsgHdrs): void {
    if (this.#loss !== undefined) throw this.#loss;
    try {
      this.connection.publish(subject, payload, {
        ...(replyTo === undefined ? {} : { reply: replyTo }),
        ...(headers === undefined ? {} : { headers }),
      });
    } catch (error) {
      if (error instanceof errors.InvalidArgumentError) {
        const limitBytes = this.connection.info?.max_payload ?? 0;
        throw new MessageTooLargeError(
          `A message of ${Buffer.byteLength(payload)} bytes and its headers is more than the ${limitBytes} bytes that this server takes (max_payload).`,
          { cause: error, facts: { limitBytes } },
        );
      }
      throw toLovageError(error, 'open', this.endpoint.url);
    }
  }

  /** Sends all in one go; for each the reply or the reason why there is none. Rejects with `ConnectionLostError`. */
  askAll(questions: readonly Question[], timeoutMs: number): Promise<readonly (Msg | LovageError)[]> {
    if (questions.length === 0) return Promise.resolve([]);
    return new Promise((resolve, reject) => {
      const answers: (Msg | LovageError | undefined)[] = Array.from({ length: questions.length });
      let left = questions.length;
      const answer = (index: number, value: Msg | LovageError): void => {
        if (answers[index] !== undefined) return;
        answers[index] = value;
        if (--left > 0) return;
        clearTimeout(timer);
        inbox.end();
        resolve(answers as (Msg | LovageError)[]);
      };
      const inbox = this.listen({
        onReply: (reply, index) => answer(index, reply),
        onLost: (error) => {
          clearTimeout(timer);
          reject(error);
        },
        onDenied: (subject, error) => {
          for (const [index, question] of questions.entries()) if (question.subject === subject) answer(index, error);
        },
      });
      const timer = setTimeout(() => {
        const error = new TimeoutError(`NATS at ${this.endpoint.url} did not answer within ${timeoutMs} ms.`);
        for (const index of questions.keys()) answer(index, error);
      }, timeoutMs);
      for (const [index, { subject, payload, headers }] of questions.entries()) {
        try {
          this.send(subject, payload, inbox.replyTo(index), headers);
        } catch (error) {
          answer(index, error as LovageError);
        }
      }
    });
  }

  #dispatch(reply: Msg): void {
    const [id, index] = reply.subject.slice(this.#inbox.length).split('.');
    this.#listeners.get(Number(id))?.onReply(reply, Number(index));
  }

  async #watchStatus(): Promise<void> {
    for await (const status of this.connection.status()) {
      if (status.type !== 'error') continue;
      const { error } = status;
      this.#logger.warn({ err: error, url: this.endpoint.url }, 'the NATS server reported an error');
      if (!(error instanceof errors.PermissionViolationError)) continue;
      const denied = new AuthError(
        `The NATS user has no right to ${error.operation === 'publish' ? 'publish to' : 'subscribe to'} "${error.subject}".`,
        { cause: error },
      );
      for (const listener of this.#listeners.values()) listener.onDenied?.(error.subject, denied);
    }
  }

  /** Counts checks instead of comparing clocks: a blocked event loop or a suspended machine is not the server's silence. */
  #check(): void {
    const { inMsgs } = this.connection.stats();
    if (inMsgs !== this.#messagesSeen) {
      this.#messagesSeen = inMsgs;
      this.#silentChecks = 0;
      return;
    }
    this.#silentChecks++;
    if (this.#silentChecks === CHECKS_PER_HEARTBEAT) {
      this.connection.flush().then(
        () => {
          this.#silentChecks = 0;
        },
        () => undefined, // the client says that it is closed
      );
    } else if (this.#silentChecks >= CHECKS_PER_HEARTBEAT * 2) {
      this.fail(new Error(`it said nothing for ${this.endpoint.heartbeatMs * 2} ms`));
    }
  }
}

/** Where JetStream's API is asked. */
export function apiPrefix({ domain }: Pick<NatsEndpoint, 'domain'>): string {
  return domain === undefined ? '$JS.API' : `$JS.${domain}.API`;
}

function shuffled<T>(items: readonly T[]): readonly T[] {
  const rest = [...items];
  return items.map(() => rest.splice(Math.floor(Math.random() * rest.length), 1)[0] as T);
}
