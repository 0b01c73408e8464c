import {
  CreateQueueCommand,
  DeleteQueueCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import { type AwsLink, isNamed } from '@lovage/aws';
import { ConfigError, isLovageError, NotFoundError, PreconditionFailedError } from '@lovage/core/transport';
import { isFifo, sqsName } from './names.ts';
import type { PredefinedQueue, SqsSettings } from './options.ts';

/** Where the messages of one queue are. */
export interface SqsQueue {
  readonly name: string;
  readonly url: string;
  readonly client: SQSClient;
  readonly isFifo: boolean;
  readonly predefined: PredefinedQueue | undefined;
}

export interface QueuesOptions {
  readonly link: AwsLink;
  readonly settings: SqsSettings;
  /** The client of the URL's credentials, or that of a predefined queue. */
  readonly clientFor: (predefined?: PredefinedQueue) => SQSClient;
}

/** Finds and makes queues; each is asked for once. */
export class Queues {
  readonly #options: QueuesOptions;
  readonly #found = new Map<string, Promise<SqsQueue>>();
  /** Which of our names a name in SQS stands for. */
  readonly #owners = new Map<string, string>();

  constructor(options: QueuesOptions) {
    this.#options = options;
  }

  /** Throws `PreconditionFailedError` when another declared queue has the same name in SQS. */
  nameOf(queue: string): string {
    const name = sqsName(queue, this.#options.settings.prefix);
    const owner = this.#owners.get(name);
    if (owner === undefined) this.#owners.set(name, queue);
    else if (owner !== queue) {
      throw new PreconditionFailedError(
        `The queues ${JSON.stringify(owner)} and ${JSON.stringify(queue)} are both named "${name}" in SQS. Rename one of them.`,
        { facts: { queue } },
      );
    }
    return name;
  }

  /** Finds the queue, or makes it. `ConfigError` where queues are predefined and this one is not. */
  ensure(queue: string): Promise<SqsQueue> {
    return this.#once(queue, async (name) => {
      const url = (await this.#look(name)) ?? (await this.#create(name));
      return this.#queue(queue, url);
    });
  }

  /** `NotFoundError` when it does not exist. */
  find(queue: string): Promise<SqsQueue> {
    return this.#once(queue, async (name) => {
      const url = await this.#look(name);
      if (url === undefined) {
        throw new NotFoundError(`There is no queue ${JSON.stringify(queue)} ("${name}") in SQS.`, { facts: { queue } });
      }
      return this.#queue(queue, url);
    });
  }

  /** What was found is not there any more. */
  forget(queue: string): void {
    this.#found.delete(queue);
  }

  /** One that does not exist is no error; predefined ones stay. */
  async remove(queue: string): Promise<void> {
    if (this.#options.settings.predefinedQueues !== undefined) return;
    try {
      const { url, client } = await this.find(queue);
      await this.#ask(`Removing the queue "${queue}"`, (abortSignal) =>
        client.send(new DeleteQueueCommand({ QueueUrl: url }), { abortSignal }),
      );
    } catch (error) {
      if (!isLovageError(error, 'ERR_NOT_FOUND')) throw error;
    }
    this.forget(queue);
    this.#owners.delete(sqsName(queue, this.#options.settings.prefix));
  }

  async attributes<
    K extends 'ApproximateNumberOfMessages' | 'ApproximateNumberOfMessagesDelayed' | 'MaximumMessageSize',
  >({ name, url, client }: SqsQueue, ...names: readonly K[]): Promise<Readonly<Record<K, number>>> {
    const { Attributes = {} } = await this.#ask(`Asking for the state of the queue "${name}"`, (abortSignal) =>
      client.send(new GetQueueAttributesCommand({ QueueUrl: url, AttributeNames: [...names] }), { abortSignal }),
    );
    return Object.fromEntries(names.map((key) => [key, Number(Attributes[key] ?? 0)])) as Record<K, number>;
  }

  #once(queue: string, open: (name: string) => Promise<SqsQueue>): Promise<SqsQueue> {
    const known = this.#found.get(queue);
    if (known !== undefined) return known;
    const predefined = this.#predefined(queue);
    const found = predefined ?? Promise.resolve(this.nameOf(queue)).then(open);
    this.#found.set(queue, found);
    found.catch(() => {
      if (this.#found.get(queue) === found) this.#found.delete(queue);
    });
    return found;
  }

  #predefined(queue: string): Promise<SqsQueue> | undefined {
    const { predefinedQueues, prefix } = this.#options.settings;
    if (predefinedQueues === undefined) return undefined;
    const predefined = predefinedQueues.get(queue) ?? predefinedQueues.get(sqsName(queue, prefix));
    if (predefined !== undefined) return Promise.resolve(this.#queue(queue, predefined.url, predefined));
    return Promise.reject(
      new ConfigError(
        `The queue ${JSON.stringify(queue)} is not among the "predefined_queues". Expected one of: ${[...predefinedQueues.keys()].join(', ')}.`,
        { facts: { queue } },
      ),
    );
  }

  #queue(name: string, url: string, predefined?: PredefinedQueue): SqsQueue {
    return { name, url, client: this.#options.clientFor(predefined), isFifo: isFifo(url), predefined };
  }

  async #look(name: string): Promise<string | undefined> {
    try {
      const { QueueUrl } = await this.#ask(`Looking for the queue "${name}"`, (abortSignal) =>
        this.#options.clientFor().send(new GetQueueUrlCommand({ QueueName: name }), { abortSignal }),
      );
      return QueueUrl;
    } catch (error) {
      if (isLovageError(error, 'ERR_NOT_FOUND')) return undefined;
      throw error;
    }
  }

  async #create(name: string): Promise<string> {
    const { visibilityTimeoutSeconds, creationAttributes, queueTags } = this.#options.settings;
    const attributes = {
      VisibilityTimeout: String(visibilityTimeoutSeconds),
      ...(isFifo(name) ? { FifoQueue: 'true' } : {}),
      ...creationAttributes,
    };
    const tags = Object.keys(queueTags).length === 0 ? {} : { tags: { ...queueTags } };
    try {
      const { QueueUrl } = await this.#ask(`Creating the queue "${name}"`, (abortSignal) =>
        this.#options
          .clientFor()
          .send(new CreateQueueCommand({ QueueName: name, Attributes: attributes, ...tags }), { abortSignal }),
      );
      return QueueUrl as string;
    } catch (error) {
      // Another process was first, with other attributes: its queue is as good.
      const url = isNamed(error, 'QueueNameExists') ? await this.#look(name) : undefined;
      if (url === undefined) throw error;
      return url;
    }
  }

  #ask<T>(what: string, ask: (abortSignal: AbortSignal) => Promise<T>): Promise<T> {
    return this.#options.link.request(ask, { what });
  }
}
