import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type FaultyLink, openFaultyLink } from '@lovage/conformance';

/** Keeps what arrives, to be awaited. */
class End {
  readonly socket: Socket;
  readonly chunks: Uint8Array[] = [];
  #wakes: (() => void)[] = [];
  #state: 'open' | 'ended' | 'closed' = 'open';
  failure: (Error & { code?: string }) | undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk) => {
      this.chunks.push(chunk);
      this.#wake();
    });
    socket.on('error', (error) => {
      this.failure = error;
    });
    socket.on('end', () => {
      this.#state = 'ended';
      this.#wake();
    });
    socket.on('close', () => {
      this.#state = 'closed';
      this.#wake();
    });
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString();
  }

  async received(text: string): Promise<void> {
    await this.#until(() => this.text === text);
  }

  async ended(): Promise<void> {
    await this.#until(() => this.#state !== 'open');
  }

  async closed(): Promise<void> {
    await this.#until(() => this.#state === 'closed');
  }

  async #until(isTrue: () => boolean): Promise<void> {
    while (!isTrue()) await new Promise<void>((resolve) => this.#wakes.push(resolve));
  }

  #wake(): void {
    for (const wake of this.#wakes.splice(0)) wake();
  }
}

describe('a faulty link', () => {
  let server: Server;
  let accepted: End[];
  let link: FaultyLink;
  const opened: Socket[] = [];

  beforeEach(async () => {
    accepted = [];
    server = createServer({ allowHalfOpen: true }, (socket) => {
      accepted.push(new End(socket));
      opened.push(socket);
      server.emit('accepted');
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    link = await openFaultyLink({ host: '127.0.0.1', port: (server.address() as AddressInfo).port });
  });

  afterEach(async () => {
    await link.close();
    for (const socket of opened.splice(0)) socket.destroy();
    server.close();
    await once(server, 'close');
  });

  /** Both ends of a new connection through the link. */
  async function open(): Promise<{ client: End; peer: End }> {
    const count = accepted.length;
    const socket = connect({ port: link.port, host: link.host, allowHalfOpen: true });
    opened.push(socket);
    const client = new End(socket);
    for (;;) {
      const peer = accepted[count];
      if (peer !== undefined) return { client, peer };
      await once(server, 'accepted');
    }
  }

  test('passes bytes both ways, and the end of each side alone', async () => {
    const { client, peer } = await open();
    expect(link.connections).toBe(1);
    client.socket.end('there');
    await peer.received('there');
    await peer.ended();
    peer.socket.end('and back');
    await client.received('and back');
    await client.closed();
  });

  test('passes megabytes as they are', async () => {
    const { client, peer } = await open();
    const bytes = Buffer.alloc(3_000_000, 'abcdefghijklmnopqrstuvwxyz');
    client.socket.end(bytes);
    await peer.ended();
    expect(Buffer.compare(Buffer.concat(peer.chunks), bytes)).toBe(0);
  });

  test('cut() closes both ends, and new links are accepted', async () => {
    const { client, peer } = await open();
    link.cut();
    await Promise.all([client.ended(), peer.ended()]);
    expect(link.connections).toBe(0);
    const next = await open();
    next.client.socket.write('again');
    await next.peer.received('again');
  });

  test('reset() is felt as a reset', async () => {
    const { client } = await open();
    link.reset();
    await client.closed();
    expect(client.failure?.code).toBe('ECONNRESET');
  });

  test('stall() moves nothing until resume(), which brings all of it', async () => {
    const { client, peer } = await open();
    link.stall();
    client.socket.write('one');
    peer.socket.write('two');
    // A link that is opened now stalls as well; that it is accepted shows that the proxy had its turn.
    const other = await open();
    other.client.socket.write('three');
    await new Promise((resolve) => setImmediate(resolve));
    expect([peer.text, client.text, other.peer.text]).toEqual(['', '', '']);
    await link.resume();
    await Promise.all([peer.received('one'), client.received('two'), other.peer.received('three')]);
  });

  test('halfClose() ends the way to the client only', async () => {
    const { client, peer } = await open();
    link.halfClose();
    await client.ended();
    client.socket.write('still');
    await peer.received('still');
  });

  test('refuse() turns new links away, keeps open ones, and resume() listens on the same port', async () => {
    const { client, peer } = await open();
    const { port } = link;
    await link.refuse();
    const refused = connect({ port, host: link.host });
    const [error] = (await once(refused, 'error')) as [Error & { code?: string }];
    expect(error.code).toBe('ECONNREFUSED');
    client.socket.write('open');
    await peer.received('open');
    await link.resume();
    expect(link.port).toBe(port);
    const next = await open();
    next.client.socket.write('again');
    await next.peer.received('again');
  });

  test('delay() holds every chunk back, and keeps their order', async () => {
    const { client, peer } = await open();
    link.delay(50);
    const startedAt = performance.now();
    client.socket.write('a');
    await new Promise((resolve) => setImmediate(resolve));
    client.socket.write('b');
    await peer.received('ab');
    // Timers may fire a millisecond early.
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(49);
  });

  test('slice() makes small chunks', async () => {
    const { client, peer } = await open();
    link.slice(2);
    client.socket.write('abcdefg');
    await peer.received('abcdefg');
    expect(peer.chunks.length).toBeGreaterThan(1);
  });

  test.each([0, 1, 5, 9])('cutAfter(%i) passes exactly so many bytes, once', async (bytes) => {
    const { client, peer } = await open();
    const cut = link.cutAfter(bytes, 'toServer');
    client.socket.write('0123456789');
    await cut;
    await Promise.all([client.ended(), peer.ended()]);
    expect(peer.text).toBe('0123456789'.slice(0, bytes));
    const next = await open();
    next.client.socket.write('0123456789');
    await next.peer.received('0123456789');
  });

  test('cutAfter() counts its direction only', async () => {
    const { client, peer } = await open();
    const cut = link.cutAfter(3, 'toClient');
    client.socket.write('0123456789');
    await peer.received('0123456789');
    peer.socket.write('abcdef');
    await cut;
    await client.ended();
    expect(client.text).toBe('abc');
  });

  test('close() ends everything, twice', async () => {
    const { client } = await open();
    link.stall();
    await link.close();
    await link.close();
    await client.ended();
    expect(link.connections).toBe(0);
  });
});
