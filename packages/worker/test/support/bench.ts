import { randomUUID } from 'node:crypto';
import { expect, onTestFinished } from 'vitest';
import { Lovage, type LogFields, type Logger, type LovageOptions } from '@lovage/core';
import { memoryBackend, memoryTransport } from '@lovage/core/memory';
import type { TaskMeta } from '@lovage/core/protocol';
import type { Connection, Message } from '@lovage/core/transport';
import { Worker, type WorkerOptions } from '../../src/worker.ts';

export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly fields: LogFields;
  readonly message: string;
}

/** A loaded machine is slow; what happens takes a moment. */
const DEADLINE_MS = 25_000;

/**
 * What a stop may take beyond its grace in a test: two seconds are promised, and `scripts/shutdown.mjs` measures them; a
 * loaded machine takes longer, and a stop that waits for somebody who is not there takes for ever.
 */
export const STOP_MS = 15_000;

/** An app with its own memory broker and store, and workers that end with it. See {@link openBench}. */
export class Bench {
  readonly app: Lovage;
  readonly broker = `memory://${randomUUID()}`;
  readonly lines: LogLine[] = [];
  readonly workers: Worker[] = [];

  constructor(options: LovageOptions = {}) {
    const line =
      (level: LogLine['level']) =>
      (fields: LogFields, message: string): void =>
        void this.lines.push({ level, fields, message });
    const logger: Logger = { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') };
    this.app = new Lovage('bench', {
      broker: this.broker,
      backend: `cache+${this.broker}`,
      transports: [memoryTransport],
      backends: [memoryBackend],
      logger,
      ...options,
    });
  }

  async worker(options: WorkerOptions = {}): Promise<Worker> {
    const worker = new Worker(this.app, { concurrency: 4, guardProcess: false, watchdogMs: 0, ...options });
    this.workers.push(worker);
    await worker.start();
    return worker;
  }

  /** What the store holds when `test` holds for it; fails after a deadline. */
  async meta(id: string, test: (meta: TaskMeta) => boolean = isFinal): Promise<TaskMeta> {
    const backend = await this.app.requireBackend('test');
    return until(async () => {
      const [meta] = await backend.load([id]);
      return meta !== undefined && test(meta) ? meta : undefined;
    }, `a state of ${id}`);
  }

  connection(): Promise<Connection> {
    return this.app.producerConnection().connection({ timeoutMs: DEADLINE_MS });
  }

  /** Puts a message into a queue as it is. */
  async raw(message: Partial<Message>, queue = 'celery'): Promise<void> {
    const connection = await this.connection();
    await connection.declare({ queues: [{ name: queue }] });
    await connection.publish([
      {
        exchange: '',
        routingKey: queue,
        message: {
          body: Buffer.from('[[], {}, {}]'),
          contentType: 'application/json',
          contentEncoding: 'utf-8',
          headers: {},
          properties: {},
          ...message,
        },
      },
    ]);
  }

  /** Takes the next message out of a queue. */
  async take(queue: string): Promise<Message> {
    const connection = await this.connection();
    await connection.declare({ queues: [{ name: queue }] });
    let resolve!: (message: Message) => void;
    const taken = new Promise<Message>((onTaken) => {
      resolve = onTaken;
    });
    const consumer = await connection.consume(
      [queue],
      ([first]) => {
        if (first === undefined) return;
        resolve(first.message);
        void connection.settle([{ delivery: first, outcome: 'ack' }]);
      },
      { prefetch: 1 },
    );
    try {
      return await within(taken, `a message in ${queue}`);
    } finally {
      await consumer.cancel();
    }
  }

  /** Messages that wait in a queue. */
  async size(queue = 'celery'): Promise<number> {
    return (await (await this.connection()).inspect(queue)).ready;
  }

  async close(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.stop('cold')));
    await this.app.close();
  }
}

/** A bench that is closed when the test ends. */
export function openBench(options?: LovageOptions): Bench {
  const bench = new Bench(options);
  onTestFinished(() => bench.close());
  return bench;
}

function isFinal({ status }: TaskMeta): boolean {
  return status === 'SUCCESS' || status === 'FAILURE' || status === 'REVOKED';
}

/** A stored failure of this type; what is left out may be anything. */
export function exception(type: string, message?: unknown[], module?: string): unknown {
  return expect.objectContaining({
    exc_type: type,
    ...(message === undefined ? {} : { exc_message: message }),
    ...(module === undefined ? {} : { exc_module: module }),
  });
}

/** Asks again each turn of the event loop until there is an answer. */
export async function until<T>(
  ask: () => T | undefined | false | Promise<T | undefined | false>,
  what: string,
): Promise<T> {
  const end = performance.now() + DEADLINE_MS;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > end) throw new Error(`Waited in vain for ${what}.`);
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}

export async function within<T>(work: Promise<T>, what: string, ms: number = DEADLINE_MS): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Waited in vain for ${what}.`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A promise that the test settles. */
export function gate<T = void>(): { readonly opened: Promise<T>; readonly open: (value: T) => void } {
  let open!: (value: T) => void;
  const opened = new Promise<T>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}
