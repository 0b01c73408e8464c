import type { Socket } from 'node:net';
import { ClosedError, ConnectError, ConnectionLostError, isLovageError, type LovageError } from '../errors.ts';
import { inTime } from '../internal/deadline.ts';
import { reasonOf } from '../internal/reason.ts';
import { type LineProtocol, LineReader } from './line-reader.ts';

/** How often a link looks whether its server still speaks, in the time that the server may be silent. */
const CHECKS = 8;

export interface PipelinedLinkOptions<Reply> {
  /** Of `net.connect` or `tls.connect`, just made. The link owns it. */
  readonly socket: Socket;
  readonly protocol: LineProtocol<Reply>;
  /** Begins the sentences of errors: `memcached at localhost:11211`. No secrets. */
  readonly server: string;
  /** Of errors, for programs. */
  readonly facts: Readonly<Record<string, unknown>>;
  /** For opening as a whole. */
  readonly connectTimeoutMs: number;
  /** A server that owes an answer and says nothing for so long is lost. */
  readonly silenceMs: number;
  /** The command that a server is asked which was idle for half of `silenceMs`. Without one an idle link is left alone. */
  readonly probe?: string;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Opens a link to a server whose protocol is commands and replies in the order of the commands, each line with CR and LF
 * at its end; resolves with what `greet` makes of it. `greet` is called once the socket is connected, over TLS once the
 * certificate is verified, and proves by a command that the right server is there.
 *
 * Rejects with `ConnectError`, with the signal's reason, or with what `greet` rejects with; leaves nothing open then.
 */
export async function openPipelinedLink<Reply, Opened>(
  options: PipelinedLinkOptions<Reply>,
  greet: (link: PipelinedLink<Reply>) => Promise<Opened>,
): Promise<Opened> {
  const { socket, server, facts, connectTimeoutMs, signal } = options;
  const link = new PipelinedLink(options);
  const unreachable = (reason: string, cause?: unknown): LovageError =>
    new ConnectError(`${server} could not be reached: ${reason}`, { cause, facts });
  const connected = new Promise<void>((resolve) => {
    socket.once('encrypted' in socket ? 'secureConnect' : 'connect', () => resolve());
  });
  try {
    return await inTime(Promise.race([connected.then(() => greet(link)), link.lost]), {
      timeoutMs: connectTimeoutMs,
      late: () => unreachable(`it did not answer within ${connectTimeoutMs} ms`),
      signal,
    });
  } catch (error) {
    link.close();
    throw isLovageError(error, 'ERR_CONNECTION_LOST') ? unreachable(reasonOf(error.cause), error.cause) : error;
  }
}

interface Command<Reply> {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: LovageError) => void;
  /** The server may take so long, by request. */
  readonly silentUntil: number;
}

/**
 * One connection with one life: commands of one turn leave in one write, and are answered in their order. When it is lost,
 * everything pending rejects with `ConnectionLostError`, and so does every later call; after `close()` calls reject with
 * `ClosedError`.
 */
export class PipelinedLink<Reply> {
  /** Pending while the link lives; rejects with `ConnectionLostError`. Never settles after a `close()`. */
  readonly lost: Promise<never>;
  readonly #options: PipelinedLinkOptions<Reply>;
  readonly #reader: LineReader<Reply>;
  readonly #pending: Command<Reply>[] = [];
  readonly #watchdog: NodeJS.Timeout;
  #rejectLost!: (error: LovageError) => void;
  #end: LovageError | undefined;
  #silentChecks = 0;
  #isCorked = false;

  constructor(options: PipelinedLinkOptions<Reply>) {
    this.#options = options;
    this.#reader = new LineReader(options.protocol);
    this.lost = new Promise<never>((_, reject) => {
      this.#rejectLost = reject;
    });
    this.lost.catch(() => undefined);
    const { socket, silenceMs } = options;
    socket.setNoDelay(true).setKeepAlive(true);
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', (error) => this.fail(error));
    for (const event of ['end', 'close']) {
      socket.on(event, () => this.fail(new Error('the server closed the connection')));
    }
    this.#watchdog = setInterval(() => this.#check(), silenceMs / CHECKS).unref();
  }

  /**
   * Sends one command: its line without the end, and the data that follows it, which gets a line end too. The answer may
   * take `waitMs` longer than usual.
   */
  command(
    line: string,
    { data, waitMs = 0 }: { readonly data?: Uint8Array; readonly waitMs?: number } = {},
  ): Promise<Reply> {
    if (this.#end !== undefined) return Promise.reject(this.#end);
    const { socket } = this.#options;
    return new Promise((resolve, reject) => {
      this.#pending.push({ resolve, reject, silentUntil: waitMs === 0 ? 0 : performance.now() + waitMs });
      if (!this.#isCorked) {
        this.#isCorked = true;
        socket.cork();
        queueMicrotask(() => {
          this.#isCorked = false;
          socket.uncork();
        });
      }
      socket.write(`${line}\r\n`);
      if (data === undefined) return;
      socket.write(data);
      socket.write('\r\n');
    });
  }

  /** Ends the link as lost. */
  fail(cause: unknown): void {
    if (this.#end !== undefined) return;
    const { server, facts } = this.#options;
    const error = new ConnectionLostError(`The connection to ${server} was lost: ${reasonOf(cause)}`, { cause, facts });
    this.#finish(error);
    this.#rejectLost(error);
  }

  /** Disconnects at once. */
  close(): void {
    if (this.#end !== undefined) return;
    const { server, facts } = this.#options;
    this.#finish(new ClosedError(`The connection to ${server} is closed.`, { facts }));
  }

  #finish(error: LovageError): void {
    this.#end = error;
    clearInterval(this.#watchdog);
    this.#options.socket.destroy();
    for (const { reject } of this.#pending.splice(0)) reject(error);
  }

  #receive(chunk: Buffer): void {
    if (this.#end !== undefined) return;
    this.#silentChecks = 0;
    try {
      for (const reply of this.#reader.read(chunk)) {
        const command = this.#pending.shift();
        if (command === undefined) throw new Error('it said something that nobody had asked for');
        command.resolve(reply);
      }
    } catch (error) {
      this.fail(error);
    }
  }

  /** Counts checks instead of comparing clocks: a blocked event loop or a suspended machine is not the server's silence. */
  #check(): void {
    const { probe, silenceMs } = this.#options;
    const [first] = this.#pending;
    if (first === undefined ? probe === undefined : performance.now() < first.silentUntil) {
      this.#silentChecks = 0;
      return;
    }
    this.#silentChecks++;
    if (this.#silentChecks > CHECKS) this.fail(new Error(`it said nothing for ${silenceMs} ms`));
    else if (first === undefined && probe !== undefined && this.#silentChecks >= CHECKS / 2) {
      this.command(probe).catch(() => undefined); // whoever looks at the link learns of its loss
    }
  }
}
