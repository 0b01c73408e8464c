import { onTestFinished } from 'vitest';
import { Lovage, type LovageOptions, type TaskContext, type TaskMeta } from '../../src/index.ts';
import { memoryBackend, memoryTransport } from '../../src/memory/index.ts';
import type { Delivery, Transport } from '../../src/transport/contract.ts';
import { BrokerUrl } from '../../src/transport/url.ts';

let serial = 0;

/** An app on a broker and a result store of its own within the process, closed when the test has ended. */
export function openApp(options: LovageOptions = {}): Lovage & { readonly url: string } {
  const url = `memory://app-${process.pid}-${++serial}`;
  const app = new Lovage('test', {
    broker: url,
    backend: url,
    transports: [memoryTransport],
    backends: [memoryBackend],
    ...options,
  });
  onTestFinished(() => app.close());
  return Object.assign(app, { url });
}

/** The next `count` messages of a queue, taken from the broker as any consumer would. */
export async function takeDeliveries(url: string, queue = 'celery', count = 1): Promise<readonly Delivery[]> {
  await using connection = await memoryTransport.connect(new BrokerUrl(url), {});
  const taken: Delivery[] = [];
  const enough = withResolvers<void>();
  const consumer = await connection.consume(
    [queue],
    (deliveries) => {
      taken.push(...deliveries);
      if (taken.length >= count) enough.resolve();
    },
    { prefetch: count },
  );
  const timer = setTimeout(() => enough.reject(new Error(`${queue} had ${taken.length} of ${count} messages`)), 2000);
  try {
    await enough.promise;
  } finally {
    clearTimeout(timer);
    await consumer.cancel();
  }
  await connection.settle(taken.map((delivery) => ({ delivery, outcome: 'ack' as const })));
  return taken;
}

/** Listens to a fanout exchange; the function waits for its first message. */
export async function takeBroadcast(url: string, exchange: string): Promise<() => Promise<unknown>> {
  const connection = await memoryTransport.connect(new BrokerUrl(url), {});
  onTestFinished(() => connection.close());
  const queue = `listener-${++serial}`;
  await connection.declare({
    exchanges: [{ name: exchange, type: 'fanout', durable: false }],
    queues: [{ name: queue, exclusive: true, autoDelete: true }],
    bindings: [{ exchange, queue, routingKey: '' }],
  });
  const { promise, resolve } = withResolvers<Delivery>();
  await connection.consume([queue], ([delivery]) => resolve(delivery as Delivery), { prefetch: 0 });
  return async () => JSON.parse(Buffer.from((await promise).message.body).toString()) as unknown;
}

export interface TakenTask {
  readonly delivery: Delivery;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly properties: Delivery['message']['properties'];
  readonly args: unknown;
  readonly kwargs: unknown;
  readonly embed: Readonly<Record<string, unknown>>;
}

/** The next task message of a queue, its JSON body read. */
export async function takeTask(url: string, queue?: string): Promise<TakenTask> {
  const [delivery] = (await takeDeliveries(url, queue)) as [Delivery];
  const [args, kwargs, embed] = JSON.parse(Buffer.from(delivery.message.body).toString()) as [
    unknown,
    unknown,
    Record<string, unknown>,
  ];
  const { headers, properties } = delivery.message;
  return { delivery, headers, properties, args, kwargs, embed };
}

/** Stores a state as a worker would. */
export async function storeState(
  app: Lovage,
  task_id: string,
  status: string,
  result: unknown = null,
  more: Partial<TaskMeta> = {},
): Promise<void> {
  const backend = await app.requireBackend('test');
  const meta: TaskMeta = { status, result, traceback: null, children: [], date_done: null, ...more, task_id };
  await backend.store([{ meta }]);
}

/** The memory broker behind calls that can be made to fail. */
export function faultyTransport(faults: {
  publish?: () => Promise<void> | undefined;
  declare?: () => Promise<void> | undefined;
}): Transport {
  return {
    schemes: ['memory'],
    async connect(url, options) {
      const connection = await memoryTransport.connect(url, options);
      const publish = connection.publish.bind(connection);
      const declare = connection.declare.bind(connection);
      return Object.assign(connection, {
        publish: async (...call: Parameters<typeof publish>) => {
          await faults.publish?.();
          return publish(...call);
        },
        declare: async (...call: Parameters<typeof declare>) => {
          await faults.declare?.();
          return declare(...call);
        },
      });
    },
  };
}

/** What a running task is for those it calls. */
export function runningTask(request: Record<string, unknown>): { context: TaskContext; children: unknown[] } {
  const children: unknown[] = [];
  const context = { request, addChild: (tuple: unknown) => void children.push(tuple) } as unknown as TaskContext;
  return { context, children };
}

function withResolvers<T>(): { promise: Promise<T>; resolve: (value: T) => void; reject: (error: Error) => void } {
  let resolve!: (value: T) => void;
  let reject!: (error: Error) => void;
  const promise = new Promise<T>((...settle) => {
    [resolve, reject] = settle;
  });
  return { promise, resolve, reject };
}
