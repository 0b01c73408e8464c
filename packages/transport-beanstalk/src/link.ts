import { connect, type Socket } from 'node:net';
import { ClosedError, ConnectError, ConnectionLostError, type LovageError } from '@lovage/core/transport';
import type { DriverSettings } from './options.ts';
import { type Reply, ReplyReader } from './replies.ts';

/** How often an open link looks whether its server still speaks, as parts of a heartbeat. */
const CHECKS_PER_HEARTBEAT = 4;

interface Command {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: LovageError) => void;
  /** The server may take so long, by request. */
  readonly silentUntil: number;
}

/** Opens a link. Rejects with `ConnectError`, or with the signal's reason; leaves nothing open then. */
export function openLink(settings: DriverSettings, signal: AbortSignal | undefined): Promise<BeanstalkLink> {
  return new Promise((resolve, reject) => {
    const { host, port, connectTimeoutMs, url } = settings;
    const socket = connect({ host, port, noDelay: true, keepAlive: true });
    const end = (error?: Error): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      socket.removeAllListeners();
      if (error === undefined) return resolve(new BeanstalkLink(socket, settings));
      socket.on('error', () => undefined);
      socket.destroy();
      reject(error);
    };
    const fail = (reason: string, cause?: unknown): void =>
      end(new ConnectError(`beanstalkd at ${url} could not be reached: ${reason}`, { cause, facts: { url } }));
    const onAbort = (): void => end(signal?.reason as Error);
    const timer = setTimeout(() => fail(`it did not answer within ${connectTimeoutMs} ms`), connectTimeoutMs);
    signal?.addEventListener('abort', onAbort, { once: true });
    socket.once('connect', () => end());
    socket.once('error', (error) => fail(error.message, error));
    if (signal?.aborted) onAbort();
  });
}

/**
 * One connection to beanstalkd: commands are pipelined, and answered in their order. When it is lost, everything pending
 * rejects with `ConnectionLostError`, and so does every later call; after `close()` calls reject with `ClosedError`.
 *
 * A server that owes an answer and says nothing for two heartbeats counts as lost; an idle one is asked after one.
 */
export class BeanstalkLink {
  /** Pending while the link lives; rejects with `ConnectionLostError`. Never settles after a `close()`. */
  readonly lost: Promise<never>;
  readonly #socket: Socket;
  readonly #settings: DriverSettings;
  readonly #reader = new ReplyReader();
  readonly #pending: Command[] = [];
  readonly #watchdog: NodeJS.Timeout;
  #rejectLost!: (error: LovageError) => void;
  #end: LovageError | undefined;
  #silentChecks = 0;
  #isCorked = false;

  constructor(socket: Socket, settings: DriverSettings) {
    this.#socket = socket;
    this.#settings = settings;
    this.lost = new Promise<never>((_, reject) => {
      this.#rejectLost = reject;
    });
    this.lost.catch(() => undefined);
    socket.on('data', (chunk) => this.#receive(chunk));
    socket.on('error', (error) => this.fail(error));
    socket.on('close', () => this.fail(new Error('the server closed the connection')));
    socket.on('end', () => this.fail(new Error('the server closed the connection')));
    this.#watchdog = setInterval(() => this.#check(), settings.heartbeatMs / CHECKS_PER_HEARTBEAT).unref();
  }

  /** Sends one command, its body included, without the last line end. The answer may take `waitMs` longer than usual. */
  command(text: string, waitMs = 0): Promise<Reply> {
    if (this.#end !== undefined) return Promise.reject(this.#end);
    return new Promise((resolve, reject) => {
      this.#pending.push({ resolve, reject, silentUntil: waitMs === 0 ? 0 : performance.now() + waitMs });
      if (!this.#isCorked) {
        this.#isCorked = true;
        this.#socket.cork();
        queueMicrotask(() => {
          this.#isCorked = false;
          this.#socket.uncork();
        });
      }
      this.#socket.write(`${text}\r\n`);
    });
  }

  /** Ends the link as lost. */
  fail(cause: unknown): void {
    if (this.#end !== undefined) return;
    const { url } = this.#settings;
    const reason = cause instanceof Error ? cause.message : String(cause);
    const error = new ConnectionLostError(`The connection to beanstalkd at ${url} was lost: ${reason}`, {
      cause,
      facts: { url },
    });
    this.#finish(error);
    this.#rejectLost(error);
  }

  /** Disconnects at once: the server gives everybody else what this connection holds. */
  close(): void {
    this.#finish(new ClosedError('The connection to beanstalkd is closed.'));
  }

  #finish(error: LovageError): void {
    if (this.#end !== undefined) return;
    this.#end = error;
    clearInterval(this.#watchdog);
    this.#socket.destroy();
    for (const { reject } of this.#pending.splice(0)) reject(error);
  }

  #receive(chunk: Buffer): void {
    if (this.#end !== undefined) return;
    this.#silentChecks = 0;
    try {
      for (const reply of this.#reader.read(chunk)) {
        const command = this.#pending.shift();
        if (command === undefined) throw new Error(`nobody asked for "${reply.word}"`);
        // What follows is out of step: beanstalkd reads the body of a refused command as more commands.
        if (reply.word === 'BAD_FORMAT' || reply.word === 'UNKNOWN_COMMAND' || reply.word === 'EXPECTED_CRLF') {
          throw new Error(`it did not understand a command (${reply.word})`);
        }
        command.resolve(reply);
      }
    } catch (error) {
      this.fail(error);
    }
  }

  /** Counts checks instead of comparing clocks: a blocked event loop or a suspended machine is not the server's silence. */
  #check(): void {
    const [first] = this.#pending;
    if (first !== undefined && performance.now() < first.silentUntil) {
      this.#silentChecks = 0;
      return;
    }
    this.#silentChecks++;
    if (this.#silentChecks >= CHECKS_PER_HEARTBEAT * 2) {
      this.fail(new Error(`it said nothing for ${this.#settings.heartbeatMs * 2} ms`));
    } else if (this.#silentChecks === CHECKS_PER_HEARTBEAT && first === undefined) {
      this.command('list-tube-used').catch(() => undefined); // whoever looks at the link learns of its loss
    }
  }
}
