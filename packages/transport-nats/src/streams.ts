import {
  AckPolicy,
  type ConsumerConfig,
  type ConsumerInfo,
  DeliverPolicy,
  DiscardPolicy,
  type JetStreamManager,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
  type StreamInfo,
} from '@nats-io/jetstream';
import { type Logger, PreconditionFailedError, type Queue } from '@lovage/core/transport';
import { apiCode, apiPrefix, JETSTREAM_CODES, resourceName, toLovageError } from '@lovage/nats';
import { millis, nanos } from '@nats-io/transport-node';
import { delaySubject, prioritySubject, queueSubject } from './names.ts';
import type { NatsSettings } from './options.ts';

/** The server's default, and the longest that `max_age` allows. */
const DUPLICATE_WINDOW_MS = 120_000;

/** One consumer of a queue: of the queue itself, or of one of its higher priorities. */
export interface Source {
  readonly queue: string;
  readonly stream: string;
  readonly consumer: string;
  readonly step: number;
  /** How long the server leaves a message to a silent consumer. */
  readonly ackWaitMs: number;
  /** Where to ask for messages. */
  readonly requestSubject: string;
}

/** A queue as it lies on the server. */
export interface OpenQueue {
  readonly name: string;
  readonly stream: string;
  /** Whether the higher priority steps have subjects of their own. */
  readonly hasPriorities: boolean;
  readonly canDelay: boolean;
}

/** Streams and consumers of queues: made when they are first needed, and remembered. */
export class Streams {
  readonly #manager: JetStreamManager;
  readonly #settings: NatsSettings;
  readonly #canSchedule: boolean;
  readonly #logger: Logger;
  readonly #declared = new Map<string, Queue>();
  readonly #open = new Map<string, Promise<OpenQueue>>();
  readonly #sources = new Map<string, Promise<readonly Source[]>>();

  constructor(manager: JetStreamManager, settings: NatsSettings, canSchedule: boolean, logger: Logger) {
    this.#manager = manager;
    this.#settings = settings;
    this.#canSchedule = canSchedule;
    this.#logger = logger;
  }

  /** Queues that go with their consumer get a stream when something is sent to them or fetched: most never do. */
  async declare(queue: Queue): Promise<void> {
    this.#declared.set(queue.name, queue);
    this.#open.delete(queue.name);
    if (!this.isTransient(queue.name)) await this.open(queue.name);
  }

  /** Whether a queue goes with its consumer, as far as this process knows. */
  isTransient(name: string): boolean {
    const queue = this.#declared.get(name);
    return queue?.autoDelete === true || queue?.exclusive === true;
  }

  /** Makes the stream unless it is there. */
  open(name: string): Promise<OpenQueue> {
    return remember(this.#open, name, () => this.#ensureStream(name));
  }

  /** undefined: there is no such stream. */
  async find(name: string): Promise<StreamInfo | undefined> {
    try {
      return await this.#manager.streams.info(this.streamOf(name));
    } catch (error) {
      if (apiCode(error) === JETSTREAM_CODES.streamNotFound) return undefined;
      throw this.#failure(error, name);
    }
  }

  /** The consumers of a queue, the most urgent first; made unless they are there. */
  sources(name: string): Promise<readonly Source[]> {
    return remember(this.#sources, name, async () => {
      const queue = await this.open(name);
      const steps = queue.hasPriorities ? this.#settings.prioritySteps.toReversed() : [0];
      return Promise.all(steps.map((step) => this.#ensureConsumer(queue, step)));
    });
  }

  /** The states of the consumers that exist. */
  async consumersOf(name: string, { config }: StreamInfo): Promise<readonly ConsumerInfo[]> {
    const steps = this.#hasPriorities(name, config) ? this.#settings.prioritySteps : [0];
    const infos = await Promise.all(
      steps.map(async (step) => {
        try {
          return await this.#manager.consumers.info(this.streamOf(name), this.#consumerOf(name, step));
        } catch (error) {
          if (apiCode(error) === JETSTREAM_CODES.consumerNotFound) return undefined;
          throw this.#failure(error, name);
        }
      }),
    );
    return infos.filter((info) => info !== undefined);
  }

  /** Drops what matches the subject, or everything; the number of messages. */
  async purge(name: string, subject?: string): Promise<number> {
    try {
      const { purged } = await this.#manager.streams.purge(
        this.streamOf(name),
        subject === undefined ? undefined : { filter: subject },
      );
      return purged;
    } catch (error) {
      if (apiCode(error) === JETSTREAM_CODES.streamNotFound) return 0;
      throw this.#failure(error, name);
    }
  }

  async remove(name: string): Promise<void> {
    this.#declared.delete(name);
    this.forget(name);
    // The server (2.15.3) removes files in the background: a stream made again at once would find its old messages.
    await this.purge(name);
    try {
      await this.#manager.streams.delete(this.streamOf(name));
    } catch (error) {
      if (apiCode(error) !== JETSTREAM_CODES.streamNotFound) throw this.#failure(error, name);
    }
  }

  /** It may not be there any more: looks again when it is next needed. */
  forget(name: string): void {
    this.#open.delete(name);
    this.#sources.delete(name);
  }

  streamOf(name: string): string {
    return resourceName(this.#settings.streamNamePrefix + name);
  }

  /** Where a message of this priority step is published. */
  subjectOf(name: string, step: number): string {
    const { subjectPrefix } = this.#settings;
    return step === 0 ? queueSubject(name, subjectPrefix) : prioritySubject(name, `${step}`, subjectPrefix);
  }

  #consumerOf(name: string, step: number): string {
    const suffix = step === 0 ? '' : `:priority${step}`;
    return resourceName(this.#settings.consumerNamePrefix + name + suffix);
  }

  #hasPriorities(name: string, { subjects }: Pick<StreamConfig, 'subjects'>): boolean {
    return subjects.includes(prioritySubject(name, '*', this.#settings.subjectPrefix));
  }

  async #ensureStream(name: string): Promise<OpenQueue> {
    const wanted = this.#streamConfig(name);
    try {
      const { config } = await this.#addStream(name, wanted);
      return {
        name,
        stream: config.name,
        hasPriorities: this.#hasPriorities(name, config),
        // A server that does not know a setting drops it without a word.
        canDelay:
          config.allow_msg_schedules && config.subjects.includes(delaySubject(name, '*', this.#settings.subjectPrefix)),
      };
    } catch (error) {
      throw this.#failure(error, name);
    }
  }

  async #addStream(name: string, wanted: StreamSettings): Promise<StreamInfo> {
    try {
      return await this.#manager.streams.add(wanted);
    } catch (error) {
      if (apiCode(error) !== JETSTREAM_CODES.streamNameInUse) throw error;
    }
    const present = await this.#manager.streams.info(wanted.name);
    this.#checkStream(name, present.config);
    const subjects = [...new Set([...present.config.subjects, ...wanted.subjects])];
    const schedules = wanted.allow_msg_schedules && present.config.discard === DiscardPolicy.Old;
    if (subjects.length === present.config.subjects.length && (!schedules || present.config.allow_msg_schedules))
      return present;
    return this.#manager.streams.update(wanted.name, {
      subjects: schedules ? subjects : subjects.filter((subject) => subject !== this.#delaysOf(name)),
      ...(schedules ? { allow_msg_schedules: true } : {}),
    });
  }

  #streamConfig(name: string): StreamSettings {
    const { streamConfig, subjectPrefix } = this.#settings;
    const queue = this.#declared.get(name);
    const { 'x-max-priority': maxPriority, 'x-message-ttl': ttlMs } = queue?.arguments ?? {};
    const schedules = this.#canSchedule && !isLimited(streamConfig);
    const maxAgeMs = typeof ttlMs === 'number' ? Math.max(100, ttlMs) : undefined;
    return {
      name: this.streamOf(name),
      subjects: [
        queueSubject(name, subjectPrefix),
        ...(typeof maxPriority === 'number' && maxPriority > 0 ? [prioritySubject(name, '*', subjectPrefix)] : []),
        ...(schedules ? [this.#delaysOf(name)] : []),
      ],
      retention: RetentionPolicy.Workqueue,
      storage: queue?.durable === false ? StorageType.Memory : StorageType.File,
      // A full stream refuses what is new. Without a limit it is never full, and schedules ask for the other setting.
      discard: isLimited(streamConfig) ? DiscardPolicy.New : DiscardPolicy.Old,
      ...(schedules ? { allow_msg_schedules: true } : {}),
      ...(maxAgeMs === undefined
        ? {}
        : { max_age: nanos(maxAgeMs), duplicate_window: nanos(Math.min(maxAgeMs, DUPLICATE_WINDOW_MS)) }),
      ...streamConfig,
    };
  }

  #delaysOf(name: string): string {
    return delaySubject(name, '*', this.#settings.subjectPrefix);
  }

  #checkStream(name: string, config: StreamConfig): void {
    const { retention, name: stream, storage, subjects, discard } = config;
    const subject = queueSubject(name, this.#settings.subjectPrefix);
    if (retention !== RetentionPolicy.Workqueue || !subjects.includes(subject)) {
      throw new PreconditionFailedError(
        `The stream "${stream}" of the queue "${name}" has retention "${retention}" and the subjects ${JSON.stringify(subjects)}. Expected "workqueue" and "${subject}": remove it, or set "streamNamePrefix".`,
        { facts: { queue: name, stream } },
      );
    }
    if (storage === StorageType.Memory && this.#declared.get(name)?.durable !== false) {
      this.#logger.warn(
        { queue: name, stream },
        'this stream was made with memory storage: a restart of the server loses its messages',
      );
    }
    if (discard === DiscardPolicy.Old && isLimited({ ...config })) {
      this.#logger.warn({ queue: name, stream }, 'this stream drops its oldest messages when it is full');
    }
  }

  async #ensureConsumer({ name, stream }: OpenQueue, step: number): Promise<Source> {
    const { leaseMs, consumerConfig } = this.#settings;
    const consumer = this.#consumerOf(name, step);
    // What cannot be changed later (`max_waiting`) is left as it is: Kombu would be refused with its own.
    const wanted: Partial<ConsumerConfig> = {
      durable_name: consumer,
      ack_policy: AckPolicy.Explicit,
      deliver_policy: DeliverPolicy.All,
      filter_subject: this.subjectOf(name, step),
      ack_wait: nanos(leaseMs),
      max_deliver: -1,
      max_ack_pending: -1,
      ...consumerConfig,
    };
    try {
      const { config } = await this.#addConsumer(stream, wanted);
      const ackWaitMs = millis(config.ack_wait ?? nanos(leaseMs));
      if (ackWaitMs > leaseMs) {
        this.#logger.info(
          { queue: name, consumer, ackWaitMs },
          'this consumer was made with a longer lease; what a dead worker held comes back after it',
        );
      }
      const requestSubject = `${apiPrefix(this.#settings)}.CONSUMER.MSG.NEXT.${stream}.${consumer}`;
      return { queue: name, stream, consumer, step, ackWaitMs, requestSubject };
    } catch (error) {
      if (apiCode(error) === JETSTREAM_CODES.streamNotFound) this.forget(name);
      throw this.#failure(error, name);
    }
  }

  /** What Kombu made is brought to what is needed here: never a shorter lease, never an end of deliveries. */
  async #addConsumer(stream: string, wanted: Partial<ConsumerConfig>): Promise<ConsumerInfo> {
    let refusal: unknown;
    try {
      return await this.#manager.consumers.add(stream, wanted);
    } catch (error) {
      if (apiCode(error) === JETSTREAM_CODES.streamNotFound) throw error;
      refusal = error;
    }
    let present: ConsumerInfo;
    try {
      present = await this.#manager.consumers.info(stream, wanted.durable_name as string);
    } catch {
      throw refusal;
    }
    const { config } = present;
    if (config.filter_subject !== wanted.filter_subject || config.ack_policy !== AckPolicy.Explicit) throw refusal;
    const changes: Partial<ConsumerConfig> = {
      ...((config.ack_wait ?? 0) < (wanted.ack_wait ?? 0) ? { ack_wait: wanted.ack_wait } : {}),
      ...(config.max_deliver === -1 ? {} : { max_deliver: -1 }),
      ...(config.max_ack_pending === -1 || wanted.max_ack_pending !== -1 ? {} : { max_ack_pending: -1 }),
    };
    if (Object.keys(changes).length === 0) return present;
    return this.#manager.consumers.update(stream, wanted.durable_name as string, changes);
  }

  #failure(error: unknown, queue: string): Error {
    return toLovageError(error, 'open', this.#settings.url, `The queue "${queue}"`);
  }
}

type StreamSettings = Partial<StreamConfig> & Pick<StreamConfig, 'name' | 'subjects'>;

const LIMITS = ['max_msgs', 'max_bytes', 'max_msgs_per_subject'] as const;

/** Whether a stream with these settings can be full. */
export function isLimited(config: Readonly<Record<string, unknown>>): boolean {
  return config['discard'] === 'new' || LIMITS.some((limit) => typeof config[limit] === 'number' && config[limit] > 0);
}

/** A promise per name; one that fails is forgotten. */
function remember<T>(promises: Map<string, Promise<T>>, name: string, make: () => Promise<T>): Promise<T> {
  let promise = promises.get(name);
  if (promise === undefined) {
    promise = make();
    promises.set(name, promise);
    promise.catch(() => {
      if (promises.get(name) === promise) promises.delete(name);
    });
  }
  return promise;
}
