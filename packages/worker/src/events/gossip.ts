import { ClusterState, type ClusterWorker, type Logger, type Lovage, type ReceivedEvent } from '@lovage/core';
import { EventReceiver, type EventSender } from '@lovage/core/protocol';
import type { Connection } from '@lovage/core/transport';

export interface GossipOptions {
  readonly app: Lovage;
  readonly nodeName: string;
  readonly sender: EventSender;
  readonly logger: Logger;
  /** Seconds that an event may wait for us: as long as a heartbeat lasts. */
  readonly heartbeatSeconds: number;
}

interface Candidate {
  readonly clock: number;
  readonly node: string;
  readonly topic: string;
  readonly action: unknown;
}

const PRUNE_MS = 5000;
const ELECTION_MS = 2000;
/** Elections that nobody finished. */
const MOST_ELECTIONS = 1000;
/** Of one election: more are not a cluster's, but somebody's mischief. */
const MOST_CANDIDATES = 1000;

/**
 * Hears the other workers' events: keeps the clock, notices who comes and goes, holds elections.
 * Source: celery/worker/consumer/gossip.py.
 */
export class Gossip {
  readonly #options: GossipOptions;
  readonly #state: ClusterState;
  readonly #receiver: EventReceiver;
  readonly #candidates = new Map<string, Candidate[]>();
  /** Of elections that were asked of this worker: who has agreed. */
  readonly #votes = new Map<string, string[]>();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: GossipOptions) {
    this.#options = options;
    const { app, logger, heartbeatSeconds } = options;
    this.#state = new ClusterState({
      maxTasks: 1,
      onNodeJoin: ({ hostname }) => logger.debug({ node: hostname }, `${hostname} joined the party`),
      onNodeLeave: ({ hostname }) => logger.debug({ node: hostname }, `${hostname} left`),
    });
    this.#receiver = new EventReceiver(app, (events) => this.#hear(events), {
      routingKey: 'worker.#',
      wakeup: false,
      ttl: heartbeatSeconds,
    });
  }

  /** Workers that were heard of lately, this one not among them. */
  get neighbours(): readonly ClusterWorker[] {
    return this.#state.aliveWorkers();
  }

  /** Listens on one more connection; the former one is gone. */
  async listen(connection: Connection, scheme: string): Promise<void> {
    const consumer = await this.#receiver.listen(connection, scheme);
    consumer.done.catch(() => {});
    this.#timer ??= setInterval(() => {
      for (const { hostname } of this.#state.prune()) {
        this.#options.logger.info({ node: hostname }, `missed heartbeat from ${hostname}`);
      }
    }, PRUNE_MS).unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** Every worker hears the command, so every worker counts the votes. */
  elect(id: string, topic: string, action: unknown): void {
    bound(this.#votes);
    this.#votes.set(id, []);
    // A neighbour that does not gossip never agrees.
    setTimeout(() => this.#decide(id), ELECTION_MS).unref();
    this.#options.sender.send('worker-elect', { id, topic, action, cver: 1 });
  }

  #hear(events: readonly ReceivedEvent[]): void {
    const { nodeName, sender } = this.#options;
    for (const event of events) {
      if (event.type === 'worker-elect') {
        this.#nominate(event);
        sender.send('worker-elect-ack', { id: event['id'] });
      } else if (event.type === 'worker-elect-ack') this.#count(event);
      else if (event.hostname !== nodeName) this.#state.event(event);
    }
  }

  #nominate({ id, clock, hostname, pid, topic, action }: ReceivedEvent): void {
    if (typeof id !== 'string' || typeof topic !== 'string' || typeof clock !== 'number') {
      this.#options.logger.warn({ node: hostname }, 'An election request lacks a field.');
      return;
    }
    bound(this.#candidates);
    const candidates = this.#candidates.get(id) ?? [];
    if (candidates.length >= MOST_CANDIDATES) return;
    candidates.push({ clock, node: `${hostname}.${String(pid)}`, topic, action });
    this.#candidates.set(id, candidates);
  }

  #count({ id, hostname }: ReceivedEvent): void {
    const votes = typeof id === 'string' ? this.#votes.get(id) : undefined;
    if (typeof id !== 'string' || votes === undefined) return;
    votes.push(hostname);
    if (votes.length > this.neighbours.length) this.#decide(id);
  }

  /** Each worker comes to the same end: the one that answered first by the clock has won. */
  #decide(id: string): void {
    if (!this.#votes.has(id)) return;
    const { nodeName, logger } = this.#options;
    const [leader] = (this.#candidates.get(id) ?? []).toSorted(
      (a, b) => a.clock - b.clock || (a.node < b.node ? -1 : 1),
    );
    this.#votes.delete(id);
    this.#candidates.delete(id);
    if (leader === undefined) return;
    if (leader.node !== `${nodeName}.${process.pid}`) {
      logger.info({ node: leader.node, election: id }, `node ${leader.node} elected for ${JSON.stringify(id)}`);
      return;
    }
    logger.info({ election: id }, `I won the election ${JSON.stringify(id)}`);
    void this.#act(leader);
  }

  async #act({ topic, action }: Candidate): Promise<void> {
    const { app, logger } = this.#options;
    if (topic !== 'task') {
      logger.error({ topic }, 'The topic of an election is unknown. Expected "task".');
      return;
    }
    try {
      await app.applySignature(action as Parameters<Lovage['applySignature']>[0]);
    } catch (error) {
      logger.error({ err: error }, 'The task of an election could not be sent.');
    }
  }
}

function bound(map: Map<string, unknown>): void {
  for (const oldest of map.keys()) {
    if (map.size < MOST_ELECTIONS) return;
    map.delete(oldest);
  }
}
