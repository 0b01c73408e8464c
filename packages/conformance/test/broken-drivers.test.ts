import { AssertionError } from 'node:assert';
import { cutMemoryLinks, openMemoryDriver } from '@lovage/core/memory';
import { BrokerUrl } from '@lovage/core/transport';
import { describe, expect, test } from 'vitest';
import {
  backendConformance,
  backendTestNames,
  type TestFunction,
  transportConformance,
  transportTestNames,
} from '@lovage/conformance';
import { arrayBackend } from './broken-drivers/array-store.ts';
import { connectionFaults } from './broken-drivers/connections.ts';
import type { BackendFault, Fault, TransportFault } from './broken-drivers/fault.ts';
import { linkFaults } from './broken-drivers/links.ts';
import { driverFaults, lateTransport } from './broken-drivers/queue-drivers.ts';
import { backendFaults } from './broken-drivers/stores.ts';
import { openTcpBroker, tcpTransport } from './broken-drivers/tcp-broker.ts';

/** Of the tests that a fault breaks: short, because what it loses is waited for until then. */
const DEADLINE_MS = 4000;
/** Sockets and heartbeats take longer; those that wait for them have a multiple of it. */
const LINK_DEADLINE_MS = 5000;
/** Of the others, which must pass on a busy machine too. */
const PATIENT_MS = 60_000;
const AT_ONCE = 24;
const SUITES_AT_ONCE = 2;
const TIMEOUT_MS = 300_000;

interface Case {
  readonly name: string;
  readonly run: (...context: unknown[]) => Promise<void>;
}

let running = 0;
const waiting: (() => void)[] = [];

/** More suites at once would make each other late, which the kit would call a fault. */
async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  if (running >= SUITES_AT_ONCE) await new Promise<void>((resolve) => waiting.push(resolve));
  running++;
  try {
    return await work();
  } finally {
    running--;
    waiting.shift()?.();
  }
}

function isNamedFor({ fails, mayFail }: Fault, test: string): boolean {
  return fails.includes(test) || mayFail?.test(test) === true;
}

/** Runs a suite of the kit as a test runner does, many tests at a time; the failures by name. */
async function failuresOf(
  fault: Fault,
  shortMs: number,
  register: (test: TestFunction, deadlineMs: number) => void,
): Promise<Map<string, string>> {
  const cases: Case[] = [];
  for (const isNamed of [true, false]) {
    const take: TestFunction = (name, run) => void (isNamedFor(fault, name) === isNamed && cases.push({ name, run }));
    register(take, isNamed ? shortMs : PATIENT_MS);
  }
  const failures = new Map<string, string>();
  const queue = [...cases];
  const work = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      try {
        await next.run({ skip: () => {} });
      } catch (error) {
        failures.set(
          next.name,
          error instanceof AssertionError || error instanceof Error ? error.message : String(error),
        );
      }
    }
  };
  await inTurn(() => Promise.all(Array.from({ length: AT_ONCE }, work)));
  return failures;
}

function check(failures: Map<string, string>, fault: Fault): void {
  const { fails } = fault;
  const unexpected = [...failures].filter(([name]) => !isNamedFor(fault, name));
  expect(Object.fromEntries(unexpected), 'tests that failed without being named for the fault').toEqual({});
  expect([...failures.keys()].filter((name) => fails.includes(name)).toSorted()).toEqual(fails.toSorted());
}

const RIGHT = { fails: [], name: 'is right' };

function transportFailures(fault: TransportFault): Promise<Map<string, string>> {
  const url = `memory://${fault.name.replaceAll(/\W/g, '-')}`;
  return failuresOf(fault, DEADLINE_MS, (test, deadlineMs) =>
    transportConformance({
      test,
      deadlineMs,
      transport: fault.transport,
      url,
      connect: { transportOptions: { leaseMs: fault.leaseMs ?? 0, maxMessageBytes: fault.maxMessageBytes ?? 0 } },
      volume: 1000,
      crash: async (_, clientName) => void cutMemoryLinks(url, { clientName }),
      inject: async (queue, bytes) => {
        const driver = await openMemoryDriver(new BrokerUrl(url));
        const payload = Buffer.from(bytes).toString('utf8');
        await driver.push([{ queue, payload, deliveryTag: 'injected', priority: 0, delayMs: 0 }]);
        await driver.close();
      },
    }),
  );
}

async function linkFailures(fault: TransportFault, tests: RegExp): Promise<Map<string, string>> {
  const broker = await openTcpBroker(fault.name.replaceAll(/\W/g, '-'));
  try {
    return await failuresOf(fault, LINK_DEADLINE_MS, (test, deadlineMs) =>
      transportConformance({
        test: (name, run, timeoutMs) => (tests.test(name) ? test(name, run, timeoutMs) : undefined),
        transport: fault.transport,
        url: broker.url,
        deadlineMs,
        volume: 1000,
      }),
    );
  } finally {
    await broker.close();
  }
}

function backendFailures(fault: BackendFault): Promise<Map<string, string>> {
  const url = `cache+memory://${fault.name.replaceAll(/\W/g, '-')}`;
  const { backend } = fault;
  return failuresOf(fault, DEADLINE_MS, (test, deadlineMs) => backendConformance({ test, backend, url, deadlineMs }));
}

describe('the transport kit bites', () => {
  test.concurrent.each([...driverFaults, ...connectionFaults])(
    'a transport that $name',
    async (fault) => {
      for (const name of fault.fails) expect(transportTestNames).toContain(name);
      check(await transportFailures(fault), fault);
    },
    TIMEOUT_MS,
  );
});

describe('the transport kit bites where links break', () => {
  test.concurrent.each([...linkFaults])(
    'a transport that $name',
    async (fault) => {
      for (const name of fault.fails) expect(transportTestNames).toContain(name);
      check(await linkFailures(fault, /^loss: |^abort: connect|^close: |^redelivery: |^bodies: /), fault);
    },
    TIMEOUT_MS,
  );

  test.concurrent(
    'one that is right passes',
    async () => {
      check(await linkFailures({ ...RIGHT, name: 'tcp-right', transport: tcpTransport() }, /./), RIGHT);
    },
    TIMEOUT_MS,
  );
});

describe('the kit of result stores bites', () => {
  test.concurrent.each([...backendFaults])(
    'a store that $name',
    async (fault) => {
      for (const name of fault.fails) expect(backendTestNames).toContain(name);
      check(await backendFailures(fault), fault);
    },
    TIMEOUT_MS,
  );
});

describe('what is right passes, however late it answers', () => {
  test.concurrent.each([0, 1000])(
    'a transport, leased for %i ms',
    async (leaseMs) => {
      check(await transportFailures({ ...RIGHT, name: `late-${leaseMs}`, transport: lateTransport, leaseMs }), RIGHT);
    },
    TIMEOUT_MS,
  );

  test.concurrent.each([true, false])(
    'a store, notifying: %s',
    async (notifies) => {
      check(await backendFailures({ ...RIGHT, name: `late-${notifies}`, backend: arrayBackend({ notifies }) }), RIGHT);
    },
    TIMEOUT_MS,
  );
});
