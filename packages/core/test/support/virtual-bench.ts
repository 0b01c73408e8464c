import { onTestFinished } from 'vitest';
import { silentLogger, type Logger } from '../../src/internal/log.ts';
import { memoryTransport, openMemoryDriver } from '../../src/memory/memory-transport.ts';
import type { Connection, ConnectOptions, Delivery, Publication, Transport } from '../../src/transport/contract.ts';
import { BrokerUrl } from '../../src/transport/url.ts';
import type { QueueDriver } from '../../src/virtual/driver.ts';
import { virtualTransport } from '../../src/virtual/virtual-transport.ts';

let serial = 0;

export function freshUrl(): BrokerUrl {
  return new BrokerUrl(`memory://test-${process.pid}-${++serial}`);
}

export async function connect(
  url = freshUrl(),
  options: ConnectOptions = {},
  transport: Transport = memoryTransport,
): Promise<Connection> {
  const connection = await transport.connect(url, options);
  onTestFinished(() => connection.close());
  return connection;
}

/** The memory driver with some methods replaced. */
export function altered(change: (driver: QueueDriver<never>) => Partial<QueueDriver<never>>): Transport {
  return virtualTransport<never>({
    schemes: ['memory'],
    open: async (url, options) => {
      const driver = (await openMemoryDriver(url, options)) as unknown as QueueDriver<never>;
      const methods = [
        'ensureQueue',
        'removeQueue',
        'push',
        'pull',
        'settle',
        'size',
        'purge',
        'close',
        'extendLease',
      ] as const;
      const bound = Object.fromEntries(
        methods.map((name) => [
          name,
          (...args: never[]) => (driver[name] as (...args: never[]) => unknown).apply(driver, args),
        ]),
      );
      const { capabilities, lost, bindings, broadcast } = driver;
      return { capabilities, lost, bindings, broadcast, ...bound, ...change(driver) } as unknown as QueueDriver<never>;
    },
  });
}

export function publication(
  text: string,
  routingKey: string,
  more: Partial<Publication> & { priority?: number } = {},
): Publication {
  const { priority, ...rest } = more;
  return {
    exchange: '',
    routingKey,
    message: {
      body: Buffer.from(text),
      contentType: 'text/plain',
      contentEncoding: 'utf-8',
      headers: { id: text },
      properties: priority === undefined ? {} : { priority },
    },
    ...rest,
  };
}

export function text({ message }: Delivery): string {
  return Buffer.from(message.body).toString();
}

/** What arrived, and a promise for when so much has. */
export class Inbox {
  readonly all: Delivery[] = [];
  #waiting: { count: number; resolve: () => void }[] = [];

  readonly sink = (deliveries: readonly Delivery[]): void => {
    this.all.push(...deliveries);
    this.#waiting = this.#waiting.filter(({ count, resolve }) => this.all.length < count || resolve());
  };

  get texts(): string[] {
    return this.all.map(text);
  }

  async reach(count: number): Promise<readonly Delivery[]> {
    if (this.all.length < count) await new Promise<void>((resolve) => this.#waiting.push({ count, resolve }));
    return this.all;
  }
}

export async function drained(): Promise<void> {
  // Long enough for every pull that is possible now: a round trip of the driver takes a few microtasks.
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}

export function capture(): { logger: Logger; lines: string[] } {
  const lines: string[] = [];
  const add = (_: unknown, line: string): void => void lines.push(line);
  return { lines, logger: { ...silentLogger, warn: add, error: add } };
}
