import type { Broadcast } from '@lovage/core/transport';
import type { RedisLink } from '@lovage/redis';
import type { Keys } from './keys.ts';

type Listener = Parameters<Broadcast['subscribe']>[2];

interface Pattern {
  readonly listeners: Set<{ readonly exchange: string; readonly listener: Listener }>;
  readonly subscribed: Promise<unknown>;
}

interface Connected {
  readonly link: RedisLink;
  /** The server's number of this connection. */
  readonly id: string;
}

/** Where Redis sends the names of keys that changed. Source: redis.io, client-side caching in RESP2. */
const INVALIDATIONS = '__redis__:invalidate';

/** The second connection of a driver: broadcasts and hints that a key changed. Opened when first needed. */
export class Subscriber {
  readonly #open: () => Promise<RedisLink>;
  readonly #keys: Keys;
  readonly #onInvalidation: () => void;
  readonly #patterns = new Map<string, Pattern>();
  #connected: Promise<Connected> | undefined;

  constructor(open: () => Promise<RedisLink>, keys: Keys, onInvalidation: () => void) {
    this.#open = open;
    this.#keys = keys;
    this.#onInvalidation = onInvalidation;
  }

  /**
   * Makes `tracker` remember the keys it reads, and tells `onInvalidation` when somebody else changed one of them. Every
   * hint counts once: the key has to be read again for the next. Rejects where the server cannot do that or forbids it.
   */
  async track(tracker: RedisLink): Promise<void> {
    const { link, id } = await this.#connect();
    await link.text('subscribe', [INVALIDATIONS]);
    await tracker.text('client', ['tracking', 'on', 'redirect', id, 'noloop']);
  }

  /** Source: kombu/transport/redis.py, _subscribe: patterns always. */
  async subscribe(exchange: string, bindingKey: string, listener: Listener): Promise<{ unsubscribe(): Promise<void> }> {
    const { link } = await this.#connect();
    const names = this.#keys.channelPatterns(exchange, bindingKey);
    const name = names[0] as string;
    let pattern = this.#patterns.get(name);
    if (pattern === undefined) {
      pattern = { listeners: new Set(), subscribed: link.text('psubscribe', names) };
      for (const one of names) this.#patterns.set(one, pattern);
    }
    const { listeners } = pattern;
    const entry = { exchange, listener };
    listeners.add(entry);
    try {
      await pattern.subscribed;
    } catch (error) {
      listeners.delete(entry);
      if (listeners.size === 0) for (const one of names) this.#patterns.delete(one);
      throw error;
    }
    return {
      unsubscribe: async () => {
        if (!listeners.delete(entry) || listeners.size > 0 || this.#patterns.get(name)?.listeners !== listeners) return;
        for (const one of names) this.#patterns.delete(one);
        await link.text('punsubscribe', names);
      },
    };
  }

  /** The driver is lost, and what waits here with it. */
  fail(error: unknown): void {
    void this.#connected?.then(({ link }) => link.fail(error)).catch(() => undefined);
  }

  async close(): Promise<void> {
    const connected = await this.#connected?.catch(() => undefined);
    connected?.link.close();
  }

  #connect(): Promise<Connected> {
    return (this.#connected ??= this.#start().catch((error: unknown) => {
      this.#connected = undefined;
      throw error;
    }));
  }

  async #start(): Promise<Connected> {
    const link = await this.#open();
    // In RESP2 a connection that is subscribed to something answers no other command any more.
    const id = String(await link.text('client', ['id']));
    link.onMessage((channel, message, pattern) => {
      if (pattern === undefined) this.#onInvalidation();
      else this.#deliver(pattern.toString(), channel.toString(), message);
    });
    return { link, id };
  }

  #deliver(pattern: string, channel: string, message: Buffer | readonly Buffer[] | null): void {
    if (!Buffer.isBuffer(message)) return;
    for (const { exchange, listener } of this.#patterns.get(pattern)?.listeners ?? []) {
      listener(message, this.#keys.routingKeyOf(channel, exchange));
    }
  }
}
