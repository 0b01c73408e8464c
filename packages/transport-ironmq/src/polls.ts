import { setTimeout as sleep } from 'node:timers/promises';
import type { IronQueues, Reserved } from './queues.ts';

/** A message that comes at the very end of this is another's after its reservation only. */
const GRACE_MS = 100;

interface Poll {
  readonly done: Promise<readonly Reserved[]>;
  /** Somebody waits for it. Else what it brings goes back. */
  isWanted: boolean;
}

/**
 * Requests that wait at the server for messages, one per queue. Such a request cannot be called back: one that is cut
 * may have reserved a message that nobody learns of, until its time is over. So who stops waiting leaves it, the next
 * one who waits for the same queue takes it over, and what it brings to nobody is released.
 */
export class Polls {
  readonly #queues: IronQueues;
  readonly #waitSeconds: number;
  readonly #giveBack: (queue: string, messages: readonly Reserved[]) => Promise<void>;
  readonly #polls = new Map<string, Poll>();
  readonly #returning = new Set<Promise<void>>();
  readonly #end = new AbortController();

  /** `giveBack` never rejects. */
  constructor(
    queues: IronQueues,
    waitSeconds: number,
    giveBack: (queue: string, messages: readonly Reserved[]) => Promise<void>,
  ) {
    this.#queues = queues;
    this.#waitSeconds = waitSeconds;
    this.#giveBack = giveBack;
  }

  /** What comes to this queue within the wait, or nothing on abort. It may be more than `count`. */
  async wait(queue: string, count: number, signal: AbortSignal): Promise<readonly Reserved[]> {
    const poll = this.#polls.get(queue) ?? this.#start(queue, count);
    poll.isWanted = true;
    let onAbort = (): void => {};
    const aborted = new Promise<readonly Reserved[]>((resolve) => {
      onAbort = () => {
        poll.isWanted = false;
        resolve([]);
      };
      signal.addEventListener('abort', onAbort, { once: true });
      if (signal.aborted) onAbort();
    });
    try {
      return await Promise.race([poll.done, aborted]);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Gives what is on its way a moment to come, and to go back; then cuts what still waits. */
  async stop(): Promise<void> {
    for (const poll of this.#polls.values()) poll.isWanted = false;
    const ended = Promise.all([...this.#polls.values()].map(({ done }) => done)).then(() =>
      Promise.all(this.#returning),
    );
    const late = new AbortController();
    await Promise.race([ended, sleep(GRACE_MS, undefined, { signal: late.signal }).catch(() => undefined)]);
    late.abort();
    this.#end.abort();
    await Promise.all(this.#returning);
  }

  #start(queue: string, count: number): Poll {
    const poll: Poll = {
      isWanted: true,
      done: this.#queues.reserve(queue, count, this.#waitSeconds, this.#end.signal).then(
        (messages) => {
          this.#polls.delete(queue);
          if (poll.isWanted || messages.length === 0) return messages;
          const returning = this.#giveBack(queue, messages).finally(() => this.#returning.delete(returning));
          this.#returning.add(returning);
          return [];
        },
        (error: unknown) => {
          this.#polls.delete(queue);
          if (!poll.isWanted || this.#end.signal.aborted) return [];
          throw error;
        },
      ),
    };
    this.#polls.set(queue, poll);
    return poll;
  }
}
