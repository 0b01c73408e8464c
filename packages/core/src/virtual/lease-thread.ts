// The thread of `LeaseKeeping`: renews what a connection holds while the event loop of that connection stands still.
import { parentPort, workerData, type MessagePort } from 'node:worker_threads';
import { parseBrokerUrls } from '../transport/url.ts';
import type {
  LeaseKeeper,
  LeaseThreadData,
  LeaseThreadMessage,
  LeaseThreadRenewal,
  OpenLeaseKeeper,
} from './lease-keeper.ts';
import type { BrokerUrl } from '../transport/url.ts';

const port = parentPort as MessagePort;
const { module, url, options, leaseMs, byHolder, beats, renewals } = workerData as LeaseThreadData;
const SHORT_LEASE_MS = 5000;
/** The last renewal was up to a third of the lease ago when the loop stops: a third is left for this one. */
const LOOKS_PER_LEASE = 12;
const held = new Map<number, unknown>();
let holder: unknown;
let keeper: LeaseKeeper | undefined;
let isWorking = false;
let seen = -1;
let seenAt = performance.now();
let renewed: number | undefined;

port.on('message', (message: LeaseThreadMessage) => {
  holder = message.holder;
  for (const [number, receipt] of message.held) held.set(number, receipt);
  for (const number of message.released) held.delete(number);
});

setInterval(() => void look(), leaseMs / LOOKS_PER_LEASE);
// A short one leaves no time for that.
const staysOpen = leaseMs < SHORT_LEASE_MS;
if (staysOpen) {
  open().then(
    (opened) => void (keeper = opened),
    () => undefined, // tried again when it is needed
  );
}

async function look(): Promise<void> {
  const beat = Atomics.load(beats, 0);
  const now = performance.now();
  if (beat !== seen) {
    seen = beat;
    seenAt = now;
    if (renewed !== undefined) {
      port.postMessage({ renewed });
      renewed = undefined;
      if (!staysOpen) {
        await keeper?.close().catch(() => undefined);
        keeper = undefined;
      }
    }
    return;
  }
  if (now - seenAt < leaseMs / 4 || isWorking) return;
  // By the holder, what was taken last is renewed too, though it is not known here yet.
  if (byHolder ? holder === undefined : held.size === 0) return;
  isWorking = true;
  Atomics.store(beats, 2, 1);
  try {
    // It may have come back since: then it does not expect us.
    if (Atomics.load(beats, 0) !== beat) return;
    keeper ??= await open();
    const numbers = [...held.keys()];
    const askedAt = performance.timeOrigin + performance.now();
    const forms = (await keeper.extend(holder, [...held.values()])) ?? undefined;
    const answeredAt = performance.timeOrigin + performance.now();
    const renewal: LeaseThreadRenewal = { numbers, forms, askedAt, answeredAt };
    renewals.postMessage(renewal);
    Atomics.add(beats, 1, 1);
    for (const [index, number] of numbers.entries()) {
      const form = forms?.[index];
      if (forms !== undefined && held.has(number) && form !== null) held.set(number, form);
    }
    renewed = forms === undefined ? numbers.length : forms.filter((form) => form !== null).length;
  } catch (error) {
    port.postMessage({ error: error instanceof Error ? error.message : String(error) });
    await keeper?.close().catch(() => undefined);
    keeper = undefined;
  } finally {
    isWorking = false;
    Atomics.store(beats, 2, 0);
  }
}

async function open(): Promise<LeaseKeeper> {
  const { openLeaseKeeper } = (await import(module)) as { openLeaseKeeper: OpenLeaseKeeper<unknown, unknown> };
  return openLeaseKeeper(parseBrokerUrls(url)[0] as BrokerUrl, options);
}
