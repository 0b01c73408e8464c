import type { Connection, ConnectOptions, Transport } from '@lovage/core/transport';
import { registerSuite, type TestFunction } from '../suite.ts';
import type { UpstreamOptions } from '../upstream.ts';
import { abort } from './abort.ts';
import { admin } from './admin.ts';
import { bodies } from './bodies.ts';
import { close } from './close.ts';
import { competing } from './competing.ts';
import { delay } from './delay.ts';
import { fanout } from './fanout.ts';
import { lease } from './lease.ts';
import { loss } from './loss.ts';
import { malformed } from './malformed.ts';
import { prefetch } from './prefetch.ts';
import { priority } from './priority.ts';
import { publish } from './publish.ts';
import { redelivery } from './redelivery.ts';
import { transportReport } from './report.ts';
import { routing } from './routing.ts';
import { settle } from './settle.ts';
import { type TransportTest, TransportTrial } from './trial.ts';
import { volume } from './volume.ts';

export interface TransportConformanceOptions extends UpstreamOptions {
  readonly test: TestFunction;
  readonly transport: Transport;
  /** A broker that the tests may fill and empty. They name their queues `lovage-kit-...` and remove them. */
  readonly url: string;
  /** For every session: `transportOptions`, `useSsl`, `logger` ... */
  readonly connect?: Omit<ConnectOptions, 'signal'>;
  /**
   * Ends a session as the death of its process would: nothing given back, nothing said. Default: its link is cut.
   * The session was opened with this `clientName`, which no other has.
   */
  readonly crash?: (connection: Connection, clientName: string) => Promise<void>;
  /**
   * `file:` URL of a built module that exports the transport, for the test in which another thread opens it while this
   * one stands still. Without it that test is skipped.
   */
  readonly module?: string;
  /** Puts bytes into a queue as they are, past any envelope. Without it the tests of malformed payloads are skipped. */
  readonly inject?: (queue: string, bytes: Uint8Array) => Promise<void>;
  /** The `leaseMs` of sessions in tests that wait for a lease to pass; default 1000. */
  readonly shortLeaseMs?: number;
  /** Messages of the test that loses none of so many; default 10000. */
  readonly volume?: number;
  /** What one test may take; default 60000. Those that take their time by nature have a multiple of it. */
  readonly deadlineMs?: number;
  /** Tests that are skipped, by name, with the reason that is reported. An unknown name is an error. */
  readonly skip?: Readonly<Record<string, string>>;
}

const TESTS: readonly TransportTest[] = [
  ...routing,
  ...bodies,
  ...prefetch,
  ...settle,
  ...competing,
  ...redelivery,
  ...lease,
  ...priority,
  ...delay,
  ...publish,
  ...abort,
  ...close,
  ...loss,
  ...admin,
  ...fanout,
  ...malformed,
  ...volume,
];

/** The names of all tests, in their order. */
export const transportTestNames: readonly string[] = TESTS.map(({ name }) => name);

/**
 * Registers a test for each promise of the transport contract. What the live session's `capabilities` claim is tried;
 * what they deny has to be refused with `UnsupportedError` or emulated. What cannot be tried is a skip with a reason.
 *
 * @example
 * import { transportConformance } from '@lovage/conformance';
 * import { test } from 'vitest';
 *
 * transportConformance({ test, transport: redisTransport, url: 'redis://127.0.0.1:6379/15' });
 */
export function transportConformance(options: TransportConformanceOptions): void {
  registerSuite({
    test: options.test,
    tests: TESTS,
    skip: options.skip ?? {},
    deadlineMs: options.deadlineMs ?? 60_000,
    start: (deadline) => new TransportTrial(options, deadline),
    ...transportReport(options.url),
  });
}
