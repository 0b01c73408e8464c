import {
  type BackendOptions,
  DecodeError,
  inTime,
  isLovageError,
  type Logger,
  LovageError,
  type ResultCodec,
  type TaskMeta,
  TimeoutError,
} from '@lovage/core/backend';
import type { Connection, Delivery, Message, Publication, PublishError } from '@lovage/core/transport';

/** Every call of the backend ends within it. Contract of `ResultBackend`. */
const DEADLINE_MS = 10_000;
const RETRY_FIRST_MS = 50;
const RETRY_MAX_MS = 1000;

const TRANSIENT = 1;
const PERSISTENT = 2;

const ABSENT_IN_5_6 = Object.freeze({ traceback: null, children: null, date_done: null });

/** A state on its way to whoever waits for it. */
export interface ResultMessage {
  readonly exchange: string;
  readonly routingKey: string;
  readonly correlationId: string;
  readonly meta: TaskMeta;
}

/** Encodes, publishes with retries under one deadline, decodes. */
export class ResultMessages {
  /** Results that nobody could receive any more: the asking process was gone. */
  unroutable = 0;
  readonly #codec: ResultCodec;
  readonly #brokerConnection: () => Promise<Connection>;
  readonly #logger: Logger;
  readonly #deliveryMode: 1 | 2;

  constructor({ codec, brokerConnection }: BackendOptions, logger: Logger, persistent: boolean) {
    this.#codec = codec;
    this.#brokerConnection = brokerConnection;
    this.#logger = logger;
    this.#deliveryMode = persistent ? PERSISTENT : TRANSIENT;
  }

  /**
   * Resolves when the broker has every message that somebody can still receive. Rejects with the first error of a
   * message that failed for its own sake, once the others were tried. `prepare` runs before each try.
   */
  async send(results: readonly ResultMessage[], prepare?: (connection: Connection) => Promise<void>): Promise<void> {
    let ownFault: unknown;
    let open: Publication[] = [];
    for (const result of results) {
      try {
        open.push(this.#toPublication(result));
      } catch (error) {
        ownFault ??= error;
      }
    }
    const deadline = Date.now() + DEADLINE_MS;
    for (let waitMs = RETRY_FIRST_MS; open.length > 0; waitMs = Math.min(waitMs * 2, RETRY_MAX_MS)) {
      const failures = await this.#tryOnce(open, prepare);
      const retry: Publication[] = [];
      let lastError: LovageError | undefined;
      for (const [publication, error] of failures) {
        if (error.code === 'ERR_UNROUTABLE') {
          this.unroutable++;
          const { correlationId } = publication.message.properties;
          this.#logger.info(
            { taskId: correlationId, replyTo: publication.routingKey, unroutable: this.unroutable },
            'Nobody waits for a result',
          );
        } else if (error.retryable) {
          retry.push(publication);
          lastError = error;
        } else {
          ownFault ??= error;
        }
      }
      open = retry;
      if (lastError !== undefined && Date.now() + waitMs >= deadline) throw lastError;
      if (open.length > 0) await delay(waitMs);
    }
    if (ownFault !== undefined) throw ownFault;
  }

  async #tryOnce(
    publications: readonly Publication[],
    prepare: ((connection: Connection) => Promise<void>) | undefined,
  ): Promise<readonly (readonly [Publication, LovageError])[]> {
    try {
      // Each of the three has a deadline of its own; one more would be a timer per result.
      const connection = await this.#brokerConnection();
      await prepare?.(connection);
      await connection.publish(publications);
      return [];
    } catch (error) {
      if (isLovageError(error, 'ERR_PUBLISH') && 'failures' in error) {
        return (error as PublishError).failures.map(
          ({ index, error: failure }) => [publications[index] as Publication, failure] as const,
        );
      }
      const failure = isLovageError(error)
        ? error
        : new LovageError('ERR_CONNECTION_LOST', 'A result could not be sent.', { cause: error });
      return publications.map((publication) => [publication, failure] as const);
    }
  }

  #toPublication({ exchange, routingKey, correlationId, meta }: ResultMessage): Publication {
    const data = this.#codec.encode(meta);
    const message: Message = {
      body: typeof data === 'string' ? Buffer.from(data) : data,
      contentType: this.#codec.contentType,
      contentEncoding: this.#codec.contentEncoding,
      headers: {},
      properties: { correlationId, deliveryMode: this.#deliveryMode },
    };
    return { exchange, routingKey, message, mandatory: true };
  }

  /** The state in a delivery; undefined, and a line in the log, where there is none. */
  read({ message, queue, malformed }: Delivery): TaskMeta | undefined {
    try {
      if (malformed !== undefined) throw malformed;
      if (message.contentType !== this.#codec.contentType) {
        throw new DecodeError(
          `A result has the content type "${message.contentType}". Expected "${this.#codec.contentType}": use the same "resultSerializer" everywhere.`,
        );
      }
      const binary = message.contentEncoding === 'binary';
      const meta = this.#codec.decode(binary ? message.body : Buffer.from(message.body).toString('utf8'));
      if (!isTaskMeta(meta)) throw new DecodeError('A message in a result queue is not a result.');
      // Celery 5.6 sends five keys only.
      return { ...ABSENT_IN_5_6, ...meta };
    } catch (error) {
      this.#logger.warn(
        { queue, taskId: message.properties.correlationId, err: error },
        'A result could not be read and was dropped',
      );
      return undefined;
    }
  }
}

function isTaskMeta(value: unknown): value is TaskMeta {
  const meta = value as Partial<TaskMeta> | null;
  return (
    typeof meta === 'object' && meta !== null && typeof meta.task_id === 'string' && typeof meta.status === 'string'
  );
}

/** Rejects with `TimeoutError` when `run` takes longer; it goes on in the background then. */
export function within<T>(ms: number, run: () => Promise<T>): Promise<T> {
  return inTime(run(), { timeoutMs: ms, late: () => new TimeoutError('The broker did not answer in time.') });
}

export function delay(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

export { DEADLINE_MS };
