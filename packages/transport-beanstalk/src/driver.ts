import {
  type BrokerUrl,
  type Capabilities,
  type ConnectOptions,
  type Logger,
  type Pulled,
  type PullRequest,
  type QueueDriver,
  type QueueEntry,
  type ReceiptSettlement,
  silentLogger,
} from '@lovage/core/transport';
import { type BeanstalkLink, openLink } from './link.ts';
import { type DriverSettings, readSettings } from './options.ts';
import { Producer } from './producer.ts';
import { type Job, Taker, WAKE_TUBE_PREFIX } from './taker.ts';
import { tubeOf } from './tubes.ts';

/** Ten years; beanstalkd counts seconds in 32 bits. */
const MAX_DELAY_MS = 315_360_000_000;
/** beanstalkd's own default, where it does not tell. */
const DEFAULT_MAX_JOB_BYTES = 65_535;
const MOST_PER_PURGE = 50;

/** A job that this connection holds. */
export class BeanstalkReceipt {
  readonly id: string;
  readonly priority: string;
  readonly ttrMs: number;
  renewedAt: number;

  constructor({ id, priority, ttrMs, reservedAt }: Job) {
    this.id = id;
    this.priority = priority;
    this.ttrMs = ttrMs;
    this.renewedAt = reservedAt;
  }

  /** beanstalkd may have given it to somebody else. */
  isExpired(now: number): boolean {
    return now - this.renewedAt > this.ttrMs;
  }
}

/** Opens a driver. Rejects with `ConnectError`, `ConfigError` or `UnsupportedError`. */
export async function openBeanstalkDriver(url: BrokerUrl, options: ConnectOptions): Promise<BeanstalkDriver> {
  const { signal, logger = silentLogger } = options;
  const settings = readSettings(url, options);
  const { link, stats } = await openLink(settings, signal);
  return new BeanstalkDriver(link, settings, stats, logger);
}

/** Queues as tubes, in the layout of Kombu 3: a job is an envelope, its priority is the message's. */
export class BeanstalkDriver implements QueueDriver<BeanstalkReceipt> {
  readonly capabilities: Capabilities;
  readonly lost: Promise<never>;
  readonly #settings: DriverSettings;
  readonly #logger: Logger;
  readonly #link: BeanstalkLink;
  readonly #producer: Producer;
  readonly #held = new Set<BeanstalkReceipt>();
  #rejectLost!: (error: unknown) => void;
  #taker: Promise<Taker> | undefined;
  #takerLink: BeanstalkLink | undefined;
  #renewal: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(link: BeanstalkLink, settings: DriverSettings, stats: ReadonlyMap<string, string>, logger: Logger) {
    this.#link = link;
    this.#settings = settings;
    this.#logger = logger;
    const maxJobBytes = Number(stats.get('max-job-size')) || DEFAULT_MAX_JOB_BYTES;
    this.#producer = new Producer(link, settings.ttrSeconds, maxJobBytes);
    this.lost = new Promise<never>((_, reject) => {
      this.#rejectLost = reject;
    });
    this.lost.catch(() => undefined);
    link.lost.catch((error: unknown) => this.#lose(error));
    this.capabilities = {
      fanout: false,
      priorityLevels: 10,
      servesFirst: 'lowest',
      maxDelayMs: MAX_DELAY_MS,
      leaseMs: settings.ttrSeconds * 1000,
      maxMessageBytes: maxJobBytes,
      guarantee: describeGuarantee(stats),
    };
  }

  /** A tube exists as soon as it is named. */
  async ensureQueue(): Promise<void> {}

  async removeQueue(name: string): Promise<void> {
    await this.purge(name);
  }

  push(entries: readonly QueueEntry[]): Promise<void> {
    return this.#producer.push(entries);
  }

  async pull({ queues, max, waitMs, signal }: PullRequest): Promise<readonly Pulled<BeanstalkReceipt>[]> {
    const taker = await (this.#taker ??= this.#openTaker());
    const byTube = new Map(queues.map((queue) => [tubeOf(queue), queue]));
    const tubes = [...byTube.keys()];
    let jobs = await taker.takeReady(tubes, max);
    if (jobs.length === 0 && waitMs > 0) jobs = await taker.waitForOne(tubes, waitMs, signal);
    return jobs.map((job) => {
      const receipt = new BeanstalkReceipt(job);
      this.#held.add(receipt);
      if (job.ttrMs < this.capabilities.leaseMs) this.#renewSoon(job.ttrMs);
      return {
        queue: byTube.get(job.tube) ?? job.tube,
        payload: job.body,
        receipt,
        deliveryCount: job.reserves,
      };
    });
  }

  async settle(settlements: readonly ReceiptSettlement<BeanstalkReceipt>[]): Promise<void> {
    const taker = await this.#taker;
    const now = performance.now();
    const commands: string[] = [];
    for (const { receipt, outcome } of settlements) {
      this.#held.delete(receipt);
      // It may be ready again, or be given back by somebody else: anybody could delete it then.
      if (receipt.isExpired(now)) continue;
      commands.push(outcome === 'ack' ? `delete ${receipt.id}` : `release ${receipt.id} ${receipt.priority} 0`);
    }
    if (taker === undefined || commands.length === 0) return;
    const replies = await taker.run(commands);
    const buried = replies.flatMap(({ word }, index) => (word === 'BURIED' ? [commands[index]?.split(' ')[1]] : []));
    if (buried.length === 0) return;
    this.#logger.warn({ jobs: buried }, 'beanstalkd is out of memory and set jobs aside; asking it to take them back');
    await taker.run(buried.map((id) => `kick-job ${id}`));
  }

  async extendLease(receipts: readonly BeanstalkReceipt[]): Promise<readonly BeanstalkReceipt[]> {
    const taker = await this.#taker;
    if (taker === undefined) return receipts;
    const askedAt = performance.now();
    const replies = await taker.run(receipts.map(({ id }) => `touch ${id}`));
    return receipts.filter((receipt, index) => {
      if (replies[index]?.word === 'TOUCHED') {
        receipt.renewedAt = askedAt;
        return false;
      }
      this.#held.delete(receipt);
      return true;
    });
  }

  size(queue: string): Promise<number> {
    return this.#producer.size(queue);
  }

  /** By a connection of its own, so that what is reserved to be dropped goes back should this process die. */
  async purge(queue: string): Promise<number> {
    const { link } = await openLink(this.#settings);
    try {
      let dropped = 0;
      const tube = tubeOf(queue);
      if (tube !== 'default') {
        // A loss is told by the reserves that follow.
        Promise.all([link.command(`watch ${tube}`), link.command('ignore default')]).catch(() => undefined);
      }
      for (let isEmpty = false; !isEmpty; ) {
        const reserves = Array.from({ length: MOST_PER_PURGE }, () => link.command('reserve-with-timeout 0'));
        const jobs = (await Promise.all(reserves)).filter(({ word }) => word === 'RESERVED');
        await Promise.all(jobs.map(({ args }) => link.command(`delete ${args[0]}`)));
        dropped += jobs.length;
        isEmpty = jobs.length < MOST_PER_PURGE;
      }
      return dropped + (await this.#producer.emptyDelayed(queue));
    } finally {
      link.close();
    }
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#renewal);
    // Opened late, it closes itself.
    if (this.#takerLink !== undefined) await this.#taker?.then((taker) => taker.close()).catch(() => undefined);
    this.#link.close();
  }

  async #openTaker(): Promise<Taker> {
    let link: BeanstalkLink;
    try {
      ({ link } = await openLink(this.#settings));
    } catch (error) {
      // A driver that can publish but not fetch would go on as if all were well.
      this.#link.fail(error);
      return Promise.reject(await this.lost.catch((loss: Error) => loss));
    }
    if (this.#isClosed) link.close();
    this.#takerLink = link;
    link.lost.catch((error: unknown) => this.#lose(error));
    this.#producer.sweep(WAKE_TUBE_PREFIX).catch(() => undefined); // tidiness alone
    return new Taker({
      link,
      producer: this.#producer,
      ttrSeconds: this.#settings.ttrSeconds,
      onDeadline: async () => {
        await this.extendLease([...this.#held]);
      },
    });
  }

  /** One life for both links. */
  #lose(error: unknown): void {
    if (this.#isClosed) return;
    clearTimeout(this.#renewal);
    this.#link.fail(error);
    this.#takerLink?.fail(error);
    this.#rejectLost(error);
  }

  /** Jobs of producers with a shorter lease are renewed more often than core does it. */
  #renewSoon(ttrMs: number): void {
    if (this.#renewal !== undefined || this.#isClosed) return;
    this.#renewal = setTimeout(() => {
      this.#renewal = undefined;
      const short = [...this.#held].filter((receipt) => receipt.ttrMs < this.capabilities.leaseMs);
      if (short.length === 0) return;
      this.extendLease(short).catch(() => undefined); // what is gone shows at the next renewal by core
      this.#renewSoon(Math.min(...short.map((receipt) => receipt.ttrMs)));
    }, ttrMs / 3).unref();
  }
}

function describeGuarantee(stats: ReadonlyMap<string, string>): string {
  const version = stats.get('version') ?? '';
  return Number(stats.get('binlog-current-index') ?? 0) > 0
    ? `beanstalkd ${version} with a binlog: a crash of the server loses nothing; a power loss may lose what its option -f allows (default 50 ms)`
    : `beanstalkd ${version} without a binlog (-b): a restart of the server loses all messages`;
}
