import {
  ChangeMessageVisibilityBatchCommand,
  type BatchResultErrorEntry,
  DeleteMessageBatchCommand,
  PurgeQueueCommand,
  SendMessageBatchCommand,
  type SendMessageBatchRequestEntry,
} from '@aws-sdk/client-sqs';
import { type AwsLink, isNamed } from '@lovage/aws';
import {
  BrokerBlockedError,
  type Capabilities,
  isLovageError,
  type LeaseRenewal,
  type Logger,
  LovageError,
  MessageTooLargeError,
  PublishError,
  type PublishFailure,
  type Pulled,
  type PullRequest,
  type Queue,
  type QueueDriver,
  type QueueEntry,
  type ReceiptSettlement,
  UnsupportedError,
} from '@lovage/core/transport';
import { batchesOf, groupsOf, Joiner } from './batches.ts';
import { bodyBytes, toBody } from './bodies.ts';
import type { KeptHandle } from './lease-keeper.ts';
import type { SqsSettings } from './options.ts';
import type { Queues, SqsQueue } from './queues.ts';
import { Receiving, type SqsReceipt } from './receiving.ts';

/** A message, and a batch, has at most 1 MiB. Source: SQS quotas, since August 2025; 256 KiB before. */
const MOST_BYTES = 1024 * 1024;
/** What every queue takes unless it was told to take less: a larger message is looked up first. */
const SAFE_BYTES = 256 * 1024;
const MAX_DELAY_MS = 900_000;
/** Batches of one call that are sent at once. */
const SEND_LANES = 16;
/** How long close() waits for polls that are under way; what they would bring later is hidden for a lease. */
const CLOSE_MS = 4000;

export interface SqsDriverOptions {
  readonly link: AwsLink;
  readonly queues: Queues;
  readonly settings: SqsSettings;
  readonly mostWaitSeconds: number;
  readonly logger: Logger;
  readonly destroyClients: () => void;
}

interface Indexed {
  readonly index: number;
  readonly entry: QueueEntry;
  readonly bytes: number;
}

/** Kombu's queues in Amazon SQS. */
export class SqsDriver implements QueueDriver<SqsReceipt> {
  readonly capabilities: Capabilities;
  readonly lost: Promise<never>;
  readonly #options: SqsDriverOptions;
  readonly #receiving: Receiving;
  readonly #deletes = new Map<string, Joiner<SqsReceipt>>();

  constructor(options: SqsDriverOptions) {
    this.#options = options;
    this.lost = options.link.lost;
    const { base64, leaseSeconds } = options.settings;
    this.capabilities = {
      fanout: false,
      priorityLevels: 0,
      servesFirst: 'highest',
      maxDelayMs: MAX_DELAY_MS,
      leaseMs: leaseSeconds * 1000,
      maxMessageBytes: base64 ? (MOST_BYTES / 4) * 3 : MOST_BYTES,
      guarantee: 'sqs: a message that was sent is stored in several data centres until its retention time has passed',
    };
    this.#receiving = new Receiving({ ...options, giveBack: (receipts) => this.#show(receipts, () => 0) });
  }

  async ensureQueue({ name }: Queue): Promise<void> {
    await this.#options.queues.ensure(name);
  }

  removeQueue(name: string): Promise<void> {
    return this.#options.queues.remove(name);
  }

  async push(entries: readonly QueueEntry[]): Promise<void> {
    const { base64 } = this.#options.settings;
    const failures: PublishFailure[] = [];
    const indexed = entries.map((entry, index) => ({ entry, index, bytes: bodyBytes(entry.payload, base64) }));
    const refuse = ({ index }: Indexed, error: LovageError): void => void failures.push({ index, error });
    await Promise.all(
      Array.from(
        groupsOf(indexed, ({ entry }) => entry.queue),
        async ([name, items]) => {
          try {
            await this.#pushTo(name, items, refuse);
          } catch (error) {
            if (!isLovageError(error) || isDead(error)) throw error;
            for (const item of items) refuse(item, error);
          }
        },
      ),
    );
    if (failures.length > 0)
      throw new PublishError(
        failures.toSorted((a, b) => a.index - b.index),
        entries.length,
      );
  }

  pull(request: PullRequest): Promise<readonly Pulled<SqsReceipt>[]> {
    return this.#receiving.pull(request);
  }

  async settle(settlements: readonly ReceiptSettlement<SqsReceipt>[]): Promise<void> {
    const now = performance.now();
    const held = settlements.filter(({ receipt }) => receipt.leaseUntil > now);
    const shown = held.filter(({ outcome }) => outcome === 'requeue').map(({ receipt }) => receipt);
    const deleted = held.filter(({ outcome }) => outcome === 'ack').map(({ receipt }) => receipt);
    await Promise.all([
      ...deleted.map((receipt) => this.#joinerOf(receipt.queue).add(receipt)),
      shown.length > 0 ? this.#show(shown, backoffSeconds) : undefined,
    ]);
  }

  keptForm({ queue: { name, url }, handle }: SqsReceipt): KeptHandle {
    return { queue: name, url, handle };
  }

  leaseKept({ receipts, forms, askedAt, answeredAt }: LeaseRenewal<SqsReceipt>): void {
    const { leaseSeconds } = this.#options.settings;
    for (const [index, receipt] of receipts.entries()) {
      // After the lease it may have been another's before it was hidden again.
      if (forms?.[index] !== null && receipt.leaseUntil > answeredAt)
        receipt.leaseUntil = askedAt + leaseSeconds * 1000;
    }
  }

  async extendLease(receipts: readonly SqsReceipt[]): Promise<readonly SqsReceipt[]> {
    const { leaseSeconds } = this.#options.settings;
    const now = performance.now();
    const lost = new Set(receipts.filter(({ leaseUntil }) => leaseUntil <= now));
    const held = receipts.filter((receipt) => !lost.has(receipt));
    const kept = new Set(held);
    await this.#changeVisibility(
      held,
      () => leaseSeconds,
      (receipt, { SenderFault }) => {
        kept.delete(receipt);
        // Not valid any more, or twelve hours old, which is the most that SQS grants.
        if (SenderFault === true) lost.add(receipt);
      },
    );
    for (const receipt of kept) receipt.leaseUntil = now + leaseSeconds * 1000;
    return [...lost];
  }

  async size(queue: string): Promise<number> {
    const { ApproximateNumberOfMessages: ready, ApproximateNumberOfMessagesDelayed: delayed } =
      await this.#state(queue);
    return ready + delayed;
  }

  async purge(queue: string): Promise<number> {
    const found = await this.#options.queues.find(queue);
    const count = await this.size(queue);
    try {
      await this.#options.link.request(
        (abortSignal) => found.client.send(new PurgeQueueCommand({ QueueUrl: found.url }), { abortSignal }),
        { what: `Purging the queue "${queue}"` },
      );
    } catch (error) {
      if (!isNamed(error, 'PurgeQueueInProgress')) throw error;
      throw new BrokerBlockedError(
        `The queue "${queue}" was purged less than 60 seconds ago; SQS purges a queue once in that time. Try again later.`,
        { cause: error, facts: { queue } },
      );
    }
    return count;
  }

  async close(): Promise<void> {
    const { link, logger, destroyClients } = this.#options;
    let isLate = false;
    const polls = this.#receiving.close();
    if (!link.isOver) {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(() => {
          isLate = true;
          resolve();
        }, CLOSE_MS);
      });
      await Promise.race([polls, late]);
      clearTimeout(timer);
    }
    if (isLate) {
      logger.debug({}, 'a receive was broken off; what SQS had found for it comes again after the lease');
    }
    link.close();
    destroyClients();
  }

  // Sending

  async #pushTo(name: string, items: readonly Indexed[], refuse: (item: Indexed, error: LovageError) => void) {
    const queue = await this.#options.queues.ensure(name);
    const most = items.some(({ bytes }) => bytes > SAFE_BYTES) ? await this.#mostBytes(queue) : SAFE_BYTES;
    const fitting = items.filter((item) => {
      const refusal =
        item.bytes > most ? tooLarge(queue, item.bytes, most) : queue.isFifo ? delayed(queue, item.entry) : undefined;
      if (refusal !== undefined) refuse(item, refusal);
      return refusal === undefined;
    });
    const batches = batchesOf(fitting, ({ bytes }) => bytes, MOST_BYTES);
    // Groups of a FIFO queue keep their order only when one batch has arrived before the next one goes.
    let next = 0;
    const lane = async (): Promise<void> => {
      for (let batch = batches[next++]; batch !== undefined; batch = batches[next++])
        await this.#send(queue, batch, refuse);
    };
    await Promise.all(Array.from({ length: queue.isFifo ? 1 : Math.min(SEND_LANES, batches.length) }, lane));
  }

  async #send(
    queue: SqsQueue,
    items: readonly Indexed[],
    refuse: (item: Indexed, error: LovageError) => void,
    isAgain = false,
  ): Promise<void> {
    const Entries = items.map(({ entry }, index) => this.#toEntry(queue, entry, index));
    try {
      const { Failed = [] } = await this.#options.link.request(
        (abortSignal) =>
          queue.client.send(new SendMessageBatchCommand({ QueueUrl: queue.url, Entries }), { abortSignal }),
        { what: `Sending to the queue "${queue.name}"` },
      );
      for (const failure of Failed) {
        const item = items[Number(failure.Id)];
        if (item !== undefined) refuse(item, await this.#notSent(queue, item, failure));
      }
    } catch (error) {
      const { cause } = error as Error;
      if (isNamed(cause, 'BatchRequestTooLong') && items.length > 1) {
        // An older server, whose limit for all together is smaller.
        const middle = Math.ceil(items.length / 2);
        await this.#send(queue, items.slice(0, middle), refuse);
        await this.#send(queue, items.slice(middle), refuse);
        return;
      }
      if (!isLovageError(error) || isDead(error)) throw error;
      if (isLovageError(error, 'ERR_NOT_FOUND') && !isAgain) return this.#sendAgain(queue, items, refuse);
      for (const item of items) {
        refuse(
          item,
          isNamed(cause, 'BatchRequestTooLong') ? tooLarge(queue, item.bytes, await this.#mostBytes(queue)) : error,
        );
      }
    }
  }

  /** The queue was removed by somebody, or is so new that not all of SQS knows it. */
  async #sendAgain(
    { name }: SqsQueue,
    items: readonly Indexed[],
    refuse: (item: Indexed, error: LovageError) => void,
  ): Promise<void> {
    const { queues } = this.#options;
    queues.forget(name);
    try {
      await this.#send(await queues.ensure(name), items, refuse, true);
    } catch (error) {
      if (!isLovageError(error) || isDead(error)) throw error;
      for (const item of items) refuse(item, error);
    }
  }

  #toEntry(
    { isFifo }: SqsQueue,
    { payload, deliveryTag, delayMs }: QueueEntry,
    index: number,
  ): SendMessageBatchRequestEntry {
    const entry = { Id: String(index), MessageBody: toBody(payload, this.#options.settings.base64) };
    if (!isFifo) return delayMs > 0 ? { ...entry, DelaySeconds: Math.ceil(delayMs / 1000) } : entry;
    const { MessageGroupId, MessageDeduplicationId } = fifoHeaders(payload);
    return {
      ...entry,
      MessageGroupId: MessageGroupId ?? 'default',
      // Unlike a random one, the tag makes a request that is tried again no second message.
      MessageDeduplicationId: MessageDeduplicationId ?? deliveryTag,
    };
  }

  async #notSent(
    queue: SqsQueue,
    item: Indexed,
    { Code, Message, SenderFault }: BatchResultErrorEntry,
  ): Promise<LovageError> {
    if (SenderFault === true) {
      const most = await this.#mostBytes(queue);
      if (item.bytes > most) return tooLarge(queue, item.bytes, most);
    }
    return new LovageError(
      'ERR_PUBLISH',
      `SQS did not take a message for the queue "${queue.name}" (${Code}): ${Message}`,
      {
        retryable: SenderFault !== true,
        facts: { queue: queue.name },
      },
    );
  }

  async #mostBytes(queue: SqsQueue): Promise<number> {
    const { MaximumMessageSize } = await this.#options.queues.attributes(queue, 'MaximumMessageSize');
    return MaximumMessageSize > 0 ? MaximumMessageSize : MOST_BYTES;
  }

  // Settling

  #joinerOf(queue: SqsQueue): Joiner<SqsReceipt> {
    let joiner = this.#deletes.get(queue.url);
    if (joiner === undefined) {
      joiner = new Joiner((receipts) => this.#delete(queue, receipts));
      this.#deletes.set(queue.url, joiner);
    }
    return joiner;
  }

  async #delete(queue: SqsQueue, receipts: readonly SqsReceipt[]): Promise<void> {
    let left = receipts;
    for (let attempt = 0; left.length > 0; attempt++) {
      const Entries = left.map(({ handle }, index) => ({ Id: String(index), ReceiptHandle: handle }));
      const { Failed = [] } = await this.#options.link.request(
        (abortSignal) =>
          queue.client.send(new DeleteMessageBatchCommand({ QueueUrl: queue.url, Entries }), { abortSignal }),
        { what: `Acknowledging messages of the queue "${queue.name}"` },
      );
      // A receipt that is not valid any more: its lease was lost, which is no fault of this call.
      const again = Failed.filter(({ SenderFault }) => SenderFault !== true);
      if (again.length > 0 && attempt === 2) {
        throw new BrokerBlockedError(
          `SQS did not acknowledge ${again.length} messages of the queue "${queue.name}" (${again[0]?.Code}).`,
          { facts: { queue: queue.name } },
        );
      }
      const before = left;
      left = again.flatMap(({ Id }) => before[Number(Id)] ?? []);
    }
  }

  /** Visible again after so many seconds. */
  #show(receipts: readonly SqsReceipt[], secondsOf: (receipt: SqsReceipt) => number): Promise<void> {
    return this.#changeVisibility(receipts, secondsOf, () => {});
  }

  async #changeVisibility(
    receipts: readonly SqsReceipt[],
    secondsOf: (receipt: SqsReceipt) => number,
    onFailure: (receipt: SqsReceipt, failure: BatchResultErrorEntry) => void,
  ): Promise<void> {
    const groups = groupsOf(receipts, ({ queue }) => queue);
    await Promise.all(
      [...groups].flatMap(([queue, held]) =>
        batchesOf(held).map(async (batch) => {
          const Entries = batch.map((receipt, index) => ({
            Id: String(index),
            ReceiptHandle: receipt.handle,
            VisibilityTimeout: secondsOf(receipt),
          }));
          const { Failed = [] } = await this.#options.link.request(
            (abortSignal) =>
              queue.client.send(new ChangeMessageVisibilityBatchCommand({ QueueUrl: queue.url, Entries }), {
                abortSignal,
              }),
            { what: `Renewing or giving back messages of the queue "${queue.name}"` },
          );
          for (const failure of Failed) {
            const receipt = batch[Number(failure.Id)];
            if (receipt !== undefined) onFailure(receipt, failure);
          }
        }),
      ),
    );
  }

  async #state(queue: string) {
    const found = await this.#options.queues.find(queue);
    try {
      return await this.#options.queues.attributes(
        found,
        'ApproximateNumberOfMessages',
        'ApproximateNumberOfMessagesDelayed',
      );
    } catch (error) {
      if (isLovageError(error, 'ERR_NOT_FOUND')) this.#options.queues.forget(queue);
      throw error;
    }
  }
}

function isDead(error: LovageError): boolean {
  return isLovageError(error, 'ERR_CONNECTION_LOST') || isLovageError(error, 'ERR_CLOSED');
}

function tooLarge({ name }: SqsQueue, bytes: number, most: number): LovageError {
  return new MessageTooLargeError(
    `A message of ${bytes} bytes, as SQS counts them, is more than the ${most} bytes that the queue "${name}" takes.`,
    { facts: { queue: name, limitBytes: most } },
  );
}

function delayed({ name }: SqsQueue, { delayMs }: QueueEntry): LovageError | undefined {
  return delayMs > 0
    ? new UnsupportedError(`The FIFO queue "${name}" cannot delay single messages.`, { facts: { queue: name } })
    : undefined;
}

/** Of the envelope; FIFO queues are few and slow, so that reading it costs nothing to speak of. */
function fifoHeaders(payload: string): { readonly MessageGroupId?: string; readonly MessageDeduplicationId?: string } {
  const { headers } = JSON.parse(payload) as { readonly headers?: Readonly<Record<string, unknown>> };
  const read = (name: 'MessageGroupId' | 'MessageDeduplicationId') =>
    typeof headers?.[name] === 'string' && headers[name] !== '' ? { [name]: headers[name] } : {};
  return { ...read('MessageGroupId'), ...read('MessageDeduplicationId') };
}

/** Source: kombu/transport/SQS.py, QoS.apply_backoff_policy. */
function backoffSeconds({ queue: { predefined }, count, payload }: SqsReceipt): number {
  const { backoffPolicy, backoffTasks } = predefined ?? {};
  const seconds = backoffPolicy?.[count];
  if (seconds === undefined || backoffTasks === undefined || typeof payload !== 'string') return 0;
  try {
    const { headers } = JSON.parse(payload) as { readonly headers?: { readonly task?: unknown } };
    return backoffTasks.includes(String(headers?.task)) ? seconds : 0;
  } catch {
    return 0;
  }
}
