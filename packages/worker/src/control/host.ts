import type { Logger, Lovage, NamedQueueOptions, QueueDefinition } from '@lovage/core';
import type { Clock } from '../clock.ts';
import type { Dispatcher } from '../consumer/dispatcher.ts';
import type { Worker } from '../worker.ts';

/** The parts of a worker's events that commands change. */
export interface EventSwitch {
  /** Whether task events are sent. */
  readonly sendsTaskEvents: boolean;
  enableTaskEvents(): void;
  disableTaskEvents(): void;
  /** A heartbeat out of turn. */
  heartbeat(): void;
}

/** What commands see of the worker that carries them out. */
export interface WorkerParts {
  readonly app: Lovage;
  readonly worker: Worker;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Monotonic. */
  readonly startedAt: number;
  dispatcher(): Dispatcher | undefined;
  queues(): readonly QueueDefinition[];
  addQueue(queue: string | NamedQueueOptions): Promise<void>;
  cancelQueue(name: string): Promise<void>;
}

export interface PanelHost extends WorkerParts {
  readonly events: EventSwitch;
  /** Starts an election; nothing happens where the worker does not gossip. */
  elect(id: string, topic: string, action: unknown): void;
}
