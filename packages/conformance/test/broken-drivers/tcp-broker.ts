import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { once } from 'node:events';
import { cutMemoryLinks, openMemoryDriver } from '@lovage/core/memory';
import {
  BrokerUrl,
  ConnectError,
  type ConnectOptions,
  ConnectionLostError,
  LovageError,
  type PullRequest,
  type Pulled,
  type QueueDriver,
  type Transport,
  virtualTransport,
} from '@lovage/core/transport';

type Driver = Awaited<ReturnType<typeof openMemoryDriver>>;
type Receipt = Parameters<Driver['settle']>[0][number]['receipt'];

interface Request {
  readonly id: number;
  readonly call: string;
  readonly input: never;
}

let links = 0;

/** The memory broker behind a socket, one JSON text per line: what loss can be tried on without a server. */
export async function openTcpBroker(name: string): Promise<{ url: string; close(): Promise<void> }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    void serve(socket, `memory://${name}`);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `tcp://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

async function serve(socket: Socket, url: string): Promise<void> {
  const clientName = `tcp-${++links}`;
  const receipts = new Map<number, Receipt>();
  const pulls = new Map<number, AbortController>();
  let nextReceipt = 0;
  const opening = openMemoryDriver(new BrokerUrl(url), { clientName });
  const end = (): void => {
    for (const pull of pulls.values()) pull.abort();
    cutMemoryLinks(url, { clientName });
    socket.destroy();
  };
  socket.on('error', () => {});
  socket.on('end', end);
  socket.on('close', end);
  const driver = await opening;
  const calls: Record<string, (input: never, id: number) => Promise<unknown>> = {
    ping: async () => undefined,
    ensureQueue: (queue) => driver.ensureQueue(queue),
    removeQueue: (queue) => driver.removeQueue(queue),
    push: (entries) => driver.push(entries),
    size: (queue) => driver.size(queue),
    purge: (queue) => driver.purge(queue),
    abort: async (id: number) => pulls.get(id)?.abort(),
    settle: (settlements: readonly { receipt: number; outcome: 'ack' | 'requeue' }[]) =>
      driver.settle(
        settlements.flatMap(({ receipt, outcome }) => {
          const held = receipts.get(receipt);
          receipts.delete(receipt);
          return held === undefined ? [] : [{ receipt: held, outcome }];
        }),
      ),
    pull: async (input: Omit<PullRequest, 'signal'>, id) => {
      const abort = new AbortController();
      pulls.set(id, abort);
      const pulled = await driver.pull({ ...input, signal: abort.signal });
      pulls.delete(id);
      return pulled.map(({ receipt, ...message }) => {
        receipts.set(++nextReceipt, receipt);
        return { ...message, receipt: nextReceipt };
      });
    },
  };
  onLines(socket, ({ id, call, input }: Request) => {
    calls[call]?.(input, id).then(
      (output) => socket.write(`${JSON.stringify({ id, output })}\n`),
      (error: Error) => socket.write(`${JSON.stringify({ id, error: error.message })}\n`),
    );
  });
}

/** What a client of it may do wrong. */
export interface TcpClientFaults {
  readonly missesSilence?: boolean;
  readonly waitsForEver?: boolean;
  readonly resolvesWhatIsLost?: boolean;
  readonly staysOpenOnAbort?: boolean;
  readonly takesChunksForLines?: boolean;
  readonly throwsRawErrors?: boolean;
}

export function tcpTransport(faults: TcpClientFaults = {}): Transport {
  return virtualTransport<number>({
    schemes: ['tcp'],
    open: async (url, options) => new TcpDriver(await openSocket(url, options, faults), options, faults),
  });
}

/** Open once the server has answered a first ping: a port that is listened on proves nothing. */
async function openSocket(url: BrokerUrl, options: ConnectOptions, faults: TcpClientFaults): Promise<Socket> {
  const { signal, connectTimeoutMs = 4000 } = options;
  signal?.throwIfAborted();
  const socket = connect({ host: url.host, port: url.port ?? 0, noDelay: true });
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', (cause) =>
        reject(faults.throwsRawErrors === true ? cause : new ConnectError('The broker cannot be reached.', { cause })),
      );
      socket.once('close', () => reject(new ConnectError('The broker closed the connection.')));
      socket.once('data', () => resolve());
      signal?.addEventListener('abort', () => reject(signal.reason as Error));
      if (faults.waitsForEver !== true) {
        timer = setTimeout(() => reject(new ConnectError('The broker did not answer.')), connectTimeoutMs);
      }
      socket.write(`${JSON.stringify({ id: 0, call: 'ping' })}\n`);
    });
  } catch (error) {
    if (faults.staysOpenOnAbort !== true) socket.destroy();
    throw error;
  } finally {
    clearTimeout(timer);
  }
  return socket;
}

class TcpDriver implements QueueDriver<number> {
  readonly capabilities = {
    fanout: false,
    priorityLevels: 10,
    servesFirst: 'highest',
    maxDelayMs: 3_600_000,
    leaseMs: 0,
    maxMessageBytes: 0,
    guarantee: 'tcp: for tests of the kit',
  } as const;
  readonly lost: Promise<never>;
  readonly #socket: Socket;
  readonly #pending = new Map<number, { resolve: (output: never) => void; reject: (error: Error) => void }>();
  readonly #faults: TcpClientFaults;
  readonly #heartbeat: NodeJS.Timeout;
  #heardAt = performance.now();
  #nextId = 0;
  #end: Error | undefined;
  #lose!: (error: Error) => void;

  constructor(socket: Socket, { heartbeatSeconds = 20 }: ConnectOptions, faults: TcpClientFaults) {
    this.#socket = socket;
    this.#faults = faults;
    this.lost = new Promise((_, reject) => {
      this.#lose = reject;
    });
    this.lost.catch(() => {});
    const fail = (): void => this.#fail(new ConnectionLostError('The connection to the broker is lost.'));
    socket.on('error', fail);
    socket.on('end', fail);
    socket.on('close', fail);
    onLines(
      socket,
      (answer: { id: number; output?: never; error?: string }) => {
        this.#heardAt = performance.now();
        const call = this.#pending.get(answer.id);
        this.#pending.delete(answer.id);
        if (answer.error === undefined) call?.resolve(answer.output as never);
        else call?.reject(new LovageError('ERR_NOT_FOUND', answer.error));
      },
      faults.takesChunksForLines,
    );
    this.#heartbeat = setInterval(() => {
      if (performance.now() - this.#heardAt > heartbeatSeconds * 2000 && faults.missesSilence !== true) fail();
      else this.#call('ping', null).catch(() => {});
    }, heartbeatSeconds * 500);
  }

  ensureQueue(queue: object): Promise<void> {
    return this.#call('ensureQueue', queue);
  }

  removeQueue(name: string): Promise<void> {
    return this.#call('removeQueue', name);
  }

  push(entries: readonly object[]): Promise<void> {
    return this.#call('push', entries);
  }

  async pull({ signal, ...input }: PullRequest): Promise<readonly Pulled<number>[]> {
    const id = this.#nextId + 1;
    const abort = (): void => {
      this.#call('abort', id).catch(() => {});
    };
    const pulling = this.#call<readonly Pulled<number>[]>('pull', input);
    signal.addEventListener('abort', abort);
    if (signal.aborted) abort();
    try {
      return await pulling;
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  settle(settlements: readonly object[]): Promise<void> {
    return this.#call('settle', settlements);
  }

  size(queue: string): Promise<number> {
    return this.#call('size', queue);
  }

  purge(queue: string): Promise<number> {
    return this.#call('purge', queue);
  }

  async close(): Promise<void> {
    this.#fail(new ConnectionLostError('The driver is closed.'));
  }

  #call<T>(call: string, input: unknown): Promise<T> {
    if (this.#end !== undefined) return Promise.reject(this.#end);
    const id = ++this.#nextId;
    return new Promise<T>((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#socket.write(`${JSON.stringify({ id, call, input })}\n`);
    });
  }

  #fail(error: Error): void {
    if (this.#end !== undefined) return;
    this.#end = error;
    clearInterval(this.#heartbeat);
    this.#socket.destroy();
    for (const { resolve, reject } of this.#pending.values()) {
      if (this.#faults.resolvesWhatIsLost === true) resolve([] as never);
      else reject(error);
    }
    this.#pending.clear();
    this.#lose(error);
  }
}

function onLines(socket: Socket, tell: (line: never) => void, takesChunksForLines = false): void {
  let rest = '';
  socket.setEncoding('utf8');
  socket.on('data', (chunk: string) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    if (takesChunksForLines) rest = '';
    for (const line of lines) {
      try {
        tell(JSON.parse(line) as never);
      } catch (error) {
        if (!(error instanceof SyntaxError)) throw error;
      }
    }
  });
}
