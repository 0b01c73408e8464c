import type { Logger, Lovage } from '@lovage/core';
import { EventSender, schemeOf, softwareInfo } from '@lovage/core/protocol';
import type { Connection } from '@lovage/core/transport';
import type { Clock } from './clock.ts';
import type { EventSwitch, PanelHost, WorkerParts } from './control/host.ts';
import { Mailbox } from './control/mailbox.ts';
import { Panel } from './control/panel.ts';
import { Gossip } from './events/gossip.ts';
import { Heart, type HeartFacts } from './events/heart.ts';
import { mingle } from './events/mingle.ts';
import { TaskEvents } from './events/task-events.ts';
import type { TaskObservers } from './request/observer.ts';
import { workerVersion } from './version.ts';

/** What of its part in the cluster a worker takes. */
export interface ClusterOptions {
  readonly remoteControl: boolean;
  readonly taskEvents: boolean;
  readonly gossip: boolean;
  readonly mingle: boolean;
  /** Seconds; 0: no heartbeats. */
  readonly heartbeatInterval: number;
}

export interface ClusterFacts extends ClusterOptions {
  readonly app: Lovage;
  readonly nodeName: string;
  readonly logger: Logger;
  readonly clock: Clock;
  readonly observers: TaskObservers;
  readonly revoked: { add(id: string): void; ids(): readonly string[] };
  readonly heart: () => HeartFacts;
  readonly onHeartbeat: () => void;
  /** What commands see of the worker. */
  readonly host: WorkerParts;
}

/** Celery's heartbeat interval: `worker --heartbeat-interval`. */
export const HEARTBEAT_SECONDS = 2;
/** Kombu's transports on which Celery's workers talk to each other. Source: celery/worker/consumer/mingle.py. */
const SOCIABLE = /^(?:amqps?|pyamqp|rediss?|redis\+socket|valkeys?|sentinel|gcpubsub)$/;

/**
 * A worker's part in its cluster: remote control, events, heartbeats, what it tells and hears of its neighbours. None
 * of it ever ends the worker or holds a task. On a broker without fanout there is nothing of it.
 */
export class Cluster implements EventSwitch {
  readonly #facts: ClusterFacts;
  readonly #sender: EventSender;
  readonly #taskEvents: TaskEvents;
  readonly #heart: Heart | undefined;
  readonly #mailbox: Mailbox | undefined;
  #gossip: Gossip | undefined;
  #hasMingled = false;
  #isOn = false;
  #hasLeft = false;
  #isClosed = false;
  #sendsTaskEvents = false;

  constructor(facts: ClusterFacts) {
    this.#facts = facts;
    const { app, nodeName, logger, clock, host } = facts;
    this.#sender = new EventSender(app, nodeName);
    this.#taskEvents = new TaskEvents(this.#sender, app.serializers);
    if (facts.heartbeatInterval > 0) {
      const software = softwareInfo(workerVersion());
      this.#heart = new Heart(this.#sender, facts.heartbeatInterval, facts.heart, software, facts.onHeartbeat);
    }
    if (facts.remoteControl) {
      const panelHost: PanelHost = {
        ...host,
        events: this,
        elect: (id, topic, action) => this.#gossip?.elect(id, topic, action),
      };
      this.#mailbox = new Mailbox({ app, nodeName, panel: new Panel(panelHost), clock, logger });
    }
  }

  get sendsTaskEvents(): boolean {
    return this.#sendsTaskEvents;
  }

  enableTaskEvents(): void {
    this.#sendsTaskEvents = true;
    this.#facts.observers.add(this.#taskEvents);
  }

  disableTaskEvents(): void {
    this.#sendsTaskEvents = false;
    this.#facts.observers.remove(this.#taskEvents);
  }

  heartbeat(): void {
    this.#heart?.force();
  }

  /** Workers that were heard of lately. */
  get neighbours(): readonly string[] {
    return this.#gossip?.neighbours.map(({ hostname }) => hostname) ?? [];
  }

  /** Before the first message is taken: what others know is revoked. Never rejects. */
  async prepare(connection: Connection, url: string): Promise<void> {
    const { app, nodeName, logger, revoked } = this.#facts;
    if (!connection.capabilities.fanout || this.#hasMingled || !SOCIABLE.test(schemeOf(url))) return;
    this.#hasMingled = true;
    if (this.#facts.mingle && this.#facts.remoteControl) await mingle({ app, nodeName, logger, revoked });
  }

  /** A connection is there, the first or a new one: the worker can be reached and says that it is up. Never rejects. */
  async join(connection: Connection, url: string): Promise<void> {
    if (!connection.capabilities.fanout || this.#isClosed) return;
    await this.#mailbox?.listen(connection);
    if (!this.#isOn) {
      this.#isOn = true;
      if (this.#facts.taskEvents) this.enableTaskEvents();
    }
    if (!this.#hasLeft) this.#heart?.start();
    if (this.#facts.gossip && SOCIABLE.test(schemeOf(url))) await this.#listenToOthers(connection, schemeOf(url));
  }

  /** The worker stops: it says so, and still answers while tasks run. */
  leave(): void {
    this.#hasLeft = true;
    this.#heart?.stop();
  }

  /** Sends what waits and ends it all, in about `timeoutMs`. Never rejects. */
  async close(timeoutMs: number): Promise<void> {
    this.#isClosed = true;
    this.leave();
    this.#gossip?.close();
    await Promise.all([this.#mailbox?.close(), this.#sender.flush(timeoutMs)]);
    this.disableTaskEvents();
    this.#sender.close();
  }

  async #listenToOthers(connection: Connection, scheme: string): Promise<void> {
    const { app, nodeName, logger, heartbeatInterval } = this.#facts;
    this.#gossip ??= new Gossip({
      app,
      nodeName,
      sender: this.#sender,
      logger,
      heartbeatSeconds: heartbeatInterval || HEARTBEAT_SECONDS,
    });
    try {
      await this.#gossip.listen(connection, scheme);
    } catch (error) {
      if (!this.#isClosed) logger.warn({ err: error }, 'The worker cannot hear its neighbours.');
    }
  }
}
