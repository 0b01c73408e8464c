import type { Queue } from '../transport/topology.ts';

export interface ListenerQueueSettings {
  readonly durable: boolean;
  readonly exclusive: boolean;
  /** Seconds without a consumer, after which the queue goes; null: none. */
  readonly expires: number | null;
  /** Seconds that a message waits at most; null: none. */
  readonly ttl: number | null;
}

/** The queue of one who listens: for events, commands or answers. Source: kombu/pidbox.py, celery/events/receiver.py. */
export function listenerQueue(name: string, { durable, exclusive, expires, ttl }: ListenerQueueSettings): Queue {
  return {
    name,
    durable,
    exclusive,
    autoDelete: !durable,
    arguments: {
      ...(expires === null ? {} : { 'x-expires': Math.trunc(expires * 1000) }),
      ...(ttl === null ? {} : { 'x-message-ttl': Math.trunc(ttl * 1000) }),
    },
  };
}
