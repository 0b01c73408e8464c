import { describe, expect, test } from 'vitest';
import { ConfigError, ConnectError, ConnectionLostError } from '@lovage/core';
import { cutMemoryLinks } from '@lovage/core/memory';
import { gate, openBench, STOP_MS, until, within } from '../test/support/bench.ts';
import { ManualClock } from '../test/support/manual-clock.ts';
import { faultyTransport, gatedBackend } from '../test/support/faults.ts';

describe('a consumer that ends', () => {
  test('is started again once, whoever does it', async () => {
    const { transport, faults } = faultyTransport();
    const clock = new ManualClock();
    const bench = openBench({ transports: [transport] });
    const task = bench.app.task('task', () => 1);
    const worker = await bench.worker({ clock, remoteControl: false, gossip: false });
    const [first] = faults.consumers;
    await first?.cancel();
    await until(() => clock.timers > 0, 'the pause before it is started again');
    await worker.addConsumer('more');
    expect(faults.consumers.size).toBe(1);
    clock.advance(10_000);
    expect(await (await task.delay()).get({ timeout: 25 })).toBe(1);
    await worker.cancelConsumer('more');
    expect(faults.consumers.size).toBe(1);
    const [third] = faults.consumers;
    await third?.cancel();
    await until(() => clock.timers > 0, 'the pause before it is started again');
    clock.advance(10_000);
    expect(await (await task.delay()).get({ timeout: 25 })).toBe(1);
    expect(faults.consumers.size).toBe(1);
  });
});

describe('a lost connection', () => {
  test('what runs goes on; its message comes again and is settled, not run again', async () => {
    const bench = openBench();
    const { opened, open } = gate();
    let runs = 0;
    const slow = bench.app.task('slow', async () => {
      runs++;
      await opened;
      return 'done';
    });
    await bench.worker();
    const result = await slow.delay();
    await until(() => runs === 1, 'the start');
    expect(cutMemoryLinks(bench.broker, { clientName: 'bench:read' })).toBe(1);
    await until(() => bench.lines.some(({ message }) => message.endsWith('and goes on.')), 'the second delivery');
    open();
    expect(await result.get({ timeout: 25 })).toBe('done');
    await until(async () => (await bench.size()) === 0, 'an empty queue');
    expect(runs).toBe(1);
    expect(bench.lines.filter(({ level }) => level === 'error')).toEqual([]);
  });

  test('an acknowledgement that comes too late is no error, and the message is delivered again', async () => {
    const bench = openBench();
    const ran = gate();
    let runs = 0;
    const task = bench.app.task('task', async () => {
      runs++;
      if (runs === 1) {
        cutMemoryLinks(bench.broker, { clientName: 'bench:read' });
        ran.open();
      }
    });
    await bench.worker();
    const { id } = await task.delay();
    await within(ran.opened, 'the run');
    expect((await bench.meta(id)).status).toBe('SUCCESS');
    await until(async () => (await bench.size()) === 0, 'an empty queue');
    expect(bench.lines.filter(({ level }) => level === 'error')).toEqual([]);
  });

  test('five cuts under load: nothing is lost, and no effect twice while its task runs', async () => {
    const bench = openBench();
    const effects = new Map<number, number>();
    const running = new Set<number>();
    let overlaps = 0;
    const work = bench.app.task('work', async (n: number) => {
      if (running.has(n)) overlaps++;
      running.add(n);
      effects.set(n, (effects.get(n) ?? 0) + 1);
      await new Promise<void>((resolve) => setImmediate(resolve));
      running.delete(n);
    });
    await bench.worker({ concurrency: 10, prefetchMultiplier: 2 });
    const ids: string[] = [];
    for (let round = 0; round < 5; round++) {
      const sent = await Promise.all(Array.from({ length: 60 }, (_, n) => work.delay(round * 60 + n)));
      ids.push(...sent.map(({ id }) => id));
      cutMemoryLinks(bench.broker, { clientName: 'bench:read' });
    }
    await Promise.all(ids.map((id) => bench.meta(id)));
    await until(async () => (await bench.size()) === 0, 'an empty queue');
    expect(effects.size).toBe(300);
    expect(overlaps).toBe(0);
  });

  test('ETA tasks are held again after it, once', async () => {
    const bench = openBench();
    const note = bench.app.task('note', () => 1);
    const worker = await bench.worker();
    for (let n = 0; n < 5; n++) await note.applyAsync([], { countdown: 100 });
    await until(() => worker.scheduled.length === 5, 'five held');
    cutMemoryLinks(bench.broker, { clientName: 'bench:read' });
    const received = () => bench.lines.filter(({ message }) => message.endsWith('received')).length;
    await until(() => received() === 10, 'ten deliveries');
    expect(worker.scheduled.length).toBe(5);
  });
});

describe('a lost lease', () => {
  test('aborts the task, stores nothing and settles nothing', async () => {
    const { transport, faults } = faultyTransport();
    const bench = openBench({ transports: [transport] });
    const begun = gate();
    let reason: unknown;
    const task = bench.app.task('task', { bind: true }, async ({ signal }) => {
      begun.open();
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
      reason = signal.reason;
      return 'a zombie speaks';
    });
    const worker = await bench.worker({ concurrency: 1, prefetchMultiplier: 3 });
    const results = [await task.delay(), await task.delay()];
    await within(begun.opened, 'the start');
    await until(() => worker.reserved.length === 1, 'one waiting');
    faults.loseLeases();
    await until(() => worker.active.length === 0, 'the end');
    expect(reason).toMatchObject({ code: 'ERR_LEASE_LOST' });
    expect(worker.reserved).toEqual([]);
    expect(faults.settled).toEqual([]);
    const backend = await bench.app.requireBackend('test');
    expect(await backend.load(results.map(({ id }) => id))).toEqual([undefined, undefined]);
  });
});

describe('a store that is away', () => {
  test('the message is settled only after the result is kept', async () => {
    let isAway = true;
    const backend = gatedBackend(() => (isAway ? Promise.reject(new ConnectionLostError('away')) : Promise.resolve()));
    const { transport, faults } = faultyTransport();
    const bench = openBench({ backends: [backend], transports: [transport] });
    let runs = 0;
    const task = bench.app.task('task', () => ++runs);
    const worker = await bench.worker();
    const { id } = await task.delay();
    await until(
      () => bench.lines.some(({ message }) => message.startsWith('The result store did not take')),
      'the first try',
    );
    expect(worker.active.length).toBe(1);
    expect(faults.settled).toEqual([]);
    isAway = false;
    expect((await bench.meta(id)).result).toBe(1);
    await until(() => faults.settled.length === 1, 'the settlement');
    expect(faults.settled).toEqual(['ack']);
    expect(runs).toBe(1);
  });

  test('after the deadline the message goes back and the task runs again', async () => {
    let isAway = true;
    const backend = gatedBackend(() => (isAway ? Promise.reject(new ConnectionLostError('away')) : Promise.resolve()));
    const bench = openBench({ backends: [backend] });
    let runs = 0;
    const task = bench.app.task('task', () => {
      if (++runs === 2) isAway = false;
      return runs;
    });
    await bench.worker({ resultDeadlineMs: 50 });
    const { id } = await task.delay();
    expect((await bench.meta(id)).result).toBe(2);
    await until(async () => (await bench.size()) === 0, 'an empty queue');
  });

  test('does not keep a task from being retried', async () => {
    const backend = gatedBackend(() => Promise.reject(new ConnectionLostError('away')));
    const bench = openBench({ backends: [backend] });
    const again = gate();
    const flaky = bench.app.task('flaky', { bind: true }, (task) => {
      if (task.request.retries === 0) task.retry({ countdown: 0 });
      again.open();
    });
    await bench.worker({ resultDeadlineMs: 50 });
    await flaky.delay();
    await within(again.opened, 'the next attempt');
  });

  test('stopping does not wait for it, and the message goes back', async () => {
    const backend = gatedBackend(() => Promise.reject(new ConnectionLostError('away')));
    const bench = openBench({ backends: [backend] });
    const ran = gate();
    const errback = bench.app.task('errback', (id: string) => id);
    const task = bench.app.task('task', () => ran.open());
    const worker = await bench.worker();
    await task.applyAsync([], { linkError: errback.s() });
    await within(ran.opened, 'the run');
    const before = performance.now();
    await worker.stop('warm', { graceMs: 200 });
    expect(performance.now() - before).toBeLessThan(STOP_MS);
    expect(await bench.size()).toBe(1);
  });
});

describe('states of a task that goes on in another message are kept before that is published', () => {
  function setUp() {
    const seen: string[] = [];
    const backend = gatedBackend(async () => {
      for (let turn = 0; turn < 5; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
      seen.push('stored');
    });
    const { transport, faults } = faultyTransport();
    const bench = openBench({ backends: [backend], transports: [transport] });
    faults.refuse = (queue) => {
      if (queue === 'celery') seen.push('published');
      return undefined;
    };
    return { bench, seen };
  }

  test('a retry', async () => {
    const { bench, seen } = setUp();
    const flaky = bench.app.task('flaky', { bind: true }, (task) => {
      if (task.request.retries === 0) task.retry({ countdown: 0 });
    });
    await bench.worker();
    const { id } = await flaky.delay();
    expect((await bench.meta(id)).status).toBe('SUCCESS');
    expect(seen).toEqual(['published', 'stored', 'published', 'stored']);
  });

  test('a replacement', async () => {
    const { bench, seen } = setUp();
    const other = bench.app.task('other', () => 1);
    const replace = bench.app.task('replace', { bind: true }, (task) => {
      void task.progress(0.5);
      return task.replace(other.s());
    });
    await bench.worker();
    const { id } = await replace.delay();
    expect((await bench.meta(id)).status).toBe('SUCCESS');
    expect(seen).toEqual(['published', 'stored', 'published', 'stored']);
  });
});

describe('a broker that does not take what follows', () => {
  test('a passing fault gives the message back; what follows is sent when it runs again', async () => {
    const { transport, faults } = faultyTransport();
    const bench = openBench({ transports: [transport], publishTimeoutSeconds: 1, taskPublishRetry: false });
    let runs = 0;
    const first = bench.app.task('first', () => ++runs);
    const next = bench.app.task('next', (n: number) => n * 10);
    let refusals = 0;
    faults.refuse = (queue) => (queue === 'other' && ++refusals <= 2 ? new ConnectionLostError('no') : undefined);
    await bench.worker({ queues: ['celery', 'other'] });
    const link = next.s().set({ queue: 'other' }).freeze();
    await first.applyAsync([], { link });
    expect((await bench.meta(link.options.taskId as string)).result).toBe(30);
    expect(runs).toBe(3);
    expect(faults.settled.filter((outcome) => outcome === 'requeue').length).toBe(2);
  });

  test('a retry that cannot be published leaves the message where it is', async () => {
    const { transport, faults } = faultyTransport();
    const bench = openBench({ transports: [transport], taskPublishRetry: false });
    let runs = 0;
    const flaky = bench.app.task('flaky', { bind: true }, (task) => {
      if (++runs === 1) {
        let refused = false;
        faults.refuse = () => {
          if (refused) return undefined;
          refused = true;
          return new ConnectionLostError('no');
        };
        task.retry({ countdown: 0 });
      }
      return task.request.retries;
    });
    await bench.worker();
    expect(await (await flaky.delay()).get({ timeout: 25 })).toBe(0);
    expect(runs).toBe(2);
  });

  test('a dead letter that is refused is tried again, and the original stays until then', async () => {
    const { transport, faults } = faultyTransport();
    const bench = openBench({ transports: [transport] });
    let refusals = 0;
    faults.refuse = (queue) =>
      queue === 'celery.dead' && ++refusals <= 1
        ? new ConnectionLostError('no', { facts: { code: 'ERR_BLOCKED' } })
        : undefined;
    await bench.worker();
    await bench.raw({ headers: { task: 7 } });
    const dead = await bench.take('celery.dead');
    expect(dead.headers['x-lovage-reason']).toBe('invalid-message');
    expect(refusals).toBe(2);
  });
});

describe('a half-open broker', () => {
  test.each(['warm', 'soft', 'cold'] as const)('%s stop ends within the grace and two seconds', async (kind) => {
    const { transport, faults } = faultyTransport();
    const bench = openBench({ transports: [transport] });
    const begun = gate();
    const deaf = bench.app.task('deaf', () => {
      begun.open();
      return new Promise<never>(() => {});
    });
    const worker = await bench.worker({ concurrency: 1, prefetchMultiplier: 5 });
    for (let n = 0; n < 3; n++) await deaf.delay();
    await within(begun.opened, 'the start');
    faults.isStalled = true;
    const before = performance.now();
    await worker.stop(kind, { graceMs: 100 });
    expect(performance.now() - before).toBeLessThan(STOP_MS);
    expect(worker.state).toBe('closed');
    faults.isStalled = false;
  });

  test('a worker that never got a connection stops at once', async () => {
    const { transport } = faultyTransport();
    const bench = openBench({ transports: [{ ...transport, connect: () => new Promise(() => {}) }] });
    bench.app.task('task', () => 1);
    const starting = bench.worker();
    starting.catch(() => {});
    const before = performance.now();
    await until(() => bench.workers[0]?.state === 'running', 'the start');
    await bench.workers[0]?.stop('warm');
    expect(performance.now() - before).toBeLessThan(STOP_MS);
    await expect(starting).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    await bench.workers[0]?.done;
  });

  test('what is under way beside tasks is given up when the worker stops', async () => {
    let tries = 0;
    const away = () => {
      tries++;
      return Promise.reject(new ConnectionLostError('The store is away.'));
    };
    const bench = openBench({ backends: [gatedBackend(away)] });
    const task = bench.app.task('task', () => 1);
    const clock = new ManualClock();
    const worker = await bench.worker({ clock, remoteControl: false, gossip: false });
    worker.revoke(['revoked']);
    await task.applyAsync([], { taskId: 'revoked' });
    await until(() => bench.lines.some(({ message }) => message.startsWith('The result store did not')), 'a try');
    const stopped = worker.stop('cold');
    await until(() => {
      clock.advance(100);
      return worker.state === 'closed';
    }, 'the end');
    await stopped;
    const before = tries;
    for (let turns = 0; turns < 20; turns++) {
      clock.advance(1000);
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    expect(tries).toBe(before);
    expect(clock.timers).toBe(0);
    expect(await bench.size()).toBe(1);
  });

  test('a worker that is stopped while its broker refuses it has not failed', async () => {
    const { transport } = faultyTransport();
    let refuse!: (error: Error) => void;
    const refused = new Promise<never>((_, reject) => {
      refuse = reject;
    });
    let isAsked = false;
    const connect = () => {
      isAsked = true;
      return refused;
    };
    const bench = openBench({ transports: [{ ...transport, connect }] });
    bench.worker().catch(() => {});
    await until(() => isAsked, 'the start');
    const stopped = bench.workers[0]?.stop('warm');
    refuse(new ConfigError('no such virtual host'));
    await stopped;
    await bench.workers[0]?.done;
    expect(bench.lines.map(({ message }) => message)).not.toContain('The worker cannot work and stops.');
  });

  test('a worker whose broker stays away ends after brokerConnectionMaxRetries', async () => {
    const { transport } = faultyTransport();
    let isAway = false;
    const connect: typeof transport.connect = (...call) => {
      if (!isAway) return transport.connect(...call);
      return Promise.reject(new ConnectError('nobody listens'));
    };
    const bench = openBench({ transports: [{ ...transport, connect }], brokerConnectionMaxRetries: 2 });
    const worker = await bench.worker();
    isAway = true;
    expect(cutMemoryLinks(bench.broker, { clientName: 'bench:read' })).toBe(1);
    await expect(within(worker.done, 'the end of the worker')).rejects.toThrow('could not be reached in 3 tries');
    // Under the name that pino shows errors by.
    expect(bench.lines.find(({ message }) => message === 'The worker cannot work and stops.')?.fields).toEqual({
      err: expect.objectContaining({ message: expect.stringContaining('could not be reached in 3 tries') }),
    });
  });
});
