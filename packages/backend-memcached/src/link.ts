import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import {
  AuthError,
  BrokerBlockedError,
  ConnectError,
  type LovageError,
  MessageTooLargeError,
  openPipelinedLink,
  type PipelinedLink,
  PreconditionFailedError,
} from '@lovage/core/transport';
import { serverName } from '@lovage/core/options';
import { checkKeys } from './items.ts';
import type { MemcachedSettings, ServerSettings } from './options.ts';
import { type Item, Replies, type Reply } from './replies.ts';

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
  { tls, connectTimeoutMs, silenceMs, credentials }: MemcachedSettings,
  signal?: AbortSignal,
): Promise<MemcachedLink> {
  signal?.throwIfAborted();
  const { host, port, path, name } = server;
  const where = path === undefined ? { host, port } : { path };
  return openPipelinedLink(
    {
      socket: tls === undefined ? connect(where) : connectTls({ ...where, ...serverName(host), ...tls }),
      protocol: new Replies(),
      server: `memcached at ${name}`,
      facts: { server: name },
      connectTimeoutMs,
      silenceMs,
      signal,
    },
    async (pipeline) => {
      const link = new MemcachedLink(pipeline, name);
      await link.enter(credentials);
      return link;
    },
  );
}

/**
 * One connection to memcached, in its text protocol. What is no key is refused with `UnsupportedError`: it never stands in
 * a command.
 */
export class MemcachedLink {
  readonly #pipeline: PipelinedLink<Reply>;
  readonly #name: string;

  constructor(pipeline: PipelinedLink<Reply>, name: string) {
    this.#pipeline = pipeline;
    this.#name = name;
  }

  /** Pending while the link lives; rejects with `ConnectionLostError`. Never settles after a `close()`. */
  get lost(): Promise<never> {
    return this.#pipeline.lost;
  }

  /** Proves that this is a memcached that takes commands. */
  async enter(credentials: MemcachedSettings['credentials']): Promise<void> {
    if (credentials !== undefined) {
      const data = Buffer.from(`${credentials.username} ${credentials.password}`);
      const { line } = await this.#pipeline.command(`set auth 0 0 ${data.length}`, { data });
      if (line !== 'STORED') throw this.#denied(line, 'refused the credentials. Check "cache_backend_options".');
    }
    const { line } = await this.#pipeline.command('version');
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
      parts.push(this.#pipeline.command(`gets ${keys.slice(from, from + MOST_KEYS).join(' ')}`));
    }
    const replies = await Promise.all(parts);
    for (const { line } of replies) if (line !== 'END') throw this.#refused(line, 'the items');
    if (replies.length === 1) return (replies[0] as Reply).items;
    return new Map(replies.flatMap(({ items }) => [...items]));
  }

  /** `add`: only where there is nothing; `cas`: only over the item that was read. */
  async store(mode: 'set' | 'add' | 'cas', { key, data, flags, exptime }: StoreCommand, cas = ''): Promise<Stored> {
    checkKeys(key);
    const { line } = await this.#pipeline.command(
      `${mode} ${key} ${flags} ${exptime} ${data.length}${cas === '' ? '' : ` ${cas}`}`,
      { data },
    );
    if (line === 'STORED' || line === 'NOT_STORED' || line === 'EXISTS' || line === 'NOT_FOUND') return line;
    throw this.#refused(line, key);
  }

  async delete(key: string): Promise<void> {
    checkKeys(key);
    const { line } = await this.#pipeline.command(`delete ${key}`);
    if (line !== 'DELETED' && line !== 'NOT_FOUND') throw this.#refused(line, key);
  }

  /** The counter after it; undefined where there is none. */
  async increment(key: string): Promise<number | undefined> {
    checkKeys(key);
    const { line } = await this.#pipeline.command(`incr ${key} 1`);
    if (line === 'NOT_FOUND') return undefined;
    if (!/^\d+$/.test(line)) throw this.#refused(line, key);
    return Number(line);
  }

  async touch(key: string, exptime: number): Promise<void> {
    checkKeys(key);
    const { line } = await this.#pipeline.command(`touch ${key} ${exptime}`);
    if (line !== 'TOUCHED' && line !== 'NOT_FOUND') throw this.#refused(line, key);
  }

  /** Disconnects at once. */
  close(): void {
    this.#pipeline.close();
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
}
