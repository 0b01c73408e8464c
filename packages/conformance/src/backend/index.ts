import type { Backend, BackendOptions, ChordPart } from '@lovage/core/backend';
import type { ConnectOptions, Transport } from '@lovage/core/transport';
import { registerSuite, type TestFunction } from '../suite.ts';
import type { UpstreamOptions } from '../upstream.ts';
import { chords } from './chords.ts';
import { close } from './close.ts';
import { documents } from './documents.ts';
import { expiry, forget, groups } from './keep.ts';
import { loss } from './loss.ts';
import { store } from './store.ts';
import { subscribe } from './subscribe.ts';
import { success } from './success.ts';
import { type BackendTest, BackendTrial } from './trial.ts';

export interface BackendConformanceOptions extends UpstreamOptions {
  readonly test: TestFunction;
  readonly backend: Backend;
  /** A store that the tests may write to. They use random task ids and forget them. */
  readonly url: string;
  /** For every store: `transportOptions`, `settings`, `codec` (default plain JSON), `logger`. */
  readonly open?: Partial<Pick<BackendOptions, 'transportOptions' | 'settings' | 'codec' | 'logger'>>;
  /** Where results are messages (`rpc://`): the broker they travel through. Each store gets a session of its own. */
  readonly broker?: {
    readonly transport: Transport;
    readonly url: string;
    readonly connect?: Omit<ConnectOptions, 'signal'>;
  };
  /** The shortest expiry that the store can keep; default 1 second. */
  readonly shortExpirySeconds?: number;
  /** Makes so many seconds pass for the store, where that can be had; else the test waits. */
  readonly passTime?: (seconds: number) => Promise<void>;
  /** Ends a part of a chord as a Python worker does, where the store counts parts and Celery counts them there too. */
  readonly pythonPart?: (groupId: string, part: ChordPart) => Promise<void>;
  /** What one test may take; default 60000. Those that take their time by nature have a multiple of it. */
  readonly deadlineMs?: number;
  /** Tests that are skipped, by name, with the reason that is reported. An unknown name is an error. */
  readonly skip?: Readonly<Record<string, string>>;
}

const TESTS: readonly BackendTest[] = [
  ...store,
  ...success,
  ...subscribe,
  ...forget,
  ...groups,
  ...documents,
  ...chords,
  ...expiry,
  ...loss,
  ...close,
];

/** The names of all tests, in their order. */
export const backendTestNames: readonly string[] = TESTS.map(({ name }) => name);

/**
 * Registers a test for each promise of the result store contract. Where `capabilities.shared` is false (results are
 * messages to one process) what needs a shared store is a skip with a reason, and groups have to be refused.
 *
 * @example
 * import { backendConformance } from '@lovage/conformance';
 * import { test } from 'vitest';
 *
 * backendConformance({ test, backend: redisBackend, url: 'redis://127.0.0.1:6379/15' });
 */
export function backendConformance(options: BackendConformanceOptions): void {
  registerSuite({
    test: options.test,
    tests: TESTS,
    skip: options.skip ?? {},
    deadlineMs: options.deadlineMs ?? 60_000,
    start: (deadline) => new BackendTrial(options, deadline),
  });
}
