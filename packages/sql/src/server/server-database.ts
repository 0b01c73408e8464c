import {
  ClosedError,
  ConnectError,
  ConnectionLostError,
  inTime,
  isLovageError,
  type Logger,
  type LovageError,
  TimeoutError,
} from '@lovage/core/transport';
import type {
  InsertStatement,
  Listening,
  SqlCallOptions,
  SqlDatabase,
  SqlRow,
  SqlTransaction,
  SqlTransactionOptions,
  SqlValue,
} from '../database.ts';
import { type Call, JoinedCalls } from '../joined-calls.ts';
import type { SqlDialect } from '../url.ts';
import { SqlLink } from './link.ts';
import { Pulse } from './pulse.ts';
import type { ExplainedFailure, ServerFacts, SqlServer } from './session.ts';
import { LinkWatch, livenessLimits } from './watch.ts';

export interface ServerOptions {
  readonly dialect: SqlDialect;
  /** How long a call may wait for others. */
  readonly busyTimeoutMs: number;
  readonly connectTimeoutMs: number;
  /** A silent server is lost after two of them; 0: never. */
  readonly heartbeatSeconds: number;
  /** The longest time between two looks for what nobody told of. */
  readonly pollMs: number;
  readonly logger: Logger;
}

/** How often the difference of the clocks is measured again. */
const CLOCK_MS = 10_000;
/** A conflict is another transaction's gain: so many in a row mean something else. */
const MOST_ATTEMPTS = 8;
const CLOSE_MS = 1000;
/** Many rows are inserted by several statements, so that none needs a huge buffer. */
const CHUNK_ROWS = 1000;
const CHUNK_BYTES = 4_000_000;

/**
 * The two links of this process to a database server: one for transactions, one for reading and for what the server
 * tells. Either one lost is both lost; whoever needs the database opens it again.
 */
export class ServerDatabase implements SqlDatabase {
  readonly dialect: SqlDialect;
  readonly product: SqlDatabase['product'];
  readonly version: string;
  readonly maxStatementBytes: number;
  readonly location: string;
  readonly lost: Promise<never>;
  holdsMessages = false;
  readonly #server: SqlServer;
  readonly #options: ServerOptions;
  readonly #writer: SqlLink;
  readonly #reader: SqlLink;
  readonly #pulse: Pulse;
  readonly #watch: LinkWatch | undefined;
  #reportLoss: (error: LovageError) => void = () => {};
  #loss: LovageError | undefined;
  readonly #calls = new JoinedCalls(() => this.#flush());
  #clockOffset = 0;
  #clockReadAt = Number.NEGATIVE_INFINITY;
  #closing: Promise<void> | undefined;

  private constructor(
    server: SqlServer,
    options: ServerOptions,
    writer: SqlLink,
    reader: SqlLink,
    { product, version, maxStatementBytes }: ServerFacts,
  ) {
    this.#server = server;
    this.#options = options;
    this.#writer = writer;
    this.#reader = reader;
    this.dialect = options.dialect;
    this.product = product;
    this.version = version;
    this.maxStatementBytes = maxStatementBytes;
    this.location = server.location;
    this.lost = new Promise<never>((_, reject) => {
      this.#reportLoss = reject;
    });
    this.lost.catch(() => {});
    for (const { session } of [writer, reader]) void session.ended.then((reason) => this.#lose(reason));
    this.#pulse = new Pulse(reader, server.bell, options.pollMs, options.logger);
    if (options.heartbeatSeconds > 0) {
      const limits = livenessLimits(options.heartbeatSeconds);
      this.#watch = new LinkWatch(
        [writer, reader],
        limits,
        (link) => this.#isBusy(link, limits.probeMs),
        (waitedMs) => this.#lose(new Error(`the server said nothing for ${Math.round(waitedMs)} ms`)),
      );
    }
  }

  static async open(server: SqlServer, options: ServerOptions): Promise<ServerDatabase> {
    const opened: SqlLink[] = [];
    const connect = async (): Promise<SqlLink> => {
      const link = new SqlLink(await server.connect(options.connectTimeoutMs));
      opened.push(link);
      return link;
    };
    const start = async (): Promise<ServerDatabase> => {
      const writer = await connect();
      const facts = await server.facts(writer.session);
      const database = new ServerDatabase(server, options, writer, await connect(), facts);
      await database.#readClock();
      return database;
    };
    const starting = start();
    try {
      return await inTime(starting, {
        timeoutMs: options.connectTimeoutMs,
        late: () =>
          new ConnectError(`${server.location} did not answer within ${options.connectTimeoutMs} ms.`, {
            facts: { location: server.location },
          }),
      });
    } catch (error) {
      const abandon = (): void => {
        for (const link of opened) link.fail(error);
      };
      abandon();
      // What comes up too late is ended as well.
      starting.then(
        (database) => void database.close(),
        () => abandon(),
      );
      throw isLovageError(error) ? error : server.explain(error).error;
    }
  }

  now(): number {
    return Math.round(performance.now() + this.#clockOffset);
  }

  async query<Row extends SqlRow = SqlRow>(
    sql: string,
    parameters: readonly SqlValue[] = [],
    _options: SqlCallOptions = {},
  ): Promise<readonly Row[]> {
    this.#assertUsable();
    try {
      return (await this.#reader.query(sql, parameters)) as readonly Row[];
    } catch (error) {
      throw this.#explain(error).error;
    }
  }

  async transaction<T>(
    work: (transaction: SqlTransaction) => Promise<T>,
    options: SqlTransactionOptions = {},
  ): Promise<T> {
    this.#assertUsable();
    const { busyTimeoutMs } = this.#options;
    return this.#calls.add(work, options, { busyTimeoutMs });
  }

  listen(topic: string, listener: (foreign: boolean) => void): Listening {
    this.#assertUsable();
    return this.#pulse.listen(topic, listener);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    await this.#calls.idle();
    await this.#pulse.close();
    this.#watch?.stop();
    const closed = new ClosedError(`The connection to ${this.location} is closed.`);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, CLOSE_MS);
    });
    const links = [this.#writer, this.#reader];
    if (this.#loss === undefined) await Promise.race([Promise.all(links.map(({ session }) => session.close())), late]);
    clearTimeout(timer);
    for (const link of links) link.fail(closed);
  }

  #assertUsable(): void {
    if (this.#closing !== undefined) throw new ClosedError(`The connection to ${this.location} is closed.`);
    if (this.#loss !== undefined) throw this.#loss;
  }

  async #flush(): Promise<void> {
    if (Math.abs(performance.now() - this.#clockReadAt) > CLOCK_MS) await this.#readClock().catch(() => {});
    const calls = this.#calls.take().filter((call) => !this.#refuseIfOver(call));
    if (calls.length === 0) return;
    const failure = await this.#attempt(calls);
    if (failure === undefined) return;
    for (const call of calls) {
      if (failure.kind === 'lost' || failure.kind === 'fatal') call.fail(failure.error);
      else await this.#persist(call, calls.length === 1 ? failure : undefined);
    }
  }

  /** One call on its own, again while others are in its way. Never rejects. */
  async #persist(call: Call, first: ExplainedFailure | undefined): Promise<void> {
    let failure = first;
    for (let attempt = 1; ; attempt++) {
      if (failure !== undefined && (failure.kind !== 'conflict' || attempt > MOST_ATTEMPTS)) {
        call.fail(failure.error);
        return;
      }
      if (failure !== undefined) {
        // Jitter keeps two that met from meeting again.
        const pauseMs = 2 ** attempt * Math.random();
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
      }
      if (this.#refuseIfOver(call)) return;
      failure = await this.#attempt([call]);
      if (failure === undefined) return;
    }
  }

  #refuseIfOver(call: Call): boolean {
    if (call.signal?.aborted === true) call.fail(call.signal.reason);
    else if (this.#loss !== undefined) call.fail(this.#loss);
    else if (call.deadline <= Date.now())
      call.fail(new TimeoutError(`The database ${this.location} was busy for too long: nothing was changed.`));
    else return false;
    return true;
  }

  /** Runs the calls in one transaction; gives the failure after a rollback. Never rejects. */
  async #attempt(calls: readonly Call[]): Promise<ExplainedFailure | undefined> {
    const transaction = new OpenTransaction(this.#writer, this.maxStatementBytes);
    try {
      await this.#writer.begin();
      for (const call of calls) await call.run(transaction);
      transaction.ended = true;
      await this.#writer.commit();
    } catch (error) {
      transaction.ended = true;
      const failure = this.#explain(error);
      if (failure.kind !== 'lost') await this.#writer.rollback().catch((cause: unknown) => this.#lose(cause));
      return failure;
    }
    for (const call of calls) call.commit();
    this.#pulse.committed(transaction.topics);
    return undefined;
  }

  #explain(error: unknown): ExplainedFailure {
    if (this.#loss !== undefined) return { kind: 'lost', error: this.#loss };
    if (isLovageError(error)) return { kind: 'refused', error };
    const failure = this.#server.explain(error);
    if (failure.kind === 'lost') {
      this.#lose(error);
      return { kind: 'lost', error: this.#loss ?? failure.error };
    }
    return failure;
  }

  #lose(cause: unknown): void {
    if (this.#loss !== undefined || this.#closing !== undefined) {
      // While it closes, what still waits has to end too.
      if (this.#loss === undefined) this.#setLoss(cause);
      return;
    }
    this.#setLoss(cause);
  }

  #setLoss(cause: unknown): void {
    const reason = cause instanceof Error && cause.message !== '' ? ` (${cause.message})` : '';
    this.#loss = new ConnectionLostError(`The connection to ${this.location} was lost${reason}.`, {
      cause,
      facts: { location: this.location },
    });
    this.#watch?.stop();
    for (const link of [this.#writer, this.#reader]) link.fail(this.#loss);
    void this.#pulse.close();
    this.#reportLoss(this.#loss);
  }

  async #isBusy(link: SqlLink, probeMs: number): Promise<boolean> {
    const probe = new SqlLink(await this.#server.connect(probeMs));
    const timer = setTimeout(() => probe.fail(new Error('The probe came to nothing.')), probeMs);
    try {
      return await probe.do((session) => this.#server.isBusy(link.session, session));
    } finally {
      clearTimeout(timer);
      await probe.session.close();
    }
  }

  /** Halfway between question and answer; by a clock that nobody sets. */
  async #readClock(): Promise<void> {
    const askedAt = performance.now();
    const [row] = await this.#reader.query(this.#server.clockSql, []);
    const answeredAt = performance.now();
    this.#clockOffset = Number(row?.['clock']) - (askedAt + answeredAt) / 2;
    this.#clockReadAt = answeredAt;
  }
}

class OpenTransaction implements SqlTransaction {
  ended = false;
  readonly topics: Set<string> = new Set();
  readonly #link: SqlLink;
  readonly #chunkBytes: number;

  constructor(link: SqlLink, maxStatementBytes: number) {
    this.#link = link;
    this.#chunkBytes = maxStatementBytes === 0 ? CHUNK_BYTES : Math.min(CHUNK_BYTES, maxStatementBytes);
  }

  async query<Row extends SqlRow = SqlRow>(
    sql: string,
    parameters: readonly SqlValue[] = [],
    maxRows?: number,
  ): Promise<readonly Row[]> {
    this.#assertOpen();
    return (await this.#link.query(sql, parameters, maxRows)) as readonly Row[];
  }

  async execute(sql: string, parameters: readonly SqlValue[] = []): Promise<number> {
    this.#assertOpen();
    return this.#link.execute(sql, parameters);
  }

  async insert(statement: InsertStatement, rows: readonly (readonly SqlValue[])[]): Promise<void> {
    for (let from = 0; from < rows.length; ) {
      this.#assertOpen();
      let to = from;
      for (let bytes = 0; to < rows.length && to - from < CHUNK_ROWS; to++) {
        bytes += bytesOf(rows[to] as readonly SqlValue[]);
        if (to > from && bytes > this.#chunkBytes) break;
      }
      await this.#link.insert(statement, rows.slice(from, to));
      from = to;
    }
  }

  signal(topic: string): void {
    this.topics.add(topic);
  }

  #assertOpen(): void {
    if (this.ended) throw new ClosedError('The transaction has ended. Its work must await every statement.');
  }
}

function bytesOf(row: readonly SqlValue[]): number {
  let bytes = 0;
  for (const value of row) {
    if (typeof value === 'string') bytes += Buffer.byteLength(value);
    else bytes += value instanceof Uint8Array ? value.byteLength : 20;
  }
  return bytes;
}
