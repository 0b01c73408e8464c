import { openMemoryDriver } from '@lovage/core/memory';
import { type BrokerUrl, type ConnectOptions, type QueueDriver, virtualTransport } from '@lovage/core/transport';
import { replace, trip, type TransportFault } from './fault.ts';

type Driver = Awaited<ReturnType<typeof openMemoryDriver>>;
type Receipt = Driver extends QueueDriver<infer R> ? R : never;

function broken(
  members: (driver: Driver) => Partial<Driver>,
  changeUrl: (url: BrokerUrl, options: ConnectOptions) => ConnectOptions = (_, options) => options,
) {
  return virtualTransport<Receipt>({
    schemes: ['memory'],
    open: async (url, options) => {
      const driver = await openMemoryDriver(url, changeUrl(url, options));
      return replace(driver, members(driver));
    },
  });
}

/** A right one, whose every answer takes a trip. */
export const lateTransport = broken((driver) => ({
  push: async (entries) => {
    await trip();
    await driver.push(entries);
    await trip();
  },
  async pull(request) {
    await trip();
    const pulled = await driver.pull(request);
    await trip();
    return pulled;
  },
  settle: async (settlements) => {
    await trip();
    await driver.settle(settlements);
    await trip();
  },
  size: async (queue) => {
    await trip();
    return driver.size(queue);
  },
  ensureQueue: async (queue) => {
    await trip();
    await driver.ensureQueue(queue);
  },
}));

/** Waits in `pull` by queue, of all links: where two wait for one queue, a message can be taken twice. */
const waiting = new Map<string, number>();

/** Faults below core's virtual layer. */
export const driverFaults: readonly TransportFault[] = [
  {
    name: 'drops what was taken when the pull is aborted',
    fails: ['abort: cancel() at any moment loses nothing', 'abort: close() at any moment loses nothing'],
    // Any second consumer of a session aborts the pull of the first.
    mayFail: /./,
    transport: broken((driver) => ({
      async pull(request) {
        const pulled = await driver.pull(request);
        await trip();
        if (!request.signal.aborted) return pulled;
        await driver.settle(pulled.map(({ receipt }) => ({ receipt, outcome: 'ack' })));
        return [];
      },
    })),
  },
  {
    name: 'loses what is requeued',
    fails: [
      'abort: cancel() at any moment loses nothing',
      'abort: close() at any moment loses nothing',
      'admin: inspect() counts what waits, without what is unsettled',
      'admin: purge() drops what waits, says how much, and leaves the rest alone',
      'close: gives back what is unsettled, at once',
      'close: with work in flight and more arriving loses nothing',
      'malformed: it can be requeued, comes again with its bytes, and counts against the prefetch limit',
      'prefetch: after cancel() nothing comes, and what is unsettled can be settled',
      'priority: a requeued message keeps its level',
      'redelivery: a requeued message keeps body, headers, properties, exchange and routing key',
      'redelivery: the first delivery is not marked, and one after requeue is',
      'settle: a delivery of another session reaches no message of this one',
      'settle: many calls in one tick are all kept',
      'settle: one batch may hold every outcome, in any order',
      'settle: what is requeued can be taken by another session at once',
      'settle: what is requeued comes again, and nothing of it is lost',
      'settle: what is settled twice keeps its first outcome',
    ],
    transport: broken((driver) => ({
      settle: (settlements) => driver.settle(settlements.map(({ receipt }) => ({ receipt, outcome: 'ack' }))),
    })),
  },
  {
    name: 'gives one message to two that wait for it',
    fails: ['competing: two sessions share a queue, none taken twice, none lost'],
    mayFail: /^volume: |^competing: /,
    transport: broken((driver) => ({
      async pull(request) {
        for (const queue of request.queues) waiting.set(queue, (waiting.get(queue) ?? 0) + 1);
        const pulled = await driver.pull(request);
        for (const { queue, payload } of pulled) {
          if ((waiting.get(queue) ?? 0) < 2) continue;
          await driver.push([{ queue, payload: String(payload), deliveryTag: 'twice', priority: 0, delayMs: 0 }]);
          break;
        }
        for (const queue of request.queues) waiting.set(queue, (waiting.get(queue) ?? 1) - 1);
        return pulled;
      },
    })),
  },
  {
    name: 'claims priorities and ignores them',
    fails: ['priority: waiting messages leave in the order of their levels'],
    transport: broken((driver) => ({
      push: (entries) => driver.push(entries.map((entry) => ({ ...entry, priority: 0 }))),
    })),
  },
  {
    name: 'claims delays and ignores them',
    fails: [
      'delay: a delayed message comes after its delay, and one without before it',
      'delay: delayed messages come in the order of their times',
    ],
    transport: broken((driver) => ({
      push: (entries) => driver.push(entries.map((entry) => ({ ...entry, delayMs: 0 }))),
    })),
  },
  {
    name: 'never ends the lease of the dead',
    leaseMs: 1000,
    fails: [
      'lease: waiting for messages renews nothing of what others left',
      'redelivery: what a session held when it died comes again, marked, and what it acked does not',
    ],
    transport: broken(
      (driver) => ({ capabilities: { ...driver.capabilities, leaseMs: 1000 } }),
      (_, options) => ({ ...options, transportOptions: { leaseMs: 3_600_000 } }),
    ),
  },
  {
    name: 'extends no lease',
    leaseMs: 1000,
    fails: ['lease: a live session keeps what it holds, far beyond the lease'],
    // What is held for longer than a second while a test goes on.
    mayFail: /^lease: |^redelivery: |^delay: |^volume: /,
    transport: broken(() => ({ extendLease: async () => [] })),
  },
  {
    name: 'cuts payloads at 64 KiB of characters',
    fails: ['bodies: random bytes up to 1 MiB arrive as they were'],
    transport: broken((driver) => ({
      push: (entries) => driver.push(entries.map((entry) => ({ ...entry, payload: entry.payload.slice(0, 65_536) }))),
    })),
  },
  {
    name: 'does not count deliveries',
    fails: [
      'redelivery: the first delivery is not marked, and one after requeue is',
      'redelivery: what a session held when it died comes again, marked, and what it acked does not',
    ],
    transport: broken((driver) => ({
      async pull(request) {
        const pulled = await driver.pull(request);
        return pulled.map((one) => ({ ...one, deliveryCount: 1 }));
      },
    })),
  },
  {
    name: 'purges without saying how much',
    fails: ['admin: purge() drops what waits, says how much, and leaves the rest alone'],
    transport: broken((driver) => ({
      purge: async (queue) => {
        await driver.purge(queue);
        return 0;
      },
    })),
  },
  {
    name: 'loses the last of a large push',
    fails: [
      'competing: two consumers of one session share a queue, none taken twice, none lost',
      'prefetch: 0 is no limit',
      'publish: many calls in one tick all arrive, and each resolves',
      'settle: many calls in one tick are all kept',
      'volume: ten thousand messages, none lost and none twice',
    ],
    transport: broken((driver) => ({
      push: (entries) => driver.push(entries.length > 50 ? entries.slice(0, -1) : entries),
    })),
  },
];
