import type { Lovage } from '../app/lovage.ts';
import { EventReceiver, type ReceivedEvent, type ReceiveOptions } from './receiver.ts';
import { EventSender } from './sender.ts';
import { ClusterState, type ClusterStateOptions } from './state.ts';

/** Called with an event as it comes. What it throws is logged. */
export type EventHandler = (event: ReceivedEvent) => void;

/** Events that an iteration holds for its reader; then the oldest are dropped. */
const MOST_UNREAD = 10_000;

/**
 * The events of workers and clients, Python's and this library's: `app.events`. Source: celery/app/events.py.
 *
 * @example
 * for await (const event of app.events.receive()) console.log(event.type, event.hostname)
 */
export class Events {
  readonly #app: Lovage;
  #sender: EventSender | undefined;

  constructor(app: Lovage) {
    this.#app = app;
  }

  /** A model of the cluster, to be fed with events: see {@link listen}. */
  state(options: ClusterStateOptions = {}): ClusterState {
    return new ClusterState(options);
  }

  /**
   * Calls the handler of each event's type, and the one named `*` for every event, until the result is closed or the
   * signal aborts. Resolves when events sent from now on arrive; rejects with `UnsupportedError` on a broker without
   * fanout.
   */
  async listen(
    handlers: Readonly<Record<string, EventHandler>>,
    options: ReceiveOptions = {},
  ): Promise<{ close(): Promise<void> }> {
    const byType = new Map(Object.entries(handlers));
    const all = byType.get('*');
    const call = (handler: EventHandler | undefined, event: ReceivedEvent): void => {
      try {
        handler?.(event);
      } catch (error) {
        this.#app.logger.error({ err: error, type: event.type }, 'An event handler failed.');
      }
    };
    const receiver = new EventReceiver(
      this.#app,
      (events) => {
        for (const event of events) {
          call(all, event);
          call(byType.get(event.type), event);
        }
      },
      options,
    );
    await receiver.start();
    const close = (): Promise<void> => receiver.close();
    options.signal?.addEventListener('abort', () => void close(), { once: true });
    return { close };
  }

  /** Events as they come, until the loop is left or the signal aborts. A slow reader misses the oldest ones. */
  async *receive(options: ReceiveOptions = {}): AsyncGenerator<ReceivedEvent, void, void> {
    const unread: ReceivedEvent[] = [];
    let wake: (() => void) | undefined;
    const receiver = new EventReceiver(
      this.#app,
      (events) => {
        for (const event of events) unread.push(event);
        if (unread.length > MOST_UNREAD) unread.splice(0, unread.length - MOST_UNREAD);
        wake?.();
      },
      options,
    );
    const end = (): void => wake?.();
    options.signal?.addEventListener('abort', end, { once: true });
    await receiver.start();
    try {
      while (options.signal?.aborted !== true) {
        const event = unread.shift();
        if (event !== undefined) yield event;
        else {
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      }
    } finally {
      options.signal?.removeEventListener('abort', end);
      await receiver.close();
    }
  }

  /** Sends an event of one's own as this process; never waits and never throws. Workers have senders of their own. */
  send(type: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.#own.send(type, fields);
  }

  /** Sends what waits. For {@link Lovage.close}. */
  async close(): Promise<void> {
    await this.#sender?.flush(500);
    this.#sender?.close();
  }

  get #own(): EventSender {
    return (this.#sender ??= new EventSender(this.#app, this.#app.nodeName));
  }
}
