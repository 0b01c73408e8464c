import type { Socket } from 'node:net';
import { Command, Redis, type RedisOptions } from 'ioredis';
import { ClosedError, ConnectError, inTime, type LovageError } from '@lovage/core/transport';
import { deferred, type Deferred } from './deferred.ts';
import type { RedisEndpoint } from './endpoint.ts';
import { isFatalReply, toLovageError } from './errors.ts';

export interface OpenOptions {
  /** For opening as a whole. Default 4000. */
  readonly connectTimeoutMs?: number | undefined;
  /** Shown by CLIENT LIST where the endpoint names none. */
  readonly clientName?: string | undefined;
  /** Abort rejects with the signal's reason and leaves nothing open. */
  readonly signal?: AbortSignal | undefined;
}

/** A part of a reply as {@link RedisLink.bytes} gives it. */
export type Reply = Buffer | number | null | readonly Reply[];

/** Called with the channel and the message, both as they came. */
export type MessageListener = (channel: Buffer, message: Buffer | readonly Buffer[] | null, pattern?: Buffer) => void;

/**
 * Opens one connection with one life: it never reconnects, never sends a command twice and never lets one wait for a
 * connection. Rejects with `ConnectError`, `AuthError` or `ConfigError`; a server that accepts but never answers counts
 * as not reached after `connectTimeoutMs`.
 */
export async function openRedis(endpoint: RedisEndpoint, options: OpenOptions = {}): Promise<RedisLink> {
  const { signal } = options;
  signal?.throwIfAborted();
  const timeoutMs = endpoint.connectTimeoutMs ?? options.connectTimeoutMs ?? 4000;
  const client = new Redis(clientOptions(endpoint, timeoutMs, endpoint.clientName ?? options.clientName));
  let failure: unknown;
  client.on('error', (error: unknown) => {
    // The first says why; what follows only says that the socket closed.
    failure ??= error;
  });
  client.on('sentinelError', (error: unknown) => {
    failure = error;
  });
  // ioredis goes on with database 0 when its own SELECT is refused. PING is refused while Redis loads its data.
  const connecting = client.connect().then(async () => {
    if (endpoint.db !== 0) await client.select(endpoint.db);
    await client.ping();
  });
  try {
    await inTime(connecting, {
      timeoutMs,
      late: () =>
        new ConnectError(`Redis at ${endpoint.url} did not answer within ${timeoutMs} ms.`, {
          cause: failure,
          facts: { url: endpoint.url },
        }),
      signal,
    });
    return new RedisLink(client, endpoint);
  } catch (error) {
    destroy(client);
    if (signal?.aborted) throw signal.reason;
    throw toLovageError(failure ?? error, 'opening', endpoint.url);
  }
}

function clientOptions(
  endpoint: RedisEndpoint,
  connectTimeout: number,
  clientName: string | undefined,
): RedisOptions & { replyMapping: 'legacy' } {
  const { address } = endpoint;
  return {
    ...('path' in address
      ? { path: address.path }
      : 'host' in address
        ? { host: address.host, port: address.port }
        : {
            sentinels: address.sentinels.map(({ host, port }) => ({ host, port })),
            name: address.masterName,
            role: 'master' as const,
            sentinelRetryStrategy: () => null,
            sentinelCommandTimeout: connectTimeout,
            ...(address.username === undefined ? {} : { sentinelUsername: address.username }),
            ...(address.password === undefined ? {} : { sentinelPassword: address.password }),
            ...(endpoint.tls === undefined ? {} : { enableTLSForSentinelMode: true, sentinelTLS: endpoint.tls }),
          }),
    ...(endpoint.username === undefined ? {} : { username: endpoint.username }),
    ...(endpoint.password === undefined ? {} : { password: endpoint.password }),
    ...(endpoint.tls === undefined ? {} : { tls: endpoint.tls }),
    ...(clientName === undefined ? {} : { connectionName: clientName.replace(/[^!-~]+/g, '-') }),
    connectTimeout,
    keepAlive: endpoint.keepAliveMs,
    lazyConnect: true,
    retryStrategy: null,
    enableOfflineQueue: false,
    enableReadyCheck: false,
    autoResubscribe: false,
    autoResendUnfulfilledCommands: false,
    // RESP2 gives the invalidations of CLIENT TRACKING as ordinary messages; ioredis drops RESP3's.
    protocol: 2,
    replyMapping: 'legacy',
  };
}

function destroy(client: Redis): void {
  client.disconnect();
  // disconnect() says goodbye and waits up to two seconds for the other side.
  (client as unknown as { stream?: { destroy(): void } }).stream?.destroy();
}

/** How often an open link looks whether its server still speaks, as parts of the socket timeout. */
const CHECKS_PER_TIMEOUT = 4;

/**
 * One open connection. When it is lost, everything pending rejects with `ConnectionLostError`, `lost` rejects, and every
 * later call rejects too; after `close()` calls reject with `ClosedError`.
 *
 * A server that says nothing for `socketTimeoutMs` while a command waits counts as lost, and an idle link is asked with
 * PING every `healthCheckIntervalMs`.
 */
export class RedisLink {
  readonly endpoint: RedisEndpoint;
  /** Pending while the link lives; rejects with `ConnectionLostError`. Never settles after a `close()`. */
  readonly lost: Promise<never>;
  readonly #client: Redis;
  readonly #stream: Socket;
  readonly #lost: Deferred<never> = deferred<never>();
  readonly #watchdog: NodeJS.Timeout;
  #loss: LovageError | undefined;
  #isClosed = false;
  #isCorked = false;
  #pending = 0;
  #bytesSeen = 0;
  #silentChecks = 0;
  #idleChecks = 0;

  constructor(client: Redis, endpoint: RedisEndpoint) {
    this.#client = client;
    this.endpoint = endpoint;
    this.#stream = (client as unknown as { stream: Socket }).stream;
    this.lost = this.#lost.promise;
    this.lost.catch(() => undefined);
    let cause: unknown;
    client.on('error', (error: unknown) => {
      cause ??= error;
    });
    client.once('end', () => this.#end(cause ?? new Error('the server closed the connection')));
    const intervalMs = Math.max(
      20,
      Math.min(endpoint.socketTimeoutMs, endpoint.healthCheckIntervalMs) / CHECKS_PER_TIMEOUT,
    );
    // Counts checks instead of comparing clocks: a blocked event loop or a suspended machine is not the server's silence.
    const silentLimit = Math.ceil(endpoint.socketTimeoutMs / intervalMs);
    const idleLimit = Math.ceil(endpoint.healthCheckIntervalMs / intervalMs);
    this.#watchdog = setInterval(() => this.#check(silentLimit, idleLimit), intervalMs);
    this.#watchdog.unref();
  }

  get isLost(): boolean {
    return this.#loss !== undefined;
  }

  /** Sends a command; text of the reply as strings. Commands of one tick leave in one write, in order. */
  text(name: string, args: readonly (string | number | Uint8Array)[]): Promise<unknown> {
    return this.#send(name, args, 'utf8');
  }

  /** Sends a command; text of the reply as bytes. */
  bytes(name: string, args: readonly (string | number | Uint8Array)[]): Promise<Reply> {
    return this.#send(name, args, null) as Promise<Reply>;
  }

  /** Called with each message of a subscribed channel or pattern, and with invalidated keys (a list, or null for all). */
  onMessage(listener: MessageListener): void {
    this.#client.on('messageBuffer', (channel: Buffer, message: Buffer) => listener(channel, message));
    this.#client.on('pmessageBuffer', (pattern: Buffer | string, channel: Buffer, message: Buffer) =>
      listener(channel, message, Buffer.from(pattern)),
    );
  }

  /** Ends the connection at once. Never rejects; twice is fine. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearInterval(this.#watchdog);
    destroy(this.#client);
  }

  /** Gives the link up: as if the connection had been lost for this reason. */
  fail(cause: unknown): void {
    if (this.#loss === undefined && !this.#isClosed) this.#end(cause);
  }

  async #send(
    name: string,
    args: readonly (string | number | Uint8Array)[],
    encoding: BufferEncoding | null,
  ): Promise<unknown> {
    if (this.#isClosed) throw new ClosedError('The connection to Redis was closed before the call.');
    if (this.#loss !== undefined) throw this.#loss;
    if (!this.#isCorked) {
      this.#isCorked = true;
      this.#stream.cork();
      // Behind all that the promises of this turn lead to: an answer that leads to another command is one write with it.
      queueMicrotask(() => {
        process.nextTick(() => {
          this.#isCorked = false;
          this.#stream.uncork();
        });
      });
    }
    this.#pending++;
    try {
      return await this.#client.sendCommand(new Command(name, args.map(toArgument), { replyEncoding: encoding }));
    } catch (error) {
      if (isFatalReply(error)) this.fail(error);
      // A link that was lost first and closed then was lost.
      if (this.#isClosed && this.#loss === undefined) {
        throw new ClosedError('The connection to Redis was closed during the call.', { cause: error });
      }
      throw this.#loss ?? toLovageError(error, 'open', this.endpoint.url);
    } finally {
      this.#pending--;
    }
  }

  #end(cause: unknown): void {
    clearInterval(this.#watchdog);
    if (this.#isClosed || this.#loss !== undefined) return;
    this.#loss = toLovageError(replyless(cause), 'lost', this.endpoint.url);
    destroy(this.#client);
    this.#lost.reject(this.#loss);
  }

  #check(silentLimit: number, idleLimit: number): void {
    const { bytesRead } = this.#stream;
    if (bytesRead !== this.#bytesSeen) {
      this.#bytesSeen = bytesRead;
      this.#silentChecks = this.#idleChecks = 0;
      return;
    }
    if (this.#pending > 0) {
      if (++this.#silentChecks > silentLimit) {
        this.fail(new Error(`the server said nothing for ${this.endpoint.socketTimeoutMs} ms`));
      }
      return;
    }
    this.#silentChecks = 0;
    if (++this.#idleChecks >= idleLimit) {
      this.#idleChecks = 0;
      this.text('ping', []).catch(() => undefined);
    }
  }
}

/** In characters: from here on the socket takes bytes sooner than text, which it encodes into a buffer of thrice its size. */
const LONG_TEXT = 4096;

/** ioredis writes numbers for the bytes of an array that is no Buffer. */
function toArgument(value: string | number | Uint8Array): string | number | Buffer {
  if (typeof value === 'string') return value.length < LONG_TEXT ? value : toBytes(value);
  return typeof value !== 'object' || Buffer.isBuffer(value)
    ? value
    : Buffer.from(value.buffer, value.byteOffset, value.byteLength);
}

function toBytes(text: string): Buffer {
  const isAscii = Buffer.byteLength(text) === text.length;
  return Buffer.from(text, isAscii ? 'latin1' : 'utf8');
}

/** A reply that ends the link is the reason of the loss, not what every other command was answered. */
function replyless(cause: unknown): unknown {
  return isFatalReply(cause) ? new Error((cause as Error).message, { cause }) : cause;
}
