import {
  type BackendCapabilities,
  type BackendOptions,
  ClosedError,
  type LovageError,
  type ResultBackend,
  type ResultWrite,
  silentLogger,
  type Subscription,
  type TaskMeta,
  UnsupportedError,
} from '@lovage/core/backend';
import type { ReplySettings } from './options.ts';
import { ReceivedStates } from './received.ts';
import { ResultConsumer } from './result-consumer.ts';
import { ResultMessages } from './result-messages.ts';

/** An abandoned reply queue is kept this long at most, so that a short disconnection loses nothing. */
const REPLY_QUEUE_EXPIRES_MAX_MS = 30 * 60 * 1000;

/**
 * `rpc://`: each process that sends tasks has one reply queue, named like its `oid`; workers send every state there as
 * a message. Only the process that sent a task can read its result. Source: celery/backends/rpc.py.
 */
export class RpcBackend implements ResultBackend {
  readonly capabilities: BackendCapabilities = { notifies: true, shared: false, autoExpires: true };
  readonly #messages: ResultMessages;
  readonly #received: ReceivedStates;
  readonly #replies: ResultConsumer;
  #closing: Promise<void> | undefined;

  constructor(options: BackendOptions, settings: ReplySettings) {
    const logger = options.logger ?? silentLogger;
    this.#messages = new ResultMessages(options, logger, settings.persistent ?? false);
    this.#received = new ReceivedStates(settings.keepMs);
    const expiresMs = Math.min(settings.queueExpiresMs ?? Number.POSITIVE_INFINITY, REPLY_QUEUE_EXPIRES_MAX_MS);
    this.#replies = new ResultConsumer(
      {
        // Python's is neither durable nor kept without a consumer, and so loses what is sent while its process
        // reconnects; 5.7 makes it durable. Nobody but this process declares it.
        queues: [{ name: options.oid, durable: true, autoDelete: false, arguments: { 'x-expires': expiresMs } }],
      },
      options.brokerConnection,
      (deliveries) => {
        for (const delivery of deliveries) {
          const meta = this.#messages.read(delivery);
          if (meta !== undefined) this.#received.receive(meta);
        }
      },
      logger,
    );
  }

  /** Results that no process could receive any more. */
  get unroutable(): number {
    return this.#messages.unroutable;
  }

  async expect(): Promise<void> {
    this.#throwIfClosed();
    await this.#replies.open();
  }

  async store(writes: readonly ResultWrite[]): Promise<void> {
    this.#throwIfClosed();
    await this.#messages.send(
      writes.flatMap(({ meta, replyTo, correlationId }) =>
        replyTo === undefined || replyTo === ''
          ? []
          : [{ exchange: '', routingKey: replyTo, correlationId: correlationId || meta.task_id, meta }],
      ),
    );
  }

  async load(taskIds: readonly string[]): Promise<readonly (TaskMeta | undefined)[]> {
    this.#throwIfClosed();
    await this.#replies.open();
    return taskIds.map((taskId) => this.#received.get(taskId));
  }

  async subscribe(taskIds: readonly string[], listener: (meta: TaskMeta) => void): Promise<Subscription> {
    this.#throwIfClosed();
    const subscription = this.#received.subscribe(taskIds, listener);
    try {
      await this.#replies.open();
    } catch (error) {
      subscription.unsubscribe();
      throw error;
    }
    return subscription;
  }

  async forget(taskIds: readonly string[]): Promise<void> {
    this.#throwIfClosed();
    this.#received.forget(taskIds);
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
    this.#closing ??= this.#replies.close({ remove: true }).then(() => this.#received.clear());
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #throwIfClosed(): void {
    if (this.#closing !== undefined) throw new ClosedError('The result backend is closed.');
  }
}

export function unsupportedGroups(): LovageError {
  return new UnsupportedError(
    'Results that are messages can be read once, so groups cannot be saved and chords cannot be joined. Use a result backend such as "redis://" or "db+sqlite:///results.db".',
  );
}
