import { ClosedError, ConfigError, ConnectError, inTime, type LovageError, maskUrl } from '@lovage/core/transport';
import {
  type Db,
  type Document,
  MongoClient,
  type MongoClientOptions,
  MongoServerError,
  type TopologyDescription,
} from 'mongodb';
import { AwaitCursor } from './await-cursor.ts';
import { EXPECTED_URL, type MongoEndpoint } from './endpoint.ts';
import { isFatal, type Phase, toLovageError } from './errors.ts';

export interface OpenOptions {
  /** For opening as a whole. Default 4000. */
  readonly connectTimeoutMs?: number | undefined;
  /** A silent server is given up after two of them at most. Default 20. */
  readonly heartbeatSeconds?: number | undefined;
  /** Shown by `currentOp` and in the server's log where the URL has no `appName`. */
  readonly clientName?: string | undefined;
  /** Abort rejects with the signal's reason and leaves nothing open. */
  readonly signal?: AbortSignal | undefined;
}

/** What a majority has on its disks; a confirmation that does not come within five seconds is an error. */
export const SURE: Readonly<{ w: 'majority'; j: true; wtimeout: number }> = { w: 'majority', j: true, wtimeout: 5000 };

/** Connections of one client: commands, and one for each cursor that waits. */
const MAX_POOL_SIZE = 10;
/** An idle link is asked at least so often, and given up when nothing comes for as long as the second. */
const PING_MS = 4000;
const SILENCE_MS = 10_000;
const CHECKS_PER_TIMEOUT = 4;
/** A socket that was needed once and then no more is closed by us, before a firewall does. */
const MAX_IDLE_MS = 60_000;
const CLOSE_MS = 500;

/**
 * Opens one connection with one life: nothing is sent twice, and a lost server or a change of primary is a loss, not
 * something to wait for. Rejects with `ConnectError`, `AuthError` or `ConfigError`.
 */
export async function openMongo(endpoint: MongoEndpoint, options: OpenOptions = {}): Promise<MongoLink> {
  const { signal } = options;
  signal?.throwIfAborted();
  const timeoutMs = options.connectTimeoutMs ?? 4000;
  const client = newClient(endpoint, options, timeoutMs);
  let onTopology!: (change: { newDescription: TopologyDescription }) => void;
  // The driver would go on trying until its timeout; who cannot be reached at all is known at once.
  const unreached = new Promise<never>((_, reject) => {
    onTopology = ({ newDescription }) => {
      const failure = unreachable(newDescription);
      if (failure !== undefined) reject(failure);
    };
  });
  client.on('topologyDescriptionChanged', onTopology);
  try {
    const hello = await inTime(Promise.race([greet(client, endpoint), unreached]), {
      timeoutMs,
      late: () =>
        new ConnectError(`MongoDB at ${endpoint.url} did not answer within ${timeoutMs} ms.`, {
          facts: { url: endpoint.url },
        }),
      signal,
    });
    return new MongoLink(client, endpoint, hello, options.heartbeatSeconds ?? 20);
  } catch (error) {
    void client.close().catch(() => undefined);
    if (signal?.aborted) throw signal.reason;
    throw toLovageError(error, 'opening', endpoint.url);
  } finally {
    client.off('topologyDescriptionChanged', onTopology);
  }
}

function newClient(endpoint: MongoEndpoint, { clientName }: OpenOptions, timeoutMs: number): MongoClient {
  const { given } = endpoint;
  const options: MongoClientOptions = {
    ...endpoint.tls,
    retryWrites: false,
    retryReads: false,
    readPreference: 'primary',
    serverSelectionTimeoutMS: timeoutMs,
    ...(given.has('connecttimeoutms') ? {} : { connectTimeoutMS: timeoutMs }),
    ...(given.has('maxpoolsize') ? {} : { maxPoolSize: MAX_POOL_SIZE }),
    // With this the driver looks at idle sockets now and then, and says when one was closed by the other side.
    minPoolSize: 1,
    ...(given.has('maxidletimems') ? {} : { maxIdleTimeMS: MAX_IDLE_MS }),
    ...(given.has('appname') ? {} : { appName: (clientName ?? 'lovage').slice(0, 60) }),
    // A foreign document with broken text must not end the reading of all others.
    enableUtf8Validation: false,
  };
  try {
    return new MongoClient(endpoint.uri, options);
  } catch (error) {
    const text = maskUrl(error instanceof Error ? error.message : String(error));
    throw new ConfigError(`The URL ${JSON.stringify(endpoint.url)} cannot be used: ${text}. ${EXPECTED_URL}`, {
      facts: { url: endpoint.url },
    });
  }
}

async function greet(client: MongoClient, endpoint: MongoEndpoint): Promise<Hello> {
  await client.connect();
  const db = client.db(endpoint.database);
  const sentAt = performance.now();
  const reply = await db.command({ hello: 1 });
  // Rights are found missing now, not in the middle of a publish.
  await db.command({ ping: 1 });
  return { reply, sentAt, answeredAt: performance.now() };
}

interface Hello {
  readonly reply: Document;
  readonly sentAt: number;
  readonly answeredAt: number;
}

/** The reason why none of the servers can be reached, once all have been tried. */
function unreachable({ servers }: TopologyDescription): Error | undefined {
  const all = [...servers.values()];
  return all.length > 0 && all.every(({ type, error }) => type === 'Unknown' && error !== null)
    ? (all[0]?.error ?? undefined)
    : undefined;
}

/** The servers that take writes. */
function writable({ servers }: TopologyDescription): readonly string[] {
  return [...servers.values()].flatMap(({ type, address }) =>
    type === 'RSPrimary' || type === 'Standalone' || type === 'Mongos' || type === 'LoadBalancer' ? [address] : [],
  );
}

/**
 * One open connection. When it is lost, everything pending rejects with `ConnectionLostError`, `lost` rejects, and every
 * later call rejects too; after `close()` calls reject with `ClosedError`. It is lost when its server closes or breaks
 * it, when the primary changes, and when nothing comes for some seconds although the server was asked.
 */
export class MongoLink {
  readonly endpoint: MongoEndpoint;
  readonly db: Db;
  /** Pending while the link lives; rejects with `ConnectionLostError`. Never settles after a `close()`. */
  readonly lost: Promise<never>;
  /** A name of the replica set, `mongos` before a sharded cluster, or undefined: one server alone. */
  readonly replication: string | undefined;
  readonly maxDocumentBytes: number;
  readonly #client: MongoClient;
  readonly #pending = new Set<(error: Error) => void>();
  readonly #watchdog: NodeJS.Timeout;
  #reject!: (error: Error) => void;
  #loss: LovageError | undefined;
  #isClosed = false;
  /** Server time minus `performance.now()`. */
  #clockOffset: number;
  #answers = 0;
  #answersSeen = 0;
  #isAsked = false;
  #idleChecks = 0;
  #silentChecks = 0;

  constructor(
    client: MongoClient,
    endpoint: MongoEndpoint,
    { reply, sentAt, answeredAt }: Hello,
    heartbeatSeconds: number,
  ) {
    this.#client = client;
    this.endpoint = endpoint;
    this.db = client.db(endpoint.database);
    this.maxDocumentBytes = typeof reply.maxBsonObjectSize === 'number' ? reply.maxBsonObjectSize : 16 * 1024 * 1024;
    this.replication =
      typeof reply.setName === 'string' ? reply.setName : reply.msg === 'isdbgrid' ? 'mongos' : undefined;
    this.#clockOffset = offsetOf(reply, sentAt, answeredAt);
    this.lost = new Promise((_, reject) => {
      this.#reject = reject;
    });
    this.lost.catch(() => undefined);
    client.on('topologyDescriptionChanged', ({ previousDescription, newDescription }) => {
      const now = writable(newDescription);
      const gone = writable(previousDescription).filter((address) => !now.includes(address));
      if (gone.length === 0 || (now.length > 0 && this.replication === 'mongos')) return;
      const reason = newDescription.servers.get(gone[0] as string)?.error;
      this.fail(reason ?? new Error(`${gone[0]} takes no writes any more`));
    });
    client.on('connectionClosed', ({ reason }) => {
      if (reason === 'error') this.fail(new Error('a socket was closed by the other side'));
    });
    const heartbeatMs = heartbeatSeconds * 1000;
    const pingMs = Math.min(PING_MS, heartbeatMs * 0.8);
    const silenceMs = Math.min(SILENCE_MS, heartbeatMs);
    const intervalMs = Math.max(20, Math.min(pingMs, silenceMs) / CHECKS_PER_TIMEOUT);
    // Counts checks instead of comparing clocks: a blocked event loop or a suspended machine is not the server's silence.
    this.#watchdog = setInterval(
      () => this.#check(Math.ceil(pingMs / intervalMs), Math.ceil(silenceMs / intervalMs), silenceMs),
      intervalMs,
    );
    this.#watchdog.unref();
  }

  get isLost(): boolean {
    return this.#loss !== undefined;
  }

  /** The server's time, epoch milliseconds, as it was last heard of. */
  get serverMs(): number {
    return performance.now() + this.#clockOffset;
  }

  /** Runs one command of the database and gives its reply; what a write could not do rejects. */
  async run(command: Document): Promise<Document> {
    const reply = await this.call(() => this.db.command(command, { readPreference: 'primary' }));
    const { writeErrors, writeConcernError } = reply as { writeErrors?: Document[]; writeConcernError?: Document };
    const failure = writeErrors?.[0] ?? writeConcernError;
    if (failure !== undefined) throw this.#refusal(failure);
    return reply;
  }

  /** A cursor that waits for what comes: the command of a change stream, or a tailable find. */
  awaitCursor<T>(command: Document): AwaitCursor<T> {
    return new AwaitCursor<T>(
      this,
      this.db.runCursorCommand(command, { readPreference: 'primary', tailable: true, awaitData: true }),
    );
  }

  /** Makes a call of the driver with the link's promises: it ends with the link, and rejects with our errors only. */
  call<T>(act: () => Promise<T>): Promise<T> {
    if (this.#loss !== undefined) return Promise.reject(this.#loss);
    if (this.#isClosed) return Promise.reject(new ClosedError('The connection to MongoDB was closed before the call.'));
    return new Promise<T>((resolve, reject) => {
      this.#pending.add(reject);
      const settle = (): void => {
        this.#pending.delete(reject);
        this.#answers++;
      };
      act().then(
        (value) => {
          settle();
          resolve(value);
        },
        (error: unknown) => {
          settle();
          if (isFatal(error)) this.fail(error);
          reject(this.#loss ?? (this.#isClosed ? closed(error) : this.error(error)));
        },
      );
    });
  }

  /** An error of the driver as one of ours. */
  error(error: unknown, phase: Phase = 'open'): LovageError {
    return toLovageError(error, phase, this.endpoint.url);
  }

  /** Gives the link up: as if the connection had been lost for this reason. */
  fail(cause: unknown): void {
    if (this.#isClosed || this.#loss !== undefined) return;
    this.#loss = toLovageError(cause, 'lost', this.endpoint.url);
    this.#reject(this.#loss);
    void this.#end(this.#loss);
  }

  /** Ends the connection. Never rejects; twice is fine. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#end(closed(undefined));
  }

  #end(reason: LovageError): Promise<void> {
    clearInterval(this.#watchdog);
    for (const reject of this.#pending) reject(reason);
    this.#pending.clear();
    // The driver says goodbye to a server that may never answer; that goes on without us.
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, CLOSE_MS);
      void this.#client
        .close()
        .catch(() => undefined)
        .then(() => {
          clearTimeout(timer);
          resolve();
        });
    });
  }

  #refusal({ code, codeName, errmsg }: Document): LovageError {
    const error = new MongoServerError({ code, codeName, message: String(errmsg) });
    if (isFatal(error)) this.fail(error);
    return this.#loss ?? this.error(error);
  }

  #check(idleLimit: number, silentLimit: number, silenceMs: number): void {
    if (this.#answers !== this.#answersSeen) {
      this.#answersSeen = this.#answers;
      this.#idleChecks = this.#silentChecks = 0;
      return;
    }
    if (this.#isAsked) {
      if (++this.#silentChecks > silentLimit) this.fail(new Error(`the server said nothing for ${silenceMs} ms`));
      return;
    }
    if (++this.#idleChecks < idleLimit) return;
    this.#idleChecks = 0;
    void this.#ask();
  }

  async #ask(): Promise<void> {
    this.#isAsked = true;
    const sentAt = performance.now();
    try {
      const reply = await this.run({ hello: 1 });
      this.#clockOffset = offsetOf(reply, sentAt, performance.now());
    } catch {
      // A loss is said by the link itself; anything else is an answer.
    } finally {
      this.#isAsked = false;
    }
  }
}

function closed(cause: unknown): LovageError {
  return new ClosedError('The connection to MongoDB was closed during the call.', { cause });
}

function offsetOf({ localTime }: Document, sentAt: number, answeredAt: number): number {
  const server = localTime instanceof Date ? localTime.getTime() : Date.now();
  return server - (sentAt + answeredAt) / 2;
}
