import { randomUUID } from 'node:crypto';
import type { Lovage } from '../app/lovage.ts';
import { ConfigError, UnsupportedError } from '../errors.ts';
import {
  controlExchange,
  decodeReply,
  encodeCommand,
  replyTopology,
  type ControlCommand,
  type ReplyAddress,
} from '../protocol/pidbox.ts';
import type { Connection, Delivery } from '../transport/contract.ts';
import { Inspect, type InspectOptions } from './inspect.ts';
import type { OkOrError } from './replies.ts';

/** Whom a command is for, and whether answers are waited for. */
export interface BroadcastOptions {
  /** Node names. Default: every node. */
  readonly destination?: string | readonly string[];
  /** Instead of names a pattern of names. */
  readonly pattern?: string;
  /** How `pattern` is read: as of file names, or as a regular expression. Default `glob`. */
  readonly matcher?: 'glob' | 'pcre';
  readonly arguments?: Readonly<Record<string, unknown>>;
  /** Wait for answers. Default false: the promise resolves when the broker has the command. */
  readonly reply?: boolean;
  /** Seconds to wait for answers. Default 1. Answers that come later are lost. */
  readonly timeout?: number;
  /** Do not wait any longer after so many answers. Default: as many as `destination` names. */
  readonly limit?: number;
  /** Called with each answer as it comes. */
  readonly onReply?: (node: string, answer: unknown) => void;
  /** Ends the waiting: what has come until then is the result. */
  readonly signal?: AbortSignal;
}

export type ControlOptions = Omit<BroadcastOptions, 'arguments'>;

export interface RevokeCommandOptions extends Omit<ControlOptions, 'signal'> {
  /** End the task if it runs. Default false. */
  readonly terminate?: boolean;
  /** The signal for workers that run tasks in child processes. Default `SIGTERM`. */
  readonly signal?: string;
}

/** One answer: node name to value. */
export type Answer<T> = Readonly<Record<string, T>>;

/**
 * Commands to running workers, Python's and Lovage's, over Kombu's pidbox: `app.control.ping()`. Every method resolves
 * to `[]` at once when the broker has the command; with `reply` to the answers that came within `timeout` seconds.
 *
 * On a broker without fanout (SQS, beanstalkd) it rejects with `UnsupportedError`. Source: celery/app/control.py, Control;
 * kombu/pidbox.py.
 */
export class Control {
  readonly #app: Lovage;

  constructor(app: Lovage) {
    this.#app = app;
  }

  /** Questions to workers. */
  inspect(options: InspectOptions = {}): Inspect {
    return new Inspect(this, options);
  }

  /** Whether workers answer: `[{ 'celery@host': { ok: 'pong' } }]`. */
  ping(options: Omit<ControlOptions, 'reply'> = {}): Promise<readonly Answer<OkOrError>[]> {
    return this.broadcast('ping', { ...options, reply: true });
  }

  /** Workers never start these tasks. See {@link Lovage.revoke}, which notes it in the result store too. */
  revoke(
    taskId: string | readonly string[],
    { terminate = false, signal = 'SIGTERM', ...options }: RevokeCommandOptions = {},
  ): Promise<readonly Answer<OkOrError>[]> {
    return this.broadcast('revoke', { ...options, arguments: { task_id: taskId, terminate, signal } });
  }

  /** {@link revoke} with `terminate`. */
  terminate(
    taskId: string | readonly string[],
    options: Omit<RevokeCommandOptions, 'terminate'> = {},
  ): Promise<readonly Answer<OkOrError>[]> {
    return this.revoke(taskId, { ...options, terminate: true });
  }

  /** Workers never start tasks that carry one of these stamps. */
  revokeByStampedHeaders(
    headers: Readonly<Record<string, string | readonly string[]>>,
    { terminate = false, signal = 'SIGTERM', ...options }: RevokeCommandOptions = {},
  ): Promise<readonly Answer<OkOrError>[]> {
    return this.broadcast('revoke_by_stamped_headers', {
      ...options,
      arguments: { headers, terminate, signal },
    });
  }

  /** How often tasks of a name may start: `10/s`, `10/m`, `1/h`, a number a second; 0: as often as they come. */
  rateLimit(
    taskName: string,
    rateLimit: string | number,
    options: ControlOptions = {},
  ): Promise<readonly Answer<OkOrError>[]> {
    return this.broadcast('rate_limit', {
      ...options,
      arguments: { task_name: taskName, rate_limit: rateLimit },
    });
  }

  /** Seconds; what is left out has no limit any more. */
  timeLimit(
    taskName: string,
    { soft, hard, ...options }: ControlOptions & { readonly soft?: number; readonly hard?: number } = {},
  ): Promise<readonly Answer<OkOrError>[]> {
    return this.broadcast('time_limit', {
      ...options,
      arguments: { task_name: taskName, hard: hard ?? null, soft: soft ?? null },
    });
  }

  /** Workers consume from one more queue; exchange and routing key are the queue's name unless given. */
  addConsumer(
    queue: string,
    {
      exchange,
      exchangeType = 'direct',
      routingKey,
      ...options
    }: ControlOptions & {
      readonly exchange?: string;
      readonly exchangeType?: 'direct' | 'topic' | 'fanout';
      readonly routingKey?: string;
    } = {},
  ): Promise<readonly Answer<OkOrError>[]> {
    return this.broadcast('add_consumer', {
      ...options,
      arguments: {
        queue,
        exchange: exchange ?? null,
        exchange_type: exchangeType,
        routing_key: routingKey ?? null,
      },
    });
  }

  cancelConsumer(queue: string, options: ControlOptions = {}): Promise<readonly Answer<OkOrError>[]> {
    return this.broadcast('cancel_consumer', { ...options, arguments: { queue } });
  }

  enableEvents(options: ControlOptions = {}): Promise<readonly Answer<OkOrError>[]> {
    return this.broadcast('enable_events', options);
  }

  disableEvents(options: ControlOptions = {}): Promise<readonly Answer<OkOrError>[]> {
    return this.broadcast('disable_events', options);
  }

  /** Workers send a heartbeat event now. */
  heartbeat(options: ControlOptions = {}): Promise<readonly Answer<null>[]> {
    return this.broadcast('heartbeat', options);
  }

  poolGrow(n = 1, options: ControlOptions = {}): Promise<readonly Answer<OkOrError>[]> {
    return this.broadcast('pool_grow', { ...options, arguments: { n } });
  }

  poolShrink(n = 1, options: ControlOptions = {}): Promise<readonly Answer<OkOrError>[]> {
    return this.broadcast('pool_shrink', { ...options, arguments: { n } });
  }

  autoscale(max: number, min: number, options: ControlOptions = {}): Promise<readonly Answer<OkOrError>[]> {
    return this.broadcast('autoscale', { ...options, arguments: { max, min } });
  }

  /** Only where `workerPoolRestarts` is on. */
  poolRestart(options: ControlOptions = {}): Promise<readonly Answer<OkOrError>[]> {
    return this.broadcast('pool_restart', { ...options, arguments: { modules: null, reload: false, reloader: null } });
  }

  /** Workers stop warmly. They give no answer. */
  async shutdown(options: Omit<ControlOptions, 'reply'> = {}): Promise<void> {
    await this.broadcast('shutdown', { ...options, arguments: {} });
  }

  /** Workers elect one among them, which does the action: for the topic `task` it sends the signature. */
  async election(id: string, topic: string, action?: unknown): Promise<void> {
    await this.broadcast('election', { arguments: { id, topic, action: action ?? null } });
  }

  /** Drops the waiting messages of all configured queues, as `lovage purge` does. Gives their number. */
  async purge(): Promise<number> {
    const connection = await this.#connection();
    let dropped = 0;
    for (const { name } of this.#app.queues.all()) dropped += await connection.purge(name);
    return dropped;
  }

  /** Any command, ours or one that a Python worker defines. */
  async broadcast<T = unknown>(method: string, options: BroadcastOptions = {}): Promise<readonly Answer<T>[]> {
    const { destination, timeout = 1, reply = false } = options;
    if (!(timeout >= 0)) {
      throw new ConfigError(`The timeout of a control command is ${String(timeout)}. Expected seconds, 0 or more.`);
    }
    const { settings } = this.#app;
    await this.#app.serializers.prepare([{ serializer: settings.taskSerializer }]);
    const connection = await this.#connection();
    if (!connection.capabilities.fanout) {
      throw new UnsupportedError(
        'This broker has no fanout, so workers cannot be reached by remote control. It works on Redis, RabbitMQ and others with fanout.',
      );
    }
    const command: ControlCommand = {
      method,
      arguments: options.arguments ?? {},
      destination: destination === undefined ? undefined : [destination].flat(),
      pattern: options.pattern,
      matcher: options.pattern === undefined ? undefined : (options.matcher ?? 'glob'),
      replyTo: undefined,
    };
    if (!reply) {
      await this.#publish(command, 0);
      return [];
    }
    return this.#ask<T>(connection, command, timeout, options);
  }

  #connection(): Promise<Connection> {
    return this.#app.producerConnection().connection({
      timeoutMs: this.#app.settings.publishTimeoutSeconds * 1000,
    });
  }

  async #publish(command: ControlCommand, expires: number): Promise<void> {
    const { settings, serializers, clock, producer } = this.#app;
    const exchange = controlExchange(settings);
    const message = encodeCommand(
      command,
      { clock: clock.forward(), expires, serializer: settings.taskSerializer },
      serializers,
    );
    await producer.publishMessages(
      [{ exchange: exchange.name, routingKey: '', message }],
      [{ key: exchange.name, entities: { exchanges: [exchange] } }],
    );
  }

  /** With a reply queue of its own, which ends with the call. */
  async #ask<T>(
    connection: Connection,
    command: ControlCommand,
    timeout: number,
    { limit = command.destination?.length, onReply, signal }: BroadcastOptions,
  ): Promise<readonly Answer<T>[]> {
    const oid = randomUUID();
    const { queue, ...topology } = replyTopology(oid, this.#app.settings);
    const replyTo: ReplyAddress = {
      exchange: topology.exchanges?.[0]?.name as string,
      routingKey: oid,
      ticket: randomUUID(),
    };
    const answers: Answer<T>[] = [];
    let finish!: () => void;
    const enough = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const sink = (deliveries: readonly Delivery[]): void => {
      connection.settle(deliveries.map((delivery) => ({ delivery, outcome: 'ack' }))).catch(() => undefined);
      for (const delivery of deliveries) {
        const answer = this.#read<T>(delivery, replyTo.ticket);
        if (answer === undefined || (limit !== undefined && answers.length >= limit)) continue;
        answers.push(answer);
        if (onReply !== undefined) for (const [node, value] of Object.entries(answer)) onReply(node, value);
      }
      if (limit !== undefined && answers.length >= limit) finish();
    };
    await connection.declare(topology);
    const consumer = await connection.consume([queue], sink, { prefetch: 0 });
    consumer.done.catch(() => finish());
    signal?.addEventListener('abort', finish, { once: true });
    let timer: NodeJS.Timeout | undefined;
    try {
      await this.#publish({ ...command, replyTo }, Date.now() / 1000 + timeout);
      timer = setTimeout(finish, Math.min(timeout * 1000, MAX_TIMER_MS));
      if (signal?.aborted) finish();
      await enough;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', finish);
      // What is not removed here the broker removes: it expires, or it is deleted with its consumer.
      await consumer.cancel().catch(() => undefined);
      await connection.remove({ queues: [{ name: queue }] }).catch(() => undefined);
    }
    return answers;
  }

  #read<T>({ message, malformed }: Delivery, ticket: string): Answer<T> | undefined {
    if (malformed !== undefined) return undefined;
    this.#app.clock.adjust(message.headers['clock']);
    if ((message.headers['ticket'] ?? ticket) !== ticket) return undefined;
    try {
      return decodeReply(message, this.#app.serializers) as Answer<T> | undefined;
    } catch (error) {
      this.#app.logger.warn({ err: error }, 'An answer to a control command cannot be read.');
      return undefined;
    }
  }
}

/** The longest that `setTimeout` can wait; beyond it, it would not wait at all. */
const MAX_TIMER_MS = 2 ** 31 - 1;
