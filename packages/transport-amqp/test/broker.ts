import { randomUUID } from 'node:crypto';
import {
  BrokerUrl,
  type Connection,
  type ConnectOptions,
  type Consumer,
  type Delivery,
  type Message,
  type Publication,
} from '@lovage/core/transport';
import { describe } from 'vitest';
import { amqpTransport } from '../src/index.ts';

const given = process.env['LOVAGE_TEST_AMQP_URL'];
if (given === undefined && process.env['CI'] === 'true')
  throw new Error('LOVAGE_TEST_AMQP_URL is not set. CI must test against RabbitMQ.');

/** Runs with the server of `LOVAGE_TEST_AMQP_URL`, else is a reported skip. */
export const describeWithRabbit = given === undefined ? describe.skip : describe;

/** Empty without a server; nothing connects then. */
export const brokerUrl = given ?? 'amqp://';

export const WAIT_MS = 50_000;

export function connect(options: ConnectOptions = {}, url: string = brokerUrl): Promise<Connection> {
  return amqpTransport.connect(new BrokerUrl(url), options);
}

export function newName(kind: string): string {
  return `lovage-test-${kind}-${randomUUID().slice(0, 8)}`;
}

export function textMessage(text: string, more: Partial<Message> = {}): Message {
  return {
    body: Buffer.from(text),
    contentType: 'text/plain',
    contentEncoding: 'utf-8',
    headers: {},
    properties: {},
    ...more,
  };
}

export function toQueue(queue: string, text: string, more: Partial<Publication> = {}): Publication {
  return { exchange: '', routingKey: queue, message: textMessage(text), mandatory: true, ...more };
}

export function textOf({ message }: Delivery): string {
  return Buffer.from(message.body).toString();
}

/** What a consumer was handed, to be awaited. */
export class Inbox {
  readonly all: Delivery[] = [];
  #taken = 0;
  #wake: (() => void) | undefined;

  readonly sink = (deliveries: readonly Delivery[]): void => {
    this.all.push(...deliveries);
    this.#wake?.();
  };

  /** The next `count` deliveries; rejects when they do not arrive within the deadline. */
  async take(count: number, waitMs: number = WAIT_MS): Promise<Delivery[]> {
    await this.#until(() => this.all.length >= this.#taken + count, waitMs, count);
    const taken = this.all.slice(this.#taken, this.#taken + count);
    this.#taken += count;
    return taken;
  }

  async takeOne(): Promise<Delivery> {
    const [delivery] = await this.take(1);
    return delivery as Delivery;
  }

  async #until(condition: () => boolean, waitMs: number, count: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        timer = setTimeout(
          () =>
            reject(new Error(`${this.all.length - this.#taken} of ${count} deliveries arrived within ${waitMs} ms`)),
          waitMs,
        );
        this.#wake = () => {
          if (condition()) resolve();
        };
        this.#wake();
      });
    } finally {
      clearTimeout(timer);
      this.#wake = undefined;
    }
  }
}

export async function consumeInto(
  connection: Connection,
  queues: readonly string[],
  prefetch: number,
): Promise<{ inbox: Inbox; consumer: Consumer }> {
  const inbox = new Inbox();
  return { inbox, consumer: await connection.consume(queues, inbox.sink, { prefetch }) };
}

/** Asks until the answer is yes; for what only the broker can tell, such as the length of a queue. */
export async function eventually(condition: () => Promise<boolean>, waitMs: number = WAIT_MS): Promise<void> {
  const deadline = performance.now() + waitMs;
  while (!(await condition())) {
    if (performance.now() > deadline)
      throw new Error(`It did not become true within ${waitMs} ms: ${String(condition)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The reason of a rejection. */
export async function failureOf(
  promise: Promise<unknown>,
): Promise<Error & { readonly code?: string; readonly retryable?: boolean }> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error('It did not reject.');
}
