import type { ReceivedEvent } from './receiver.ts';

/** What is known of a worker by its events. Source: celery/events/state.py, Worker. */
export class ClusterWorker {
  readonly hostname: string;
  pid: number | undefined;
  /** Seconds between its heartbeats. */
  freq = 60;
  clock = 0;
  /** Tasks that run. */
  active: number | undefined;
  /** Tasks started since its start. */
  processed: number | undefined;
  loadavg: readonly number[] | undefined;
  software: { readonly ident: string; readonly version: string; readonly system: string } | undefined;
  /** Epoch seconds at which the last ones were received, the oldest first. */
  readonly heartbeats: number[] = [];

  constructor(hostname: string) {
    this.hostname = hostname;
  }

  /** Epoch seconds after which it counts as gone; undefined: nothing was heard of it. */
  get expiresAt(): number | undefined {
    const last = this.heartbeats.at(-1);
    return last === undefined ? undefined : last + this.freq * HEARTBEAT_WINDOW;
  }

  /** Heard of within two heartbeats. */
  isAlive(nowSeconds: number = Date.now() / 1000): boolean {
    const { expiresAt } = this;
    return expiresAt !== undefined && nowSeconds < expiresAt;
  }

  /** Takes an event of the worker's own; the result is false for its last one. */
  update(subject: string, event: ReceivedEvent): boolean {
    this.pid = asNumber(event.pid) ?? this.pid;
    this.freq = asNumber(event['freq']) ?? this.freq;
    this.clock = asNumber(event.clock) ?? this.clock;
    this.active = asNumber(event['active']) ?? this.active;
    this.processed = asNumber(event['processed']) ?? this.processed;
    const { loadavg, sw_ident: ident, sw_ver: version, sw_sys: system } = event;
    if (Array.isArray(loadavg)) this.loadavg = loadavg.filter((load) => typeof load === 'number');
    if (typeof ident === 'string') {
      this.software = { ident, version: asText(version) ?? '', system: asText(system) ?? '' };
    }
    if (subject === 'offline') {
      this.heartbeats.length = 0;
      return false;
    }
    this.heard(event.local_received);
    return true;
  }

  heard(atSeconds: number): void {
    if (this.heartbeats.length >= MOST_HEARTBEATS) this.heartbeats.shift();
    this.heartbeats.push(atSeconds);
    if ((this.heartbeats.at(-2) ?? atSeconds) > atSeconds) this.heartbeats.sort((a, b) => a - b);
  }
}

/** Celery's 200 %. Source: celery/events/state.py, HEARTBEAT_EXPIRE_WINDOW. */
const HEARTBEAT_WINDOW = 2;
const MOST_HEARTBEATS = 4;

const STATES: Readonly<Record<string, string>> = {
  sent: 'PENDING',
  received: 'RECEIVED',
  started: 'STARTED',
  failed: 'FAILURE',
  retried: 'RETRY',
  succeeded: 'SUCCESS',
  revoked: 'REVOKED',
  rejected: 'REJECTED',
};

/** From the last word to the first. Source: celery/states.py, PRECEDENCE. */
const PRECEDENCE = ['SUCCESS', 'FAILURE', '', 'REVOKED', 'STARTED', 'RECEIVED', 'REJECTED', 'RETRY', 'PENDING'];

function precedence(state: string): number {
  const index = PRECEDENCE.indexOf(state);
  return index < 0 ? PRECEDENCE.indexOf('') : index;
}

/** Of an event that came too late, only these say something new. Source: celery/events/state.py, Task.merge_rules. */
const KEPT_OF_RECEIVED = ['name', 'args', 'kwargs', 'parent_id', 'root_id', 'retries', 'eta', 'expires'];

/** What is known of a task by its events; fields have the names of the wire. Source: celery/events/state.py, Task. */
export class ClusterTask {
  readonly uuid: string;
  state = 'PENDING';
  /** Node name of the worker that has it. */
  worker: string | undefined;
  /** Node name of its sender. */
  client: string | undefined;
  name: string | undefined;
  /** Display text. */
  args: string | undefined;
  kwargs: string | undefined;
  /** Display text. */
  result: string | undefined;
  exception: string | undefined;
  traceback: string | undefined;
  /** Seconds. */
  runtime: number | undefined;
  retries: number | undefined;
  eta: string | undefined;
  expires: string | undefined;
  queue: string | undefined;
  exchange: string | undefined;
  routing_key: string | undefined;
  root_id: string | undefined;
  parent_id: string | undefined;
  clock = 0;
  /** Epoch seconds of its newest state. */
  timestamp: number | undefined;
  /** Epoch seconds of each event by its subject: `received`, `started`, `succeeded` ... */
  readonly times = new Map<string, number>();

  constructor(uuid: string) {
    this.uuid = uuid;
  }

  get isReady(): boolean {
    return this.state === 'SUCCESS' || this.state === 'FAILURE' || this.state === 'REVOKED';
  }

  update(subject: string, event: ReceivedEvent): void {
    const state = STATES[subject] ?? subject.toUpperCase();
    if (STATES[subject] !== undefined) this.times.set(subject, event.timestamp);
    const isLate = state !== 'RETRY' && this.state !== 'RETRY' && precedence(state) > precedence(this.state);
    if (!isLate) {
      this.state = state;
      this.timestamp = event.timestamp;
    }
    const keeps = isLate && state === 'RECEIVED' ? KEPT_OF_RECEIVED : TEXT_FIELDS;
    for (const field of TEXT_FIELDS) {
      const value = event[field];
      if (typeof value === 'string' && keeps.includes(field)) this[field] = value;
    }
    this.retries = asNumber(event['retries']) ?? this.retries;
    this.runtime = asNumber(event['runtime']) ?? this.runtime;
    this.clock = asNumber(event.clock) ?? this.clock;
  }
}

const TEXT_FIELDS = [
  'name',
  'args',
  'kwargs',
  'result',
  'exception',
  'traceback',
  'eta',
  'expires',
  'queue',
  'exchange',
  'routing_key',
  'root_id',
  'parent_id',
] as const;

export interface ClusterStateOptions {
  /** Workers that are remembered; then the one that was heard of least recently goes. Default 5000. */
  readonly maxWorkers?: number;
  /** Default 10000. */
  readonly maxTasks?: number;
  readonly onNodeJoin?: (worker: ClusterWorker) => void;
  readonly onNodeLeave?: (worker: ClusterWorker) => void;
}

/** The cluster as its events tell it, in bounded memory. Source: celery/events/state.py, State. */
export class ClusterState {
  readonly workers = new Map<string, ClusterWorker>();
  /** From the one that was heard of least recently to the newest. */
  readonly tasks = new Map<string, ClusterTask>();
  readonly #options: ClusterStateOptions;
  /** All events. */
  eventCount = 0;
  /** Tasks that were received. */
  taskCount = 0;

  constructor(options: ClusterStateOptions = {}) {
    this.#options = options;
  }

  event(event: ReceivedEvent): void {
    this.eventCount++;
    const dash = event.type.indexOf('-');
    const subject = event.type.slice(dash + 1);
    const group = event.type.slice(0, Math.max(0, dash));
    if (group === 'worker') this.#worker(subject, event);
    else if (group === 'task') this.#task(subject, event);
  }

  aliveWorkers(nowSeconds?: number): readonly ClusterWorker[] {
    return [...this.workers.values()].filter((worker) => worker.isAlive(nowSeconds));
  }

  /** The newest first. */
  tasksByTime(limit = Number.POSITIVE_INFINITY): readonly ClusterTask[] {
    return [...this.tasks.values()]
      .toSorted((a, b) => b.clock - a.clock || (b.timestamp ?? 0) - (a.timestamp ?? 0))
      .slice(0, limit);
  }

  /** Forgets workers that were not heard of within their time, and gives them. */
  prune(nowSeconds?: number): readonly ClusterWorker[] {
    const lost = [...this.workers.values()].filter((worker) => !worker.isAlive(nowSeconds));
    for (const { hostname } of lost) this.workers.delete(hostname);
    return lost;
  }

  clear(): void {
    this.workers.clear();
    this.tasks.clear();
    this.eventCount = 0;
    this.taskCount = 0;
  }

  #worker(subject: string, event: ReceivedEvent): void {
    const { maxWorkers = 5000, onNodeJoin, onNodeLeave } = this.#options;
    const known = this.workers.get(event.hostname);
    const worker = known ?? new ClusterWorker(event.hostname);
    if (!worker.update(subject, event)) {
      this.workers.delete(event.hostname);
      onNodeLeave?.(worker);
      return;
    }
    touch(this.workers, event.hostname, worker, maxWorkers);
    if (known === undefined || subject === 'online') onNodeJoin?.(worker);
  }

  #task(subject: string, event: ReceivedEvent): void {
    const { maxTasks = 10_000, maxWorkers = 5000 } = this.#options;
    const uuid = event['uuid'];
    if (typeof uuid !== 'string') return;
    const task = this.tasks.get(uuid) ?? new ClusterTask(uuid);
    if (subject === 'sent') {
      task.client = event.hostname;
    } else {
      task.worker = event.hostname;
      const worker = this.workers.get(event.hostname) ?? new ClusterWorker(event.hostname);
      worker.heard(event.local_received);
      touch(this.workers, event.hostname, worker, maxWorkers);
    }
    if (subject === 'received') this.taskCount++;
    task.update(subject, event);
    touch(this.tasks, uuid, task, maxTasks);
  }
}

/** A map in the order of use that holds at most so many. */
function touch<T>(map: Map<string, T>, key: string, value: T, most: number): void {
  map.delete(key);
  map.set(key, value);
  for (const oldest of map.keys()) {
    if (map.size <= most) break;
    map.delete(oldest);
  }
}

function asNumber(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

function asText(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
