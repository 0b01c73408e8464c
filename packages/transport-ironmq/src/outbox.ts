import { isLovageError, type LovageError, MessageTooLargeError } from '@lovage/core/transport';
import { type IronQueues, MAX_MESSAGES } from './queues.ts';

interface Waiting {
  /** JSON of one message. */
  readonly text: string;
  readonly bytes: number;
  readonly done: (error: unknown) => void;
}

/** Bytes of a request beside its messages. */
const REQUEST_BYTES = 64;

/**
 * Sends the messages of each queue one request after the other, so that they keep their order, as many in one as IronMQ
 * takes: what is published while a request is under way goes together in the next.
 */
export class Outbox {
  readonly #queues: IronQueues;
  /** A request's most: the limit is for the whole of it. */
  readonly #maxBytes: number;
  readonly #waiting = new Map<string, Waiting[]>();

  constructor(queues: IronQueues, maxBytes: number) {
    this.#queues = queues;
    this.#maxBytes = maxBytes;
  }

  /** Resolves when IronMQ has it, with the error of this very message. Rejects when the link is lost. */
  send(queue: string, body: string, delaySeconds: number): Promise<LovageError | undefined> {
    const text = JSON.stringify(delaySeconds > 0 ? { body, delay: delaySeconds } : { body });
    const bytes = Buffer.byteLength(text) + 1;
    if (bytes + REQUEST_BYTES > this.#maxBytes) return Promise.resolve(this.#tooLarge(bytes, queue));
    return new Promise((resolve, reject) => {
      const done = (error: unknown): void => {
        if (error === undefined) resolve(undefined);
        else if (!isLovageError(error) || error.code === 'ERR_CONNECTION_LOST' || error.code === 'ERR_CLOSED')
          reject(error as Error);
        else resolve(error);
      };
      const present = this.#waiting.get(queue);
      if (present !== undefined) {
        present.push({ text, bytes, done });
        return;
      }
      const messages: Waiting[] = [{ text, bytes, done }];
      this.#waiting.set(queue, messages);
      // What comes within this turn goes along.
      queueMicrotask(() => void this.#run(queue, messages));
    });
  }

  async #run(queue: string, messages: Waiting[]): Promise<void> {
    while (messages.length > 0) {
      const batch = messages.splice(0, this.#countOf(messages));
      await this.#post(queue, batch);
    }
    this.#waiting.delete(queue);
  }

  #countOf(messages: readonly Waiting[]): number {
    let bytes = REQUEST_BYTES;
    for (const [index, message] of messages.entries()) {
      bytes += message.bytes;
      if (index > 0 && (index >= MAX_MESSAGES || bytes > this.#maxBytes)) return index;
    }
    return messages.length;
  }

  async #post(queue: string, batch: readonly Waiting[]): Promise<void> {
    try {
      await this.#queues.post(queue, `[${batch.map(({ text }) => text).join(',')}]`);
      for (const { done } of batch) done(undefined);
    } catch (error) {
      const isOfOne = isLovageError(error, 'ERR_TOO_LARGE') || isLovageError(error, 'ERR_UNSUPPORTED');
      if (!isOfOne || batch.length === 1) for (const { done } of batch) done(error);
      // IronMQ refuses a request for the one message in it that it does not like.
      else for (const message of batch) await this.#post(queue, [message]);
    }
  }

  #tooLarge(bytes: number, queue: string): LovageError {
    return new MessageTooLargeError(
      `A message of ${bytes} bytes in its request is more than the ${this.#maxBytes} bytes that IronMQ takes.`,
      { facts: { limitBytes: this.#maxBytes, queue } },
    );
  }
}
