import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import {
  AuthError,
  BrokerBlockedError,
  ClosedError,
  ConnectError,
  ConnectionLostError,
  isLovageError,
  type LovageError,
  MessageTooLargeError,
  PreconditionFailedError,
} from '@lovage/core/backend';
import { serverName } from '@lovage/core/options';
import { checkKeys } from './items.ts';
import type { MemcachedSettings, ServerSettings } from './options.ts';
import { type Item, type Reply, ReplyReader } from './replies.ts';

/** How often an open link looks whether its server still speaks, as parts of the time that it may be silent. */
const CHECKS_PER_SILENCE = 4;
/** A line of a command may be long, but need not. */
const MOST_KEYS = 100;

export type Stored = 'STORED' | 'NOT_STORED' | 'EXISTS' | 'NOT_FOUND';

export interface StoreCommand {
  readonly key: string;
  readonly data: Uint8Array;
  readonly flags: number;
  readonly exptime: number;
}

/** Opens a link. Rejects with `ConnectError`, `AuthError` or the signal's reason; leaves nothing open then. */
export async function openLink(
  server: ServerSettings,
  settings: MemcachedSettings,
  signal?: AbortSignal,
): Promise<MemcachedLink> {
  signal?.throwIfAborted();
  const { host, port, path, name } = server;
  const { tls, connectTimeoutMs, credentials } = settings;
  const where = path === undefined ? { host, port } : { path };
  const socket =
    tls === undefined
      ? connect({ ...where, noDelay: true, keepAlive: true })
      : connectTls({ ...where, ...serverName(host), ...tls });
  let giveUp!: (error: Error) => void;
  const failed = new Promise<never>((_, reject) => {
    giveUp = reject;
  });
  failed.catch(() => undefined);
  const refuse = (reason: string, cause?: unknown): void =>
    giveUp(
      new ConnectError(`memcached at ${name} could not be reached: ${reason}`, { cause, facts: { server: name } }),
    );
  const onAbort = (): void => giveUp(signal?.reason as Error);
  const onError = (error: Error): void => refuse(error.message, error);
  const timer = setTimeout(() => refuse(`it did not answer within ${connectTimeoutMs} ms`), connectTimeoutMs);
  signal?.addEventListener('abort', onAbort, { once: true });
  socket.once('error', onError);
  let link: MemcachedLink | undefined;
  try {
    await Promise.race([
      new Promise<void>((resolve) => {
        socket.once(tls === undefined ? 'connect' : 'secureConnect', () => resolve());
      }),
      failed,
    ]);
    link = new MemcachedLink(socket, name, settings.silenceMs);
    await Promise.race([link.enter(credentials), failed]);
    return link;
  } catch (error) {
    link?.close();
    socket.destroy();
    if (!isLovageError(error, 'ERR_CONNECTION_LOST')) throw error;
    throw new ConnectError(error.message, { cause: error, facts: { server: name } });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
    socket.off('error', onError);
    // What the socket still says when it is destroyed is of no interest.
    socket.on('error', () => undefined);
  }
}

interface Command {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: LovageError) => void;
}

/**
 * One connection to memcached, in its text protocol: commands are pipelined, and answered in their order. When it is lost,
 * everything pending rejects with `ConnectionLostError`, and so does every later call; after `close()` calls reject with
 * `ClosedError`. A server that owes an answer and says nothing for `silenceMs` counts as lost. What is no key is refused
 * with `UnsupportedError`: it never stands in a command.
 */
export class MemcachedLink {
  /** Pending while the link lives; rejects with `ConnectionLostError`. Never settles after a `close()`. */
  readonly lost: Promise<never>;
  readonly #socket: Socket;
  readonly #name: string;
  readonly #silenceMs: number;
  readonly #reader = new ReplyReader();
  readonly #pending: Command[] = [];
  readonly #watchdog: NodeJS.Timeout;
  #rejectLost!: (error: LovageError) => void;
  #end: LovageError | undefined;
  #silentChecks = 0;
  #isCorked = false;

  constructor(socket: Socket, name: string, silenceMs: number) {
    this.#socket = socket;
    this.#name = name;
    this.#silenceMs = silenceMs;
    this.lost = new Promise<never>((_, reject) => {
      this.#rejectLost = reject;
    });
    this.lost.catch(() => undefined);
    socket.on('data', (chunk) => this.#receive(chunk));
    socket.on('error', (error) => this.fail(error));
    socket.on('close', () => this.fail(new Error('the server closed the connection')));
    socket.on('end', () => this.fail(new Error('the server closed the connection')));
    this.#watchdog = setInterval(() => this.#check(), silenceMs / CHECKS_PER_SILENCE).unref();
  }

  /** What ended the link; undefined while it lives. */
  get end(): LovageError | undefined {
    return this.#end;
  }

  /** Proves that this is a memcached that takes commands. */
  async enter(credentials: MemcachedSettings['credentials']): Promise<void> {
    if (credentials !== undefined) {
      const data = Buffer.from(`${credentials.username} ${credentials.password}`);
      const { line } = await this.#send(`set auth 0 0 ${data.length}\r\n`, data);
      if (line !== 'STORED') throw this.#denied(line, 'refused the credentials. Check "cache_backend_options".');
    }
    const { line } = await this.#send('version\r\n');
    if (line.startsWith('VERSION')) return;
    if (line.startsWith('CLIENT_ERROR')) {
      throw this.#denied(line, 'asks for credentials. Set "username" and "password" in "cache_backend_options".');
    }
    throw new ConnectError(`What answers at ${this.#name} is no memcached: it said ${JSON.stringify(line)}.`);
  }

  /** The items that exist. */
  async items(keys: readonly string[]): Promise<ReadonlyMap<string, Item>> {
    checkKeys(...keys);
    const parts: Promise<Reply>[] = [];
    for (let from = 0; from < keys.length; from += MOST_KEYS) {
      parts.push(this.#send(`gets ${keys.slice(from, from + MOST_KEYS).join(' ')}\r\n`));
    }
    const replies = await Promise.all(parts);
    for (const { line } of replies) if (line !== 'END') throw this.#refused(line, 'the items');
    if (replies.length === 1) return (replies[0] as Reply).items;
    return new Map(replies.flatMap(({ items }) => [...items]));
  }

  /** `add`: only where there is nothing; `cas`: only over the item that was read. */
  async store(mode: 'set' | 'add' | 'cas', { key, data, flags, exptime }: StoreCommand, cas = ''): Promise<Stored> {
    checkKeys(key);
    const { line } = await this.#send(
      `${mode} ${key} ${flags} ${exptime} ${data.length}${cas === '' ? '' : ` ${cas}`}\r\n`,
      data,
    );
    if (line === 'STORED' || line === 'NOT_STORED' || line === 'EXISTS' || line === 'NOT_FOUND') return line;
    throw this.#refused(line, key);
  }

  async delete(key: string): Promise<void> {
    checkKeys(key);
    const { line } = await this.#send(`delete ${key}\r\n`);
    if (line !== 'DELETED' && line !== 'NOT_FOUND') throw this.#refused(line, key);
  }

  /** The counter after it; undefined where there is none. */
  async increment(key: string): Promise<number | undefined> {
    checkKeys(key);
    const { line } = await this.#send(`incr ${key} 1\r\n`);
    if (line === 'NOT_FOUND') return undefined;
    if (!/^\d+$/.test(line)) throw this.#refused(line, key);
    return Number(line);
  }

  async touch(key: string, exptime: number): Promise<void> {
    checkKeys(key);
    const { line } = await this.#send(`touch ${key} ${exptime}\r\n`);
    if (line !== 'TOUCHED' && line !== 'NOT_FOUND') throw this.#refused(line, key);
  }

  /** Ends the link as lost. */
  fail(cause: unknown): void {
    if (this.#end !== undefined) return;
    const reason = cause instanceof Error ? cause.message : String(cause);
    const error = new ConnectionLostError(`The connection to memcached at ${this.#name} was lost: ${reason}`, {
      cause,
      facts: { server: this.#name },
    });
    this.#finish(error);
    this.#rejectLost(error);
  }

  /** Disconnects at once. */
  close(): void {
    this.#finish(new ClosedError(`The connection to memcached at ${this.#name} is closed.`));
  }

  #finish(error: LovageError): void {
    if (this.#end !== undefined) return;
    this.#end = error;
    clearInterval(this.#watchdog);
    this.#socket.destroy();
    for (const { reject } of this.#pending.splice(0)) reject(error);
  }

  #send(line: string, data?: Uint8Array): Promise<Reply> {
    if (this.#end !== undefined) return Promise.reject(this.#end);
    return new Promise((resolve, reject) => {
      this.#pending.push({ resolve, reject });
      if (!this.#isCorked) {
        this.#isCorked = true;
        this.#socket.cork();
        queueMicrotask(() => {
          this.#isCorked = false;
          this.#socket.uncork();
        });
      }
      this.#socket.write(line);
      if (data === undefined) return;
      this.#socket.write(data);
      this.#socket.write('\r\n');
    });
  }

  #receive(chunk: Buffer): void {
    if (this.#end !== undefined) return;
    this.#silentChecks = 0;
    try {
      for (const reply of this.#reader.read(chunk)) {
        const command = this.#pending.shift();
        if (command === undefined) throw new Error(`nobody asked for "${reply.line}"`);
        // What follows may be out of step: the data of a command that was not understood is read as more commands.
        if (reply.line === 'ERROR' || reply.line === 'CLIENT_ERROR bad data chunk') {
          throw new Error(`it did not understand a command (${reply.line})`);
        }
        command.resolve(reply);
      }
    } catch (error) {
      this.fail(error);
    }
  }

  /** The protocol has no codes but these words. Source: memcached/doc/protocol.txt, memcached.c. */
  #refused(line: string, what: string): LovageError {
    const facts = { server: this.#name, key: what };
    if (line.startsWith('SERVER_ERROR object too large')) {
      return new MessageTooLargeError(
        `The value of "${what}" is larger than memcached at ${this.#name} takes: 1 MB with its key, unless it is started with a higher "-I".`,
        { facts },
      );
    }
    if (line.startsWith('SERVER_ERROR')) {
      return new BrokerBlockedError(`memcached at ${this.#name} could not do it for "${what}" now: ${line}`, { facts });
    }
    return new PreconditionFailedError(`memcached at ${this.#name} refused it for "${what}": ${line}`, { facts });
  }

  #denied(line: string, text: string): LovageError {
    return new AuthError(`memcached at ${this.#name} ${text} It said "${line}".`, { facts: { server: this.#name } });
  }

  /** Counts checks instead of comparing clocks: a blocked event loop or a suspended machine is not the server's silence. */
  #check(): void {
    this.#silentChecks = this.#pending.length === 0 ? 0 : this.#silentChecks + 1;
    if (this.#silentChecks > CHECKS_PER_SILENCE) this.fail(new Error(`it said nothing for ${this.#silenceMs} ms`));
  }
}
