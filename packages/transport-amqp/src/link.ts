import type { Socket } from 'node:net';
import { type LovageError, type Logger, TimeoutError, UnsupportedError } from '@lovage/core/transport';
import { type Channel, type ChannelModel, connect as amqpConnect, credentials } from 'amqplib';
import { ByteWriter } from './byte-writer.ts';
import { type ContentListener, ContentReader } from './content.ts';
import { connectError, lostError, requestError } from './errors.ts';
import type { AmqpSettings } from './options.ts';

/** Written out at once when so much has gathered within a tick. */
const FLUSH_BYTES = 64 * 1024;
/** Looks at the socket so many times per heartbeat interval. */
const LIVENESS_CHECKS = 4;
const FRAME_HEADER_BYTES = 7;
const FRAME_END = 0xce;
/** How long a clean close may wait for the server's answer. */
const CLOSE_TIMEOUT_MS = 1000;

/**
 * What of amqplib's connection is used beside its API: frames of content are read and written here, everything else
 * (handshake, tuning, channels, requests, heartbeats, alarms) is amqplib's. Checked when connecting.
 */
interface AmqplibConnection {
  readonly stream: Socket;
  rest: Buffer;
  readonly frameMax: number;
  readonly maxFrameSize: number;
  readonly heartbeat: number;
  readonly serverProperties: { readonly product?: string; readonly version?: string };
  recvFrame: () => unknown;
  sendBytes(bytes: Uint8Array): void;
}

/** One open channel. */
export interface LinkChannel {
  readonly number: number;
  readonly api: Channel;
  /** Undefined while it is open; the server's reason after it closed it, the loss of the link after that. */
  readonly failure: Error | undefined;
  readonly closed: boolean;
  close(): Promise<void>;
}

/** One TCP connection to RabbitMQ. It dies once. */
export class Link {
  readonly settings: AmqpSettings;
  readonly frameMax: number;
  /** Of the server: `[3, 10]`. */
  readonly version: readonly [number, number];
  readonly serverName: string;
  /** While the broker takes no messages: since when, by `performance.now()`. */
  blockedSince: number | undefined;
  /** Frames for the next flush. Call `scheduleFlush` after writing. */
  readonly out = new ByteWriter();
  readonly #model: ChannelModel;
  readonly #connection: AmqplibConnection;
  readonly #logger: Logger;
  readonly #readers: (ContentReader | undefined)[] = [];
  readonly #lossListeners = new Set<(error: LovageError) => void>();
  readonly #unblockedListeners = new Set<() => void>();
  readonly #beforeFlush = new Set<() => void>();
  #nextFlush:
    | { readonly done: Promise<void>; readonly resolve: () => void; readonly reject: (error: LovageError) => void }
    | undefined;
  #flushScheduled = false;
  #liveness: NodeJS.Timeout | undefined;
  #lost: LovageError | undefined;
  #serverReason: Error | undefined;
  #closing: Promise<void> | undefined;

  /** Rejects with `ConnectError`, `AuthError`, `ConfigError`, or the signal's reason. */
  static async open(
    settings: AmqpSettings,
    clientName: string | undefined,
    logger: Logger,
    signal: AbortSignal | undefined,
  ): Promise<Link> {
    signal?.throwIfAborted();
    // amqplib keeps the socket to itself until the handshake is over; the signal is the way to end it from outside.
    const abort = new AbortController();
    const onAbort = (): void => abort.abort(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    const timer = setTimeout(
      () => abort.abort(new Error(`no connection within ${settings.connectTimeoutMs} ms`)),
      settings.connectTimeoutMs,
    );
    try {
      const model = await amqpConnect(
        {
          protocol: settings.tls === undefined ? 'amqp' : 'amqps',
          hostname: settings.host,
          port: settings.port,
          username: settings.username,
          password: settings.password,
          // amqplib decodes it once more.
          vhost: encodeURIComponent(settings.virtualHost),
          heartbeat: settings.heartbeatSeconds,
          frameMax: settings.frameMax,
          locale: settings.locale,
          ...(settings.channelMax === undefined ? {} : { channelMax: settings.channelMax }),
        },
        {
          ...settings.tls,
          // Without it every small write waits for the delayed acknowledgement of the last one, 40 ms on Linux.
          noDelay: true,
          keepAlive: true,
          keepAliveDelay: 30_000,
          signal: abort.signal,
          credentials: loginCredentials(settings),
          clientProperties: {
            ...settings.clientProperties,
            ...(clientName === undefined ? {} : { connection_name: clientName }),
          },
        } as Parameters<typeof amqpConnect>[1] & object,
      );
      // From here until the constructor has run nothing is awaited: an event without a listener would be thrown.
      return new Link(settings, model, logger);
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      const reason = abort.signal.aborted ? abort.signal.reason : error;
      throw error instanceof UnsupportedError ? error : connectError(reason, settings.shownUrl);
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    }
  }

  private constructor(settings: AmqpSettings, model: ChannelModel, logger: Logger) {
    this.settings = settings;
    this.#model = model;
    this.#logger = logger;
    const connection = model.connection as unknown as AmqplibConnection;
    this.#connection = connection;
    model.on('error', (error) => {
      this.#serverReason = error;
    });
    model.on('close', (error) => this.#die(error ?? this.#serverReason));
    model.on('blocked', (reason) => {
      this.blockedSince ??= performance.now();
      logger.warn({ url: settings.shownUrl, reason }, 'RabbitMQ takes no messages for now');
    });
    model.on('unblocked', () => {
      this.blockedSince = undefined;
      logger.info({ url: settings.shownUrl }, 'RabbitMQ takes messages again');
      for (const listener of this.#unblockedListeners) listener();
    });
    if (
      typeof connection.recvFrame !== 'function' ||
      typeof connection.sendBytes !== 'function' ||
      !Buffer.isBuffer(connection.rest)
    ) {
      connection.stream?.destroy();
      throw new UnsupportedError(
        'This version of amqplib is not known. Expected 2.3; install @lovage/transport-amqp with its own amqplib.',
      );
    }
    this.frameMax = connection.frameMax;
    const { product = 'AMQP server', version = '' } = connection.serverProperties;
    const [major = 0, minor = 0] = version.split('.').map((part) => Number.parseInt(part, 10) || 0);
    this.version = [major, minor];
    this.serverName = `${product} ${version}`;
    this.#readContentFrames();
    this.#watchLiveness(connection.heartbeat);
  }

  /** The loss, once it happened. */
  get lost(): LovageError | undefined {
    return this.#lost;
  }

  /** Called once, at once when the link is already lost. */
  onLost(listener: (error: LovageError) => void): void {
    if (this.#lost === undefined) this.#lossListeners.add(listener);
    else listener(this.#lost);
  }

  onUnblocked(listener: () => void): void {
    this.#unblockedListeners.add(listener);
  }

  /** Called before each flush, to add what gathered during the tick. */
  onFlush(listener: () => void): () => void {
    this.#beforeFlush.add(listener);
    return () => this.#beforeFlush.delete(listener);
  }

  /** `content` hears of deliveries, returns and confirms of this channel. */
  async openChannel(kind: 'plain' | 'confirm', content?: ContentListener): Promise<LinkChannel> {
    const api = await this.request('open a channel', () =>
      kind === 'confirm' ? this.#model.createConfirmChannel() : this.#model.createChannel(),
    );
    const { ch: number } = api as unknown as { readonly ch: number };
    const channel = { number, api, failure: undefined as Error | undefined, closed: false };
    api.on('error', (error: Error) => {
      channel.failure = error;
    });
    api.on('close', () => {
      channel.closed = true;
      channel.failure ??= this.#lost;
      this.#readers[number] = undefined;
    });
    if (content !== undefined) this.#readers[number] = new ContentReader(content);
    return Object.assign(channel, {
      close: async (): Promise<void> => {
        if (channel.closed || this.#lost !== undefined) return;
        channel.closed = true;
        await this.request('close a channel', () => api.close()).catch(() => {});
      },
    });
  }

  /** Runs a request to the server under the deadline; rejects with our errors. */
  async request<T>(what: string, run: () => Promise<T>, facts?: Readonly<Record<string, unknown>>): Promise<T> {
    if (this.#lost !== undefined) throw this.#lost;
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<never>((_, reject) => {
      const ms = this.settings.requestTimeoutMs;
      timer = setTimeout(
        () => reject(new TimeoutError(`RabbitMQ did not ${what} within ${ms} ms.`, { facts: facts ?? {} })),
        ms,
      );
      // The open socket keeps the process; what was asked of a connection that is closed since is never answered.
      timer.unref();
    });
    try {
      return await Promise.race([run(), deadline]);
    } catch (error) {
      if (error instanceof TimeoutError) throw error;
      // A refusal that closes the connection (530, 540, 541) reaches the request only as "channel ended".
      throw requestError(
        (error as { code?: unknown }).code === undefined ? (this.#serverReason ?? this.#lost ?? error) : error,
        what,
        facts,
      );
    } finally {
      clearTimeout(timer);
    }
  }

  /** The frames in `out` leave in this tick, joined with whatever else is written in it. */
  scheduleFlush(): void {
    if (this.out.length >= FLUSH_BYTES) this.#send();
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    setImmediate(this.#flushTick);
  }

  /** Resolves when what was written before is with the socket; rejects after a loss. One promise per tick. */
  flushed(): Promise<void> {
    if (this.#lost !== undefined) return Promise.reject(this.#lost);
    if (this.#nextFlush === undefined) {
      let resolve!: () => void;
      let reject!: (error: LovageError) => void;
      const done = new Promise<void>((resolveDone, rejectDone) => {
        resolve = resolveDone;
        reject = rejectDone;
      });
      this.#nextFlush = { done, resolve, reject };
      this.scheduleFlush();
    }
    return this.#nextFlush.done;
  }

  readonly #flushTick = (): void => {
    this.#flushScheduled = false;
    this.flush();
  };

  flush(): void {
    if (this.#lost === undefined) {
      for (const listener of this.#beforeFlush) listener();
      this.#send();
    }
    const flush = this.#nextFlush;
    if (flush === undefined) return;
    this.#nextFlush = undefined;
    if (this.#lost === undefined) flush.resolve();
    else flush.reject(this.#lost);
  }

  #send(): void {
    if (this.out.length > 0 && this.#lost === undefined) this.#connection.sendBytes(this.out.take());
  }

  /** Sends `bytes` uncopied, after what was written so far. */
  readonly writeBulk = (bytes: Uint8Array): void => {
    this.#send();
    if (this.#lost === undefined) this.#connection.sendBytes(bytes);
  };

  /** The handshake of closing, one second at most; then the socket is gone whatever happened. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#lost !== undefined) return;
    this.flush();
    clearInterval(this.#liveness);
    const { stream } = this.#connection;
    const gone = new Promise<void>((resolve) => {
      if (stream.destroyed) resolve();
      else stream.once('close', () => resolve());
    });
    let timer: NodeJS.Timeout | undefined;
    const deadline = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, CLOSE_TIMEOUT_MS);
    });
    // Its promise is not what to wait for: it stays pending when the socket ends before the answer.
    this.#model.close().catch((error: unknown) => {
      this.#logger.debug({ url: this.settings.shownUrl, err: error }, 'RabbitMQ did not take the goodbye');
    });
    await Promise.race([gone, deadline]);
    clearTimeout(timer);
    stream.destroy();
    this.#die(new Error('the connection was closed by this program'));
  }

  /** Ends the link without a word to the server. */
  destroy(cause: Error): void {
    this.#die(cause);
  }

  #die(cause: Error | undefined): void {
    if (this.#lost !== undefined) return;
    this.#lost = lostError(cause ?? this.#serverReason, this.settings.shownUrl);
    clearInterval(this.#liveness);
    const { stream } = this.#connection;
    // With an error, so that amqplib hears of it too: it listens for "error" and "end", and ends only its own half of
    // a link that stopped answering.
    if (!stream.destroyed) stream.destroy(cause ?? new Error('the connection was lost'));
    for (const listener of this.#lossListeners) listener(this.#lost);
    this.#lossListeners.clear();
    this.flush();
  }

  /**
   * A half-open link: nothing arrived in two heartbeat intervals. amqplib itself notices between two and three. Ticks
   * are counted, not milliseconds, so that a blocked event loop is not taken for a silent peer.
   */
  #watchLiveness(heartbeatSeconds: number): void {
    if (heartbeatSeconds === 0) return;
    const { stream } = this.#connection;
    let seen = -1;
    let silentTicks = 0;
    this.#liveness = setInterval(
      () => {
        if (stream.bytesRead !== seen) {
          seen = stream.bytesRead;
          silentTicks = 0;
        } else if (++silentTicks >= 2 * LIVENESS_CHECKS) {
          this.#die(new Error(`the server was silent for ${2 * heartbeatSeconds} seconds`));
        }
      },
      (heartbeatSeconds * 1000) / LIVENESS_CHECKS,
    );
    this.#liveness.unref();
  }

  #readContentFrames(): void {
    const connection = this.#connection;
    const readers = this.#readers;
    const readOther = connection.recvFrame;
    connection.recvFrame = (): unknown => {
      const bytes = connection.rest;
      let at = 0;
      while (bytes.length - at > FRAME_HEADER_BYTES) {
        const reader = readers[((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number)];
        if (reader === undefined) break;
        const start = at + FRAME_HEADER_BYTES;
        const end = start + bytes.readUInt32BE(at + 3);
        if (end >= bytes.length || bytes[end] !== FRAME_END) break;
        if (!reader.take(bytes[at] as number, bytes.subarray(start, end))) break;
        at = end + 1;
      }
      if (at > 0) connection.rest = bytes.subarray(at);
      // Reads on and comes back here when what is left is not a whole frame.
      return readOther.call(connection);
    };
  }
}

function loginCredentials({ loginMethod, username, password }: AmqpSettings): unknown {
  switch (loginMethod) {
    case 'PLAIN':
      return credentials.plain(username, password);
    case 'AMQPLAIN':
      return credentials.amqplain(username, password);
    case 'EXTERNAL':
      return credentials.external();
    default:
      return loginMethod satisfies never;
  }
}
