import type { QueueDefinition, QueueReply, RequestReply, ScheduledReply } from '@lovage/core';
import { decodeTaskBody, formatTime, reprArgs, reprKwargs, type SerializerRegistry } from '@lovage/core/protocol';
import type { BrokerUrl } from '@lovage/core/transport';
import type { Clock } from '../clock.ts';
import type { Work } from '../request/work.ts';

export interface DescribeFacts {
  readonly nodeName: string;
  readonly clock: Clock;
  readonly serializers: SerializerRegistry;
  /** The process that runs a task. */
  readonly pidOf: (work: Work) => number | null;
}

/** The timer priority that Celery gives all ETA tasks. Source: celery/worker/strategy.py. */
const ETA_PRIORITY = 6;

/** A task as a worker shows it. Source: celery/worker/request.py, Request.info. */
export function describeRequest(work: Work, facts: DescribeFacts, { safe = false } = {}): RequestReply {
  const { request, task, delivery, attempt, settled } = work;
  const [args, kwargs] = safe ? shownArguments(work, facts) : sentArguments(work, facts);
  const priority = delivery.message.properties.priority;
  return {
    id: work.id,
    name: request.shadow ?? task.name,
    args,
    kwargs,
    type: task.name,
    hostname: facts.nodeName,
    time_start: attempt === undefined ? null : startedAt(attempt.startedAt, facts.clock),
    acknowledged: settled,
    delivery_info: {
      exchange: delivery.exchange,
      routing_key: delivery.routingKey,
      priority: priority ?? null,
      redelivered: delivery.redelivered,
    },
    worker_pid: attempt === undefined ? null : facts.pidOf(work),
  };
}

/** A task that waits for its time. Source: celery/worker/control.py, _iter_schedule_requests. */
export function describeScheduled(work: Work, facts: DescribeFacts): ScheduledReply {
  const { eta } = work.request;
  return {
    eta: eta === undefined ? null : formatTime(eta),
    priority: ETA_PRIORITY,
    request: describeRequest(work, facts),
  };
}

function startedAt(monotonic: number, clock: Clock): number {
  return (clock.now() - (clock.monotonic() - monotonic)) / 1000;
}

type Arguments = readonly [RequestReply['args'], RequestReply['kwargs']];

function sentArguments({ attempt, delivery, request }: Work, { serializers }: DescribeFacts): Arguments {
  if (attempt !== undefined) return [attempt.body.args, attempt.body.kwargs];
  try {
    const { args, kwargs } = decodeTaskBody(delivery.message, serializers);
    return [args, kwargs];
  } catch {
    // It will be set aside when its turn comes.
    return [request.argsrepr, request.kwargsrepr];
  }
}

function shownArguments(work: Work, facts: DescribeFacts): Arguments {
  const { argsrepr, kwargsrepr } = work.request;
  if (argsrepr !== '' && kwargsrepr !== '') return [argsrepr, kwargsrepr];
  const [args, kwargs] = sentArguments(work, facts);
  return [typeof args === 'string' ? args : reprArgs(args), typeof kwargs === 'string' ? kwargs : reprKwargs(kwargs)];
}

/** A queue in Kombu's words. Source: kombu/entity.py, Queue.attrs. */
export function describeQueue(definition: QueueDefinition): QueueReply {
  const { name, exchange, queue, routingKey, alias, noAck, consumerArguments, deliveryMode, topology } = definition;
  const { 'x-expires': expires, 'x-message-ttl': ttl, 'x-max-length': maxLength, ...rest } = queue.arguments ?? {};
  const { 'x-max-length-bytes': maxBytes, 'x-max-priority': maxPriority, ...others } = rest;
  return {
    name,
    exchange: {
      name: exchange.name,
      type: exchange.type,
      arguments: exchange.arguments ?? null,
      durable: exchange.durable ?? true,
      passive: false,
      auto_delete: exchange.autoDelete ?? false,
      delivery_mode: deliveryMode ?? null,
      no_declare: false,
    },
    routing_key: routingKey,
    queue_arguments: orNull(others),
    binding_arguments: topology.bindings?.[0]?.arguments ?? null,
    consumer_arguments: orNull(consumerArguments),
    durable: queue.durable ?? true,
    exclusive: queue.exclusive ?? false,
    auto_delete: queue.autoDelete ?? false,
    no_ack: noAck,
    alias: alias ?? null,
    bindings: [],
    no_declare: null,
    expires: seconds(expires),
    message_ttl: seconds(ttl),
    max_length: number(maxLength),
    max_length_bytes: number(maxBytes),
    max_priority: number(maxPriority),
  };
}

function orNull(given: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> | null {
  return Object.keys(given).length === 0 ? null : given;
}

function number(value: unknown): number | null {
  return typeof value === 'number' ? value : null;
}

function seconds(ms: unknown): number | null {
  return typeof ms === 'number' ? ms / 1000 : null;
}

/** Kombu's names of transports, by scheme; others keep their scheme. */
const TRANSPORTS: Readonly<Record<string, string>> = { amqps: 'amqp', pyamqp: 'amqp', rediss: 'redis' };
const DEFAULT_PORTS: Readonly<Record<string, number>> = { amqp: 5672, amqps: 5671, redis: 6379, rediss: 6379 };

export interface BrokerFacts {
  readonly connectTimeoutSeconds: number;
  readonly heartbeatSeconds: number;
  readonly transportOptions: Readonly<Record<string, unknown>>;
  readonly alternates: readonly BrokerUrl[];
}

/** The broker without its password. Source: kombu/connection.py, Connection.info. */
export function describeBroker(url: BrokerUrl, facts: BrokerFacts): Readonly<Record<string, unknown>> {
  return {
    hostname: url.host || 'localhost',
    userid: url.username ?? null,
    virtual_host: url.path || '/',
    port: url.port ?? DEFAULT_PORTS[url.scheme] ?? null,
    insist: false,
    ssl: url.scheme === 'amqps' || url.scheme === 'rediss',
    transport: TRANSPORTS[url.scheme] ?? url.scheme,
    connect_timeout: facts.connectTimeoutSeconds,
    transport_options: facts.transportOptions,
    login_method: url.scheme.includes('amqp') ? 'PLAIN' : null,
    uri_prefix: null,
    heartbeat: facts.heartbeatSeconds,
    failover_strategy: 'round-robin',
    alternates: facts.alternates.map(String),
    credential_provider: null,
  };
}

/** Source: getrusage(2), with Python's names. Times in seconds, `maxrss` in KiB. */
export function describeUsage(): Readonly<Record<string, number>> {
  const usage = process.resourceUsage();
  return {
    utime: usage.userCPUTime / 1e6,
    stime: usage.systemCPUTime / 1e6,
    maxrss: usage.maxRSS,
    ixrss: usage.sharedMemorySize,
    idrss: usage.unsharedDataSize,
    isrss: usage.unsharedStackSize,
    minflt: usage.minorPageFault,
    majflt: usage.majorPageFault,
    nswap: usage.swappedOut,
    inblock: usage.fsRead,
    oublock: usage.fsWrite,
    msgsnd: usage.ipcSent,
    msgrcv: usage.ipcReceived,
    nsignals: usage.signalsCount,
    nvcsw: usage.voluntaryContextSwitches,
    nivcsw: usage.involuntaryContextSwitches,
  };
}
