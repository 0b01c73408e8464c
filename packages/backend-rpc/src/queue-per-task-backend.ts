import {
  type BackendCapabilities,
  type BackendOptions,
  ClosedError,
  isLovageError,
  type Logger,
  type ResultBackend,
  type ResultWrite,
  silentLogger,
  type Subscription,
  type TaskMeta,
} from '@lovage/core/backend';
import type { Connection, Delivery, Topology } from '@lovage/core/transport';
import type { ReplySettings } from './options.ts';
import { ReceivedStates } from './received.ts';
import { ResultConsumer } from './result-consumer.ts';
import { ResultMessages, within } from './result-messages.ts';
import { unsupportedGroups } from './rpc-backend.ts';

/** How long `load` waits for the messages that a queue says it has. */
const LOAD_MS = 2000;

/**
 * The older `amqp://`: one queue per task, named like its id without dashes, on the exchange `celeryresults`. Any
 * process can read a result, but only once. Source: celery/backends/amqp.py of Celery 4.4.
 */
export class QueuePerTaskBackend implements ResultBackend {
  readonly capabilities: BackendCapabilities = { notifies: true, shared: false, autoExpires: true };
  readonly #messages: ResultMessages;
  readonly #received: ReceivedStates;
  readonly #settings: ReplySettings;
  readonly #brokerConnection: () => Promise<Connection>;
  readonly #logger: Logger;
  readonly #consumers = new Set<ResultConsumer>();
  #closing: Promise<void> | undefined;

  constructor(options: BackendOptions, settings: ReplySettings) {
    this.#logger = options.logger ?? silentLogger;
    this.#settings = settings;
    this.#brokerConnection = options.brokerConnection;
    this.#messages = new ResultMessages(options, this.#logger, this.#persistent);
    this.#received = new ReceivedStates(settings.keepMs);
  }

  get #persistent(): boolean {
    return this.#settings.persistent ?? true;
  }

  /** Nothing to prepare: the worker declares the queue with the first state. */
  async expect(): Promise<void> {
    this.#throwIfClosed();
  }

  async store(writes: readonly ResultWrite[]): Promise<void> {
    this.#throwIfClosed();
    const { exchange } = this.#settings;
    const taskIds = new Set(writes.map(({ meta }) => meta.task_id));
    await this.#messages.send(
      writes.map(({ meta, correlationId }) => ({
        exchange,
        routingKey: queueName(meta.task_id),
        correlationId: correlationId || meta.task_id,
        meta,
      })),
      // Each time, because the queue goes with its last reader.
      (connection) => connection.declare(this.#topology([...taskIds])),
    );
  }

  async load(taskIds: readonly string[]): Promise<readonly (TaskMeta | undefined)[]> {
    this.#throwIfClosed();
    for (const taskId of taskIds) if (this.#received.get(taskId) === undefined) await this.#fetch(taskId);
    return taskIds.map((taskId) => this.#received.get(taskId));
  }

  /** Takes what is in the queue of a task: afterwards this process alone knows it. */
  async #fetch(taskId: string): Promise<void> {
    const connection = await this.#brokerConnection();
    let missing: number;
    try {
      missing = (await connection.inspect(queueName(taskId))).ready;
    } catch (error) {
      if (isLovageError(error, 'ERR_NOT_FOUND')) return;
      throw error;
    }
    if (missing === 0) return;
    let resolve!: () => void;
    const complete = new Promise<void>((done) => {
      resolve = done;
    });
    const consumer = this.#consumer([taskId], (count) => {
      missing -= count;
      if (missing <= 0) resolve();
    });
    try {
      await consumer.open();
      await within(LOAD_MS, () => complete);
    } catch (error) {
      // Another reader was faster; both have what they got.
      if (!isLovageError(error, 'ERR_TIMEOUT')) throw error;
    } finally {
      this.#consumers.delete(consumer);
      await consumer.close({ remove: false });
    }
  }

  async subscribe(taskIds: readonly string[], listener: (meta: TaskMeta) => void): Promise<Subscription> {
    this.#throwIfClosed();
    const subscription = this.#received.subscribe(taskIds, listener);
    const consumer = this.#consumer(taskIds);
    const end = (): void => {
      subscription.unsubscribe();
      if (!this.#consumers.delete(consumer)) return;
      consumer.close({ remove: false }).catch(() => {});
    };
    try {
      await consumer.open();
    } catch (error) {
      end();
      throw error;
    }
    return { unsubscribe: end };
  }

  async forget(taskIds: readonly string[]): Promise<void> {
    this.#throwIfClosed();
    this.#received.forget(taskIds);
    const connection = await this.#brokerConnection();
    await connection.remove({ queues: this.#topology(taskIds).queues ?? [] });
  }

  saveGroup(): Promise<void> {
    return Promise.reject(unsupportedGroups());
  }

  loadGroup(): Promise<unknown> {
    return Promise.reject(unsupportedGroups());
  }

  forgetGroup(): Promise<void> {
    return Promise.reject(unsupportedGroups());
  }

  async cleanup(): Promise<void> {
    this.#throwIfClosed();
    this.#received.cleanup();
  }

  close(): Promise<void> {
    this.#closing ??= Promise.all([...this.#consumers].map((consumer) => consumer.close({ remove: false }))).then(
      () => {
        this.#consumers.clear();
        this.#received.clear();
      },
    );
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #consumer(taskIds: readonly string[], onReceived?: (count: number) => void): ResultConsumer {
    const receive = (deliveries: readonly Delivery[]): void => {
      for (const delivery of deliveries) {
        const meta = this.#messages.read(delivery);
        if (meta !== undefined) this.#received.receive(meta);
      }
      onReceived?.(deliveries.length);
    };
    const consumer = new ResultConsumer(this.#topology(taskIds), this.#brokerConnection, receive, this.#logger);
    this.#consumers.add(consumer);
    return consumer;
  }

  #topology(taskIds: readonly string[]): Topology {
    const { exchange, exchangeType, queueExpiresMs } = this.#settings;
    const durable = this.#persistent;
    return {
      exchanges: [{ name: exchange, type: exchangeType, durable, autoDelete: false }],
      queues: taskIds.map((taskId) => ({
        name: queueName(taskId),
        durable,
        autoDelete: true,
        ...(queueExpiresMs === undefined ? {} : { arguments: { 'x-expires': queueExpiresMs } }),
      })),
      bindings: taskIds.map((taskId) => ({ queue: queueName(taskId), exchange, routingKey: queueName(taskId) })),
    };
  }

  #throwIfClosed(): void {
    if (this.#closing !== undefined) throw new ClosedError('The result backend is closed.');
  }
}

/** Source: celery/backends/amqp.py of Celery 4.4, rkey. */
function queueName(taskId: string): string {
  return taskId.replaceAll('-', '');
}
