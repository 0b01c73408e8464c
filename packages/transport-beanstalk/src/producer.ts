import {
  BrokerBlockedError,
  type LovageError,
  MessageTooLargeError,
  PublishError,
  type PublishFailure,
  type QueueEntry,
} from '@lovage/core/transport';
import type { BeanstalkLink } from './link.ts';
import { readStats, type Reply } from './replies.ts';
import { tubeOf } from './tubes.ts';

/** A wake-up is reserved and deleted at once. */
const WAKE_TTR_SECONDS = 60;

/** The connection that puts jobs and asks about tubes: it never waits in a reserve. */
export class Producer {
  readonly #link: BeanstalkLink;
  readonly #ttrSeconds: number;
  readonly #maxJobBytes: number;
  #used = 'default';

  constructor(link: BeanstalkLink, ttrSeconds: number, maxJobBytes: number) {
    this.#link = link;
    this.#ttrSeconds = ttrSeconds;
    this.#maxJobBytes = maxJobBytes;
  }

  /** Rejects with `PublishError` for what beanstalkd does not own. */
  async push(entries: readonly QueueEntry[]): Promise<void> {
    const replies = await Promise.all(
      entries.map(({ queue, payload, priority, delayMs }) =>
        this.#put(tubeOf(queue), payload, priority, Math.ceil(Math.max(0, delayMs) / 1000), this.#ttrSeconds),
      ),
    );
    const failures: PublishFailure[] = [];
    for (const [index, reply] of replies.entries()) {
      if (reply.word === 'INSERTED') continue;
      failures.push({ index, error: this.#failure(reply, entries[index] as QueueEntry) });
      // It is there, and nobody would ever get it.
      if (reply.word === 'BURIED') await this.#link.command(`delete ${reply.args[0]}`);
    }
    if (failures.length > 0) throw new PublishError(failures, entries.length);
  }

  /** Ends the wait of the connection that watches this tube. False: the server takes no jobs now. */
  async wake(tube: string): Promise<boolean> {
    const { word } = await this.#put(tube, tube, 0, 0, WAKE_TTR_SECONDS);
    return word === 'INSERTED';
  }

  /** Messages that wait, delayed ones included. */
  async size(queue: string): Promise<number> {
    const stats = await this.#statsOf(tubeOf(queue));
    return Number(stats.get('current-jobs-ready') ?? 0) + Number(stats.get('current-jobs-delayed') ?? 0);
  }

  /** Removes what is ready in a tube. */
  async empty(tube: string): Promise<void> {
    for (;;) {
      const found = await this.#peek('ready', tube);
      if (found === undefined) break;
      await this.#link.command(`delete ${found}`);
    }
    // A tube lives as long as somebody uses it.
    this.#use('default');
  }

  /** Removes what is delayed in the tube of a queue; how much it was. */
  async emptyDelayed(queue: string): Promise<number> {
    let count = 0;
    for (;;) {
      const found = await this.#peek('delayed', tubeOf(queue));
      if (found === undefined) return count;
      const { word } = await this.#link.command(`delete ${found}`);
      if (word === 'DELETED') count++;
    }
  }

  /** Removes jobs from tubes of this prefix that nobody watches any more. */
  async sweep(prefix: string): Promise<void> {
    const { body } = await this.#link.command('list-tubes');
    const tubes = (body?.toString('latin1') ?? '').split('\n').flatMap((line) => {
      const tube = /^- (.+)$/.exec(line)?.[1];
      return tube?.startsWith(prefix) === true ? [tube] : [];
    });
    for (const tube of tubes) {
      const stats = await this.#statsOf(tube);
      if (stats.get('current-watching') === '0' && stats.get('current-jobs-ready') !== '0') await this.empty(tube);
    }
  }

  async #statsOf(tube: string): Promise<ReadonlyMap<string, string>> {
    const { body } = await this.#link.command(`stats-tube ${tube}`);
    return body === undefined ? new Map() : readStats(body);
  }

  /** The number of the first job there. */
  async #peek(state: 'ready' | 'delayed', tube: string): Promise<string | undefined> {
    this.#use(tube);
    const { word, args } = await this.#link.command(`peek-${state}`);
    return word === 'FOUND' ? args[0] : undefined;
  }

  #put(tube: string, payload: string, priority: number, delaySeconds: number, ttrSeconds: number): Promise<Reply> {
    this.#use(tube);
    const bytes = Buffer.byteLength(payload);
    return this.#link.command(`put ${priority} ${delaySeconds} ${ttrSeconds} ${bytes}\r\n${payload}`);
  }

  /** Commands are answered in their order: what follows on this connection goes to this tube. */
  #use(tube: string): void {
    if (this.#used === tube) return;
    this.#used = tube;
    this.#link.command(`use ${tube}`).catch(() => undefined);
  }

  #failure({ word }: Reply, { queue, payload }: QueueEntry): LovageError {
    switch (word) {
      case 'JOB_TOO_BIG':
        return new MessageTooLargeError(
          `A message of ${Buffer.byteLength(payload)} bytes is more than the ${this.#maxJobBytes} bytes that beanstalkd takes (its option -z).`,
          { facts: { limitBytes: this.#maxJobBytes, queue } },
        );
      case 'DRAINING':
        return new BrokerBlockedError('beanstalkd is in drain mode and takes no messages.', { facts: { queue } });
      default:
        return new BrokerBlockedError(`beanstalkd did not take the message: ${word}.`, { facts: { queue } });
    }
  }
}
