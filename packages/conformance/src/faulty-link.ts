import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

export interface FaultyLinkTarget {
  readonly host: string;
  readonly port: number;
}

export type LinkDirection = 'toServer' | 'toClient';

/**
 * A TCP proxy on 127.0.0.1 that misbehaves on command: loss tests for every broker, with nothing to kill.
 *
 * Its ends acknowledge each other's bytes, so a stalled link looks like a peer that went silent, not like lost packets.
 */
export interface FaultyLink extends AsyncDisposable {
  readonly host: '127.0.0.1';
  readonly port: number;
  /** Links that are open now. */
  readonly connections: number;
  /** Closes every open link on both sides. New ones are accepted. */
  cut(): void;
  /** The same with RST. */
  reset(): void;
  /** Keeps everything open and moves nothing; new links are accepted and stall too. */
  stall(): void;
  /** Sends FIN to the clients and goes on reading from them. */
  halfClose(): void;
  /** Stops listening: new links meet ECONNREFUSED. Open ones live on. */
  refuse(): Promise<void>;
  /** Each chunk arrives so many milliseconds later. */
  delay(ms: number): void;
  /**
   * Lets so many more bytes pass in this direction, counted over all links, then cuts every link: once. Resolves then.
   */
  cutAfter(bytes: number, direction: LinkDirection): Promise<void>;
  /** Passes chunks of at most so many bytes, each in an event loop turn of its own. */
  slice(bytes: number): void;
  /** Ends stalling, refusing, delaying, slicing and an unmet `cutAfter`. */
  resume(): Promise<void>;
  /** Cuts everything and stops listening. Twice is fine. */
  close(): Promise<void>;
}

/** Opens a proxy to `target` on a free port. Rejects when 127.0.0.1 cannot be listened on. */
export async function openFaultyLink(target: FaultyLinkTarget): Promise<FaultyLink> {
  const link = new TcpLink(target);
  await link.listen(0);
  return link;
}

interface Pair {
  readonly client: Socket;
  readonly server: Socket;
}

interface Budget {
  readonly direction: LinkDirection;
  left: number;
  readonly met: () => void;
}

interface Gate {
  readonly over: Promise<void>;
  end(): void;
}

function openGate(): Gate {
  let end: (() => void) | undefined;
  const over = new Promise<void>((resolve) => {
    end = resolve;
  });
  return { over, end: () => end?.() };
}

class TcpLink implements FaultyLink {
  readonly host = '127.0.0.1';
  port = 0;
  readonly #target: FaultyLinkTarget;
  readonly #pairs = new Set<Pair>();
  #server: Server | undefined;
  #stalled: Gate | undefined;
  #delayMs = 0;
  #sliceBytes = Number.POSITIVE_INFINITY;
  #budget: Budget | undefined;
  #closed = false;

  constructor(target: FaultyLinkTarget) {
    this.#target = target;
  }

  get connections(): number {
    return this.#pairs.size;
  }

  async listen(port: number): Promise<void> {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.#accept(client));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, this.host, resolve);
    });
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
  }

  cut(): void {
    for (const { client, server } of this.#pairs) {
      client.destroy();
      server.destroy();
    }
  }

  reset(): void {
    for (const { client, server } of this.#pairs) {
      client.resetAndDestroy();
      server.resetAndDestroy();
    }
  }

  stall(): void {
    if (this.#stalled !== undefined) return;
    this.#stalled = openGate();
    for (const { client, server } of this.#pairs) {
      client.pause();
      server.pause();
    }
  }

  halfClose(): void {
    for (const { client } of this.#pairs) client.end();
  }

  async refuse(): Promise<void> {
    this.#server?.close();
    this.#server = undefined;
  }

  delay(ms: number): void {
    this.#delayMs = ms;
  }

  cutAfter(bytes: number, direction: LinkDirection): Promise<void> {
    return new Promise((resolve) => {
      this.#budget = { direction, left: bytes, met: resolve };
    });
  }

  slice(bytes: number): void {
    this.#sliceBytes = bytes;
  }

  async resume(): Promise<void> {
    this.#delayMs = 0;
    this.#sliceBytes = Number.POSITIVE_INFINITY;
    this.#budget = undefined;
    const stalled = this.#stalled;
    this.#stalled = undefined;
    for (const { client, server } of this.#pairs) {
      client.resume();
      server.resume();
    }
    stalled?.end();
    if (this.#server === undefined && !this.#closed) await this.listen(this.port);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#stalled?.end();
    this.cut();
    const server = this.#server;
    this.#server = undefined;
    if (server !== undefined) await new Promise<void>((resolve) => server.close(() => resolve()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #accept(client: Socket): void {
    const server = connect({ host: this.#target.host, port: this.#target.port, allowHalfOpen: true, noDelay: true });
    const pair: Pair = { client, server };
    this.#pairs.add(pair);
    const end = (): void => {
      this.#pairs.delete(pair);
      client.destroy();
      server.destroy();
    };
    for (const socket of [client, server]) {
      socket.on('error', end);
      socket.on('close', end);
    }
    if (this.#stalled !== undefined) {
      client.pause();
      server.pause();
    }
    this.#pump(client, server, 'toServer');
    this.#pump(server, client, 'toClient');
  }

  #pump(from: Socket, to: Socket, direction: LinkDirection): void {
    let turn = Promise.resolve();
    from.on('data', (chunk) => {
      const dueAt = performance.now() + this.#delayMs;
      from.pause();
      turn = turn.then(async () => {
        await this.#pass(chunk, to, direction, dueAt);
        if (this.#stalled === undefined) from.resume();
      });
    });
    from.on('end', () => {
      turn = turn.then(() => {
        if (to.writable) to.end();
      });
    });
  }

  async #pass(chunk: Uint8Array, to: Socket, direction: LinkDirection, dueAt: number): Promise<void> {
    const waitMs = dueAt - performance.now();
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
    for (let offset = 0; offset < chunk.length; ) {
      while (this.#stalled !== undefined) await this.#stalled.over;
      const budget = this.#budget?.direction === direction ? this.#budget : undefined;
      const end = Math.min(
        chunk.length,
        offset + this.#sliceBytes,
        offset + (budget?.left ?? Number.POSITIVE_INFINITY),
      );
      if (end > offset) await write(to, chunk.subarray(offset, end));
      if (this.#sliceBytes !== Number.POSITIVE_INFINITY) await new Promise((resolve) => setImmediate(resolve));
      if (budget !== undefined && budget === this.#budget) {
        budget.left -= end - offset;
        if (budget.left <= 0) {
          this.#budget = undefined;
          this.cut();
          budget.met();
          return;
        }
      }
      offset = end;
    }
  }
}

/** Resolves when the bytes are handed to the kernel, or cannot be any more. */
function write(socket: Socket, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    if (!socket.writable) resolve();
    else socket.write(bytes, () => resolve());
  });
}
