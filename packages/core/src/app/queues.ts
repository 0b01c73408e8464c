import { randomUUID } from 'node:crypto';
import { ConfigError, QueueNotFoundError } from '../errors.ts';
import { nearestName } from '../internal/nearest-name.ts';
import type { Binding, Exchange, ExchangeType, Queue, Topology } from '../transport/topology.ts';
import { toCamelCase } from './option-names.ts';
import type { Settings } from './settings-table.ts';

type Arguments = Readonly<Record<string, unknown>>;

/** An exchange as it is written in settings. Defaults are Kombu's. Source: kombu/entity.py, Exchange. */
export interface ExchangeOptions {
  readonly name: string;
  /** Default `direct`. */
  readonly type?: ExchangeType;
  /** Default true. */
  readonly durable?: boolean;
  /** Default false. */
  readonly autoDelete?: boolean;
  /** Of messages sent through it. Default: `taskDefaultDeliveryMode`. */
  readonly deliveryMode?: 1 | 2 | 'transient' | 'persistent';
  readonly arguments?: Arguments;
  /** It exists already, or is somebody else's to declare. Default false. */
  readonly noDeclare?: boolean;
}

/** A further binding of a queue. */
export interface BindingOptions {
  readonly exchange: string | ExchangeOptions;
  readonly routingKey?: string;
  readonly arguments?: Arguments;
}

/**
 * A queue as it is written in settings: Kombu's names in camelCase; snake_case is read too. Times are seconds.
 * Source: kombu/entity.py, Queue and Queue.from_dict.
 */
export interface QueueOptions {
  /** Default: the default exchange of the app (`taskDefaultExchange`). */
  readonly exchange?: string | ExchangeOptions;
  /** Type of an exchange given by name. Default `direct`. */
  readonly exchangeType?: ExchangeType;
  /** Default: in a list `taskDefaultRoutingKey`, in a mapping the queue's name: as in Celery. */
  readonly routingKey?: string;
  /** An older name of `routingKey`. */
  readonly bindingKey?: string;
  readonly bindings?: readonly BindingOptions[];
  /** Default true. In a mapping it holds for an exchange given by name too, as in Celery. */
  readonly durable?: boolean;
  readonly queueDurable?: boolean;
  readonly exchangeDurable?: boolean;
  /** Default false. In a mapping it holds for an exchange given by name too. */
  readonly autoDelete?: boolean;
  readonly queueAutoDelete?: boolean;
  readonly exchangeAutoDelete?: boolean;
  /** Implies `autoDelete`. Default false. */
  readonly exclusive?: boolean;
  readonly deliveryMode?: 1 | 2 | 'transient' | 'persistent';
  /** AMQP `x-` arguments. The options below are put over them. */
  readonly queueArguments?: Arguments;
  readonly exchangeArguments?: Arguments;
  readonly bindingArguments?: Arguments;
  readonly consumerArguments?: Arguments;
  /** Remove the queue when it was unused so long (`x-expires`). */
  readonly expires?: number;
  /** Drop a message that waited so long (`x-message-ttl`). */
  readonly messageTtl?: number;
  /** Messages (`x-max-length`). */
  readonly maxLength?: number;
  /** Bytes (`x-max-length-bytes`). */
  readonly maxLengthBytes?: number;
  /** `x-max-priority`. */
  readonly maxPriority?: number;
  /** `x-queue-type`. `classic` writes no argument, as Celery does not. */
  readonly queueType?: 'classic' | 'quorum';
  /** Another name by which routes and `-Q` know it. */
  readonly alias?: string;
  /** Deliver without waiting for settling. Default false. */
  readonly noAck?: boolean;
  /** It exists already, or is somebody else's to declare. Default false. */
  readonly noDeclare?: boolean;
  /**
   * Where the broker puts rejected messages. It becomes an argument of the queue on AMQP, so every program that
   * declares the queue, Python ones too, must say the same. true: the queue's place by `deadLetterQueue`.
   */
  readonly deadLetter?: boolean | { readonly exchange: string; readonly routingKey: string };
  /**
   * Every worker gets each message: a fanout exchange of this name, and for each process a queue `bcast.<uuid>`.
   * Source: kombu/common.py, Broadcast.
   */
  readonly broadcast?: boolean;
}

export type NamedQueueOptions = QueueOptions & { readonly name: string };

/** The setting `taskQueues`: names and queues in a list, or options by name. */
export type TaskQueues = readonly (string | NamedQueueOptions)[] | Readonly<Record<string, QueueOptions>>;

/** A queue with every default filled in. */
export interface QueueDefinition {
  readonly name: string;
  readonly alias: string | undefined;
  /** Its name is never `''`: queues that name none are bound to the app's default exchange. */
  readonly exchange: Exchange;
  readonly routingKey: string;
  /** Of messages sent to it; undefined: `taskDefaultDeliveryMode`. */
  readonly deliveryMode: 1 | 2 | undefined;
  readonly consumerArguments: Arguments;
  readonly noAck: boolean;
  readonly broadcast: boolean;
  /** The queue's own entry in {@link QueueDefinition.topology}. */
  readonly queue: Queue;
  /** All that must exist before it is consumed from. Empty with `noDeclare`. */
  readonly topology: Topology;
  /** All that must exist before it is published to: of a broadcast only the exchange, since queues are the workers'. */
  readonly publishTopology: Topology;
}

/** A worker's `-Q` and `-X`. */
export interface QueueSelection {
  readonly queues?: readonly string[];
  readonly exclude?: readonly string[];
}

/** What {@link Queues} reads of the settings. */
export type QueueSettings = Pick<
  Settings,
  | 'taskQueues'
  | 'taskDefaultQueue'
  | 'taskDefaultQueueType'
  | 'taskDefaultExchange'
  | 'taskDefaultExchangeType'
  | 'taskDefaultRoutingKey'
  | 'taskCreateMissingQueues'
  | 'taskCreateMissingQueueType'
  | 'taskCreateMissingQueueExchangeType'
  | 'taskQueueMaxPriority'
  | 'deadLetterQueue'
>;

/**
 * The queues of an app: those of `taskQueues`, those made because they were named, and those that a worker chooses.
 * Declares exactly what a Python node with the same settings declares. Source: celery/app/amqp.py, Queues.
 */
export class Queues {
  readonly #settings: QueueSettings;
  /** Those of the settings. */
  readonly #configured = new Map<string, QueueDefinition>();
  /** Those that were made because they were named, and what {@link add} put in. */
  readonly #named = new Map<string, QueueDefinition>();
  readonly #aliases = new Map<string, QueueDefinition>();

  /** Throws `ConfigError` when `taskQueues` holds something that is no queue. */
  constructor(settings: QueueSettings) {
    this.#settings = settings;
    for (const queue of this.#read(settings.taskQueues)) this.#put(queue);
    if (this.#configured.size === 0) {
      this.#put(
        this.#define(
          settings.taskDefaultQueue,
          { queueType: settings.taskDefaultQueueType },
          settings.taskDefaultRoutingKey,
        ),
      );
    }
    this.#checkExchanges();
  }

  /**
   * The queue of this name or alias. One that is not configured is made as Celery makes it: queue, exchange and routing
   * key of one name; with `taskCreateMissingQueues` off it is a `QueueNotFoundError`.
   */
  get(name: string): QueueDefinition {
    return this.find(name) ?? this.#create(name);
  }

  /** The queue of this name or alias if it is known already. */
  find(name: string): QueueDefinition | undefined {
    return this.#aliases.get(name) ?? this.#configured.get(name) ?? this.#named.get(name);
  }

  /** `taskDefaultQueue`. */
  get default(): QueueDefinition {
    return this.get(this.#settings.taskDefaultQueue);
  }

  /** Those of the settings. */
  all(): readonly QueueDefinition[] {
    return [...this.#configured.values()];
  }

  /** The configured queues that are bound to an exchange. */
  boundTo(exchange: string): readonly QueueDefinition[] {
    return this.all().filter(
      ({ topology }) => topology.bindings?.some((binding) => binding.exchange === exchange) === true,
    );
  }

  /**
   * What a worker consumes from: `queues` (its `-Q`; one that is not configured is made, as by {@link get}), else all
   * that are configured, without `exclude` (its `-X`). A name in `exclude` that is no queue is a `QueueNotFoundError`:
   * a misspelt one would go on being consumed.
   */
  select({ queues = [], exclude = [] }: QueueSelection = {}): readonly QueueDefinition[] {
    const chosen = new Set(queues.length === 0 ? this.#configured.values() : queues.map((name) => this.get(name)));
    for (const name of exclude) {
      const queue = this.find(name);
      if (queue === undefined) throw this.#notFound(name);
      chosen.delete(queue);
    }
    return [...chosen];
  }

  /**
   * Makes a queue known by its name, whatever `taskCreateMissingQueues` says: for remote control's `add_consumer` and a
   * worker's direct queue. Who consumes from it keeps it: another worker of the same app does not by itself. A name that
   * is known gives the queue it names.
   */
  add(queue: string | NamedQueueOptions): QueueDefinition {
    const known = typeof queue === 'string' ? this.find(queue) : undefined;
    if (known !== undefined) return known;
    const definition =
      typeof queue === 'string'
        ? this.#defineMissing(queue)
        : this.#define(queue.name, queue, this.#settings.taskDefaultRoutingKey);
    if (definition.alias !== undefined) this.#aliases.set(definition.alias, definition);
    return this.#remember(definition);
  }

  /**
   * Where the messages of a queue go that cannot be run: the queue that `deadLetterQueue` names, declared as Celery
   * would declare it, so that a Python worker can consume from it. undefined when that setting is null.
   */
  deadLetterOf(queue: string): QueueDefinition | undefined {
    const pattern = this.#settings.deadLetterQueue;
    if (pattern === null) return undefined;
    // A broadcast's own name is new in each process.
    const name = pattern.replaceAll('{queue}', this.find(queue)?.alias ?? queue);
    // It may be made even where queues may not: nobody chose its name in a call.
    return this.find(name) ?? this.#remember(this.#defineMissing(name));
  }

  #read(queues: TaskQueues | undefined): readonly QueueDefinition[] {
    if (queues === undefined) return [];
    const { taskDefaultRoutingKey } = this.#settings;
    if (Array.isArray(queues)) {
      return (queues as readonly (string | NamedQueueOptions)[]).map((queue, index) => {
        if (typeof queue === 'string' && queue !== '') return this.#defineMissing(queue);
        const name: unknown = typeof queue === 'object' && queue !== null ? queue.name : undefined;
        if (typeof name !== 'string' || name === '') {
          throw new ConfigError(`taskQueues[${index}] is no queue. Expected a name, or an object with a name.`);
        }
        return this.#define(name, queue as NamedQueueOptions, taskDefaultRoutingKey);
      });
    }
    return Object.entries(queues as Readonly<Record<string, QueueOptions>>).map(([name, given]) => {
      const { durable, autoDelete, broadcast, ...options } = readQueueOptions(name, given);
      return this.#define(
        name,
        {
          // Celery spreads these over queue and exchange, but only in a mapping. Source: kombu/entity.py, Queue.from_dict.
          ...(durable === undefined ? {} : { exchangeDurable: durable, durable }),
          ...(autoDelete === undefined ? {} : { exchangeAutoDelete: autoDelete, autoDelete }),
          ...(broadcast === undefined ? {} : { broadcast }),
          ...options,
        },
        // A mapping's queue has its name for a key, not the settings' one. Source: celery/app/amqp.py, Queues.add_compat.
        // Broadcasts, which only Celery's lists can hold, have the settings' one.
        broadcast === true ? taskDefaultRoutingKey : name,
      );
    });
  }

  #define(name: string, given: QueueOptions, defaultRoutingKey: string): QueueDefinition {
    const settings = this.#settings;
    return defineQueue(name, readQueueOptions(name, given), {
      exchange: { name: settings.taskDefaultExchange, type: settings.taskDefaultExchangeType, durable: true },
      routingKey: defaultRoutingKey,
      maxPriority: settings.taskQueueMaxPriority,
      deadLetter: settings.deadLetterQueue?.replaceAll('{queue}', name),
    });
  }

  #defineMissing(name: string): QueueDefinition {
    const { taskCreateMissingQueueType, taskCreateMissingQueueExchangeType } = this.#settings;
    return this.#define(
      name,
      {
        exchange: name,
        exchangeType: taskCreateMissingQueueExchangeType ?? 'direct',
        queueType: taskCreateMissingQueueType,
      },
      name,
    );
  }

  #create(name: string): QueueDefinition {
    if (!this.#settings.taskCreateMissingQueues) throw this.#notFound(name);
    if (typeof name !== 'string' || name === '') throw new ConfigError('A queue name is empty.');
    return this.#remember(this.#defineMissing(name));
  }

  #remember(queue: QueueDefinition): QueueDefinition {
    this.#named.set(queue.name, queue);
    return queue;
  }

  #put(queue: QueueDefinition): void {
    this.#configured.set(queue.name, queue);
    if (queue.alias !== undefined) this.#aliases.set(queue.alias, queue);
  }

  #notFound(name: string): Error {
    const known = [...this.#configured.keys(), ...this.#aliases.keys()];
    return new QueueNotFoundError(
      `Queue "${name}" is not in taskQueues. Expected one of: ${known.join(', ')}.${nearestName(name, known)} Set taskCreateMissingQueues to make queues that are named.`,
      { facts: { queue: name } },
    );
  }

  #checkExchanges(): void {
    const types = new Map<string, readonly [ExchangeType, string]>();
    for (const { name, topology } of this.#configured.values()) {
      for (const exchange of topology.exchanges ?? []) {
        const [type, queue] = types.get(exchange.name) ?? [exchange.type, name];
        if (type !== exchange.type) {
          throw new ConfigError(
            `taskQueues has exchange "${exchange.name}" of type ${type} for queue "${queue}" and of type ${exchange.type} for queue "${name}". An exchange has one type.`,
          );
        }
        types.set(exchange.name, [type, queue]);
      }
    }
  }
}

/**
 * Each worker's own queue, `<node>.dq2` on exchange `C.dq2`: for {@link Queues.add}.
 * Source: celery/utils/nodenames.py, worker_direct.
 */
export function workerDirectQueue(nodeName: string): NamedQueueOptions {
  return { name: `${nodeName}.dq2`, exchange: 'C.dq2', routingKey: nodeName };
}

/** A queue whose messages reach every worker: an entry for `taskQueues`. Source: kombu/common.py, Broadcast. */
export function broadcastQueue(name: string, options: QueueOptions = {}): NamedQueueOptions {
  return { ...options, name, broadcast: true };
}

interface QueueDefaults {
  readonly exchange: Exchange;
  readonly routingKey: string;
  readonly maxPriority: number | undefined;
  readonly deadLetter: string | undefined;
}

function defineQueue(given: string, options: QueueOptions, defaults: QueueDefaults): QueueDefinition {
  const broadcast = options.broadcast === true;
  const name = broadcast ? `bcast.${randomUUID()}` : given;
  const [exchange, exchangeMode, declaresExchange] = broadcast
    ? readExchange(options.exchange ?? { name: given, type: 'fanout' }, options, given)
    : exchangeOf(options, defaults, given);
  const routingKey = options.bindingKey || options.routingKey || defaults.routingKey;
  const queue = queueOf(name, options, defaults);
  const bindings: Binding[] = [bindingOf(name, exchange.name, routingKey, options.bindingArguments)];
  const exchanges: Exchange[] = declaresExchange ? [exchange] : [];
  for (const further of options.bindings ?? []) {
    const [other, , declares] = readExchange(further.exchange, {}, given);
    if (declares && !exchanges.some(({ name }) => name === other.name)) exchanges.push(other);
    bindings.push(bindingOf(name, other.name, further.routingKey ?? '', further.arguments));
  }
  const topology: Topology = options.noDeclare === true ? {} : { exchanges, queues: [queue], bindings };
  return {
    name,
    alias: options.alias ?? (broadcast ? given : undefined),
    exchange,
    routingKey,
    deliveryMode: modeOf(options.deliveryMode) ?? exchangeMode,
    consumerArguments: options.consumerArguments ?? {},
    noAck: options.noAck ?? false,
    broadcast,
    queue,
    topology,
    publishTopology: broadcast && options.noDeclare !== true ? { exchanges } : topology,
  };
}

function bindingOf(queue: string, exchange: string, routingKey: string, given: Arguments | undefined): Binding {
  return { queue, exchange, routingKey, ...(given === undefined ? {} : { arguments: given }) };
}

type ReadExchange = readonly [exchange: Exchange, deliveryMode: 1 | 2 | undefined, declares: boolean];

function exchangeOf(options: QueueOptions, defaults: QueueDefaults, queue: string): ReadExchange {
  const given = options.exchange;
  const named = typeof given === 'object' ? given.name : given;
  return named ? readExchange(given as string | ExchangeOptions, options, queue) : [defaults.exchange, undefined, true];
}

function readExchange(given: string | ExchangeOptions, queue: QueueOptions, queueName: string): ReadExchange {
  if (typeof given === 'string') {
    const exchange: ExchangeOptions = {
      name: given,
      type: queue.exchangeType ?? 'direct',
      durable: queue.exchangeDurable ?? true,
      autoDelete: queue.exchangeAutoDelete ?? false,
      ...(queue.exchangeArguments === undefined ? {} : { arguments: queue.exchangeArguments }),
    };
    return readExchange(exchange, {}, queueName);
  }
  const options = readOptions(`The exchange of queue "${queueName}"`, given, EXCHANGE_CHECKS);
  if (!options.name) throw new ConfigError(`The exchange of queue "${queueName}" has no name.`);
  return [
    {
      name: options.name,
      type: options.type ?? 'direct',
      durable: options.durable ?? true,
      ...(options.autoDelete === true ? { autoDelete: true } : {}),
      ...(options.arguments === undefined ? {} : { arguments: options.arguments }),
    },
    modeOf(options.deliveryMode),
    options.noDeclare !== true,
  ];
}

function modeOf(mode: ExchangeOptions['deliveryMode']): 1 | 2 | undefined {
  return mode === undefined ? undefined : mode === 1 || mode === 'transient' ? 1 : 2;
}

function queueOf(name: string, options: QueueOptions, defaults: QueueDefaults): Queue {
  const given = queueArguments(options, defaults);
  const deadLetter =
    options.deadLetter === true
      ? defaults.deadLetter === undefined
        ? undefined
        : { exchange: '', routingKey: defaults.deadLetter }
      : options.deadLetter || undefined;
  return {
    name,
    durable: options.queueDurable ?? options.durable ?? true,
    ...(options.exclusive === true ? { exclusive: true } : {}),
    // kombu/entity.py: exclusive implies auto-delete; kombu/common.py: so does Broadcast.
    ...((options.queueAutoDelete ?? options.autoDelete ?? options.broadcast === true) || options.exclusive === true
      ? { autoDelete: true }
      : {}),
    ...(Object.keys(given).length === 0 ? {} : { arguments: given }),
    ...(deadLetter === undefined ? {} : { deadLetter }),
  };
}

const toMs = (value: number): number => Math.trunc(value * 1000);

/** Kombu's options and the `x-` arguments they become. Source: kombu/transport/base.py, RABBITMQ_QUEUE_ARGUMENTS. */
const QUEUE_ARGUMENTS = [
  ['expires', 'x-expires', toMs],
  ['messageTtl', 'x-message-ttl', toMs],
  ['maxLength', 'x-max-length', Math.trunc],
  ['maxLengthBytes', 'x-max-length-bytes', Math.trunc],
  ['maxPriority', 'x-max-priority', Math.trunc],
] as const;

function queueArguments(options: QueueOptions, { maxPriority }: QueueDefaults): Arguments {
  const given: Record<string, unknown> = { ...options.queueArguments };
  if (options.queueType === 'quorum') given['x-queue-type'] ??= 'quorum';
  if (maxPriority !== undefined) given['x-max-priority'] ??= maxPriority;
  for (const [option, argument, convert] of QUEUE_ARGUMENTS) {
    const value = options[option];
    if (value !== undefined) given[argument] = convert(value);
  }
  return given;
}

type Checks<T> = Readonly<Record<keyof Required<T>, readonly [expected: string, isRight: (value: unknown) => boolean]>>;

const isText = (value: unknown): boolean => typeof value === 'string';
const isFlag = (value: unknown): boolean => typeof value === 'boolean';
const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null && !Array.isArray(value);
const isPositive = (value: unknown): boolean => typeof value === 'number' && value > 0 && value < Infinity;
const isCount = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 0;
const isType = (value: unknown): boolean => ['direct', 'topic', 'fanout', 'headers'].includes(value as string);
const isMode = (value: unknown): boolean => [1, 2, 'transient', 'persistent'].includes(value as string);

const TEXT = ['a text', isText] as const;
const FLAG = ['true or false', isFlag] as const;
const ARGUMENTS = ['an object', isObject] as const;
const COUNT = ['an integer from 0 up', isCount] as const;
const TYPE = ['"direct", "topic", "fanout" or "headers"', isType] as const;
const MODE = ['1, 2, "transient" or "persistent"', isMode] as const;
const SECONDS = ['a number of seconds above 0', isPositive] as const;

const EXCHANGE_CHECKS: Checks<ExchangeOptions> = {
  name: TEXT,
  type: TYPE,
  durable: FLAG,
  autoDelete: FLAG,
  deliveryMode: MODE,
  arguments: ARGUMENTS,
  noDeclare: FLAG,
};

const QUEUE_CHECKS: Checks<QueueOptions & { name: string }> = {
  name: TEXT,
  exchange: ['a name or an exchange', (value) => isText(value) || isObject(value)],
  exchangeType: TYPE,
  routingKey: TEXT,
  bindingKey: TEXT,
  bindings: [
    'a list of bindings, each with an exchange',
    (value) =>
      Array.isArray(value) &&
      value.every(
        (item: { exchange?: unknown } | null) => isObject(item) && (isText(item?.exchange) || isObject(item?.exchange)),
      ),
  ],
  durable: FLAG,
  queueDurable: FLAG,
  exchangeDurable: FLAG,
  autoDelete: FLAG,
  queueAutoDelete: FLAG,
  exchangeAutoDelete: FLAG,
  exclusive: FLAG,
  deliveryMode: MODE,
  queueArguments: ARGUMENTS,
  exchangeArguments: ARGUMENTS,
  bindingArguments: ARGUMENTS,
  consumerArguments: ARGUMENTS,
  expires: SECONDS,
  messageTtl: ['a number of seconds from 0 up', (value) => value === 0 || isPositive(value)],
  maxLength: COUNT,
  maxLengthBytes: COUNT,
  maxPriority: ['an integer from 0 to 255', (value) => isCount(value) && (value as number) <= 255],
  queueType: ['"classic" or "quorum"', (value) => value === 'classic' || value === 'quorum'],
  alias: TEXT,
  noAck: FLAG,
  noDeclare: FLAG,
  deadLetter: [
    'true, false or an object with exchange and routingKey',
    (value) =>
      isFlag(value) ||
      (isObject(value) &&
        isText((value as { exchange?: unknown }).exchange) &&
        isText((value as { routingKey?: unknown }).routingKey)),
  ],
  broadcast: FLAG,
};

function readQueueOptions(name: string, given: QueueOptions): QueueOptions {
  if (!isObject(given)) throw new ConfigError(`taskQueues has no options for queue "${name}". Expected an object.`);
  return readOptions(`Queue "${name}"`, given, QUEUE_CHECKS);
}

/** Options in camelCase from either spelling; null counts as not given. Throws `ConfigError`. */
function readOptions<T extends object>(what: string, given: T, checks: Checks<T>): T {
  const known = new Map<string, Checks<T>[keyof T]>(Object.entries(checks));
  const read = new Map<string, unknown>();
  for (const [key, value] of Object.entries(given)) {
    if (value === undefined || value === null) continue;
    const option = toCamelCase(key);
    const check = known.get(option);
    if (check === undefined)
      throw new ConfigError(`${what} has an unknown option "${key}".${nearestName(option, known.keys())}`);
    const [expected, isRight] = check;
    if (!isRight(value))
      throw new ConfigError(`${what} has ${key} ${JSON.stringify(value) ?? String(value)}. Expected ${expected}.`);
    if (read.has(option)) throw new ConfigError(`${what} has ${option} twice, in two spellings.`);
    read.set(option, value);
  }
  return Object.fromEntries(read) as T;
}
