import { afterEach, describe, expect, test } from 'vitest';
import { AuthError, ConnectError, PreconditionFailedError } from '../errors.ts';
import { cutMemoryLinks } from '../memory/memory-broker.ts';
import { memoryTransport } from '../memory/memory-transport.ts';
import type { Connection, Transport } from './contract.ts';
import { ConnectionSupervisor, type ConnectionSupervisorOptions, type SupervisorStatus } from './supervisor.ts';
import { BrokerUrl } from './url.ts';

/** Time that passes when the test says so. */
class FakeClock {
  time = 0;
  delays: number[] = [];
  #timers: { at: number; callback: () => void }[] = [];

  now = (): number => this.time;
  random = (): number => 0;

  after = (ms: number, callback: () => void): (() => void) => {
    const timer = { at: this.time + ms, callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  };

  /** Lets so much time pass, timer by timer, with the work of each done in between. */
  async pass(ms: number): Promise<void> {
    const end = this.time + ms;
    await settled();
    for (;;) {
      const next = this.#timers.filter(({ at }) => at <= end).toSorted((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.time = Math.max(this.time, next.at);
      this.#timers = this.#timers.filter((other) => other !== next);
      next.callback();
      await settled();
    }
    this.time = end;
  }
}

async function settled(): Promise<void> {
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
}

let serial = 0;
const open: ConnectionSupervisor[] = [];

afterEach(async () => {
  await Promise.all(open.splice(0).map((supervisor) => supervisor.close()));
});

interface Bench {
  readonly supervisor: ConnectionSupervisor;
  readonly clock: FakeClock;
  readonly statuses: SupervisorStatus[];
  /** `[milliseconds, host]` of each try. */
  readonly tries: [number, string][];
  /** What the next tries do; undefined: connect. */
  readonly answers: (Error | 'never' | undefined)[];
  readonly cut: () => void;
}

function bench(options: Partial<ConnectionSupervisorOptions> & { hosts?: number } = {}): Bench {
  const clock = new FakeClock();
  const name = `supervisor-${process.pid}-${++serial}`;
  const urls = Array.from(
    { length: options.hosts ?? 1 },
    (_, index) => new BrokerUrl(`memory://user:secret@${name}-${index}`),
  );
  const tries: [number, string][] = [];
  const answers: (Error | 'never' | undefined)[] = [];
  const transport: Transport = {
    schemes: ['memory'],
    connect: async (url, connectOptions) => {
      tries.push([clock.time, url.host.slice(-1)]);
      const answer = answers.shift();
      if (answer === 'never') {
        return new Promise((_, reject) => {
          connectOptions.signal?.addEventListener('abort', () => reject(connectOptions.signal?.reason as Error));
        });
      }
      if (answer !== undefined) throw answer;
      return memoryTransport.connect(url, connectOptions);
    },
  };
  const supervisor = new ConnectionSupervisor({ urls, transport: () => transport, clock, ...options });
  const statuses: SupervisorStatus[] = [];
  supervisor.onChange((status) => statuses.push(status));
  open.push(supervisor);
  return { supervisor, clock, statuses, tries, answers, cut: () => urls.forEach((url) => cutMemoryLinks(url.raw)) };
}

const refused = (): Error => new ConnectError('refused');

describe('connecting', () => {
  test('waits until somebody asks, and all who ask get the same connection', async () => {
    const { supervisor, tries, statuses } = bench();
    await settled();
    expect(tries).toEqual([]);
    expect(supervisor.live).toBeUndefined();
    const [first, second] = await Promise.all([supervisor.connection(), supervisor.connection()]);
    expect(first).toBe(second);
    expect(supervisor.live).toBe(first);
    expect(await supervisor.connection()).toBe(first);
    expect(tries).toHaveLength(1);
    expect(statuses.map(({ state }) => state)).toEqual(['connecting', 'connected']);
    expect(supervisor.status).toMatchObject({ state: 'connected', epoch: 1, error: undefined, failures: 0 });
  });

  test('tries again at growing intervals, up to the longest', async () => {
    const { supervisor, clock, tries, answers, statuses } = bench();
    answers.push(...Array.from({ length: 9 }, refused));
    const connecting = supervisor.connection();
    await clock.pass(60_000);
    await connecting;
    const times = tries.map(([at]) => at);
    expect(times.map((at, index) => at - (times[index - 1] ?? 0))).toEqual([
      0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000,
    ]);
    expect(statuses.filter(({ state }) => state === 'waiting').at(-1)).toMatchObject({
      failures: 9,
      error: { message: 'refused' },
    });
  });

  test('jitter takes away up to its share', async () => {
    const { supervisor, clock, tries, answers } = bench();
    clock.random = () => 0.999;
    answers.push(refused(), refused());
    void supervisor.connection();
    await clock.pass(1000);
    expect(tries.map(([at]) => at)).toEqual([0, 50, 150]);
  });

  test('goes through all URLs in turn before it waits', async () => {
    const { supervisor, clock, tries, answers } = bench({ hosts: 3 });
    answers.push(...Array.from({ length: 7 }, refused));
    const connecting = supervisor.connection();
    await clock.pass(10_000);
    await connecting;
    expect(tries).toEqual([
      [0, '0'],
      [0, '1'],
      [0, '2'],
      [100, '0'],
      [100, '1'],
      [100, '2'],
      [300, '0'],
      [300, '1'],
    ]);
  });

  test('a deadline names the masked URL and the last cause', async () => {
    const { supervisor, clock, answers } = bench();
    answers.push(...Array.from({ length: 99 }, refused));
    const connecting = supervisor.connection({ timeoutMs: 1000 });
    const checked = expect(connecting).rejects.toMatchObject({
      code: 'ERR_CONNECT',
      message: expect.stringMatching(/within 1000 ms \(memory:\/\/user:\*\*@supervisor.*\): refused/),
      cause: { message: 'refused' },
    });
    await clock.pass(1000);
    await checked;
    expect(supervisor.state).toBe('waiting');
  });

  test('a try that never answers is a timeout at the deadline, and is given up for the next', async () => {
    const { supervisor, clock, answers, tries } = bench({ connect: { connectTimeoutMs: 3000 } });
    answers.push('never');
    const early = supervisor.connection({ timeoutMs: 1000 });
    const checked = expect(early).rejects.toMatchObject({ code: 'ERR_TIMEOUT' });
    const patient = supervisor.connection();
    await clock.pass(1000);
    await checked;
    await clock.pass(10_000);
    await patient;
    expect(tries.map(([at]) => at)).toEqual([0, 5100]);
  });

  test('abort ends the waiting of one caller', async () => {
    const { supervisor, clock, answers } = bench();
    answers.push(refused());
    const abort = new AbortController();
    const aborted = supervisor.connection({ signal: abort.signal });
    const other = supervisor.connection();
    abort.abort(new Error('enough'));
    await expect(aborted).rejects.toThrow('enough');
    await expect(supervisor.connection({ signal: abort.signal })).rejects.toThrow('enough');
    await clock.pass(1000);
    await other;
  });

  test('gives up after maxRetries, and begins anew when asked later', async () => {
    const { supervisor, clock, answers, tries } = bench({ schedule: { maxRetries: 2 } });
    answers.push(...Array.from({ length: 3 }, refused));
    const connecting = supervisor.connection();
    const checked = expect(connecting).rejects.toMatchObject({
      code: 'ERR_CONNECT',
      message: expect.stringContaining('3 tries'),
    });
    await clock.pass(60_000);
    await checked;
    expect(supervisor.state).toBe('failed');
    expect(tries).toHaveLength(3);
    await supervisor.connection();
    expect(tries).toHaveLength(4);
  });
});

describe('a loss', () => {
  test('is followed by a new connection at once, under a new epoch', async () => {
    const { supervisor, clock, cut, statuses, tries } = bench();
    const first = await supervisor.connection();
    await clock.pass(10_000);
    cut();
    await clock.pass(0);
    const second = await supervisor.connection();
    expect(second).not.toBe(first);
    expect(supervisor.epoch).toBe(2);
    expect(tries.map(([at]) => at)).toEqual([0, 10_000]);
    expect(statuses.map(({ state }) => state)).toEqual([
      'connecting',
      'connected',
      'waiting',
      'connecting',
      'connected',
    ]);
    expect(statuses[2]?.error).toMatchObject({ code: 'ERR_CONNECTION_LOST' });
  });

  test('again and again does not become a storm', async () => {
    const { supervisor, clock, cut, tries } = bench();
    await supervisor.connection();
    for (let round = 0; round < 5; round++) {
      cut();
      await clock.pass(5000);
      if (supervisor.live === undefined) await supervisor.connection();
    }
    const start = tries.length;
    // Lived five seconds each time: stable. Now at once:
    for (let round = 0; round < 6; round++) {
      cut();
      await clock.pass(0);
      while (supervisor.live === undefined) await clock.pass(100);
    }
    const gaps = tries.slice(start).map(([at], index, list) => at - (list[index - 1]?.[0] ?? at));
    expect(gaps.toSorted((a, b) => a - b)).toEqual(gaps);
    expect(gaps.at(-1)).toBeGreaterThanOrEqual(800);
  });

  test('a stale connection that ends late changes nothing', async () => {
    const { supervisor, clock, cut } = bench();
    const first = await supervisor.connection();
    cut();
    await clock.pass(1000);
    const second = await supervisor.connection();
    await first.close();
    await settled();
    expect(supervisor.live).toBe(second);
  });
});

describe('set-up', () => {
  test('runs on every connection, in order, before it is handed out', async () => {
    const { supervisor, clock, cut } = bench();
    const steps: string[] = [];
    supervisor.onConnect(async (connection, epoch) => {
      await connection.declare({ queues: [{ name: 'q' }] });
      steps.push(`a${epoch}`);
    });
    const remove = supervisor.onConnect((_, epoch) => void steps.push(`b${epoch}`));
    await supervisor.connection().then(() => steps.push('got'));
    expect(steps).toEqual(['a1', 'b1', 'got']);
    remove();
    cut();
    await clock.pass(1000);
    await supervisor.connection();
    supervisor.onConnect((connection, epoch) => void steps.push(`c${epoch}:${connection === supervisor.live}`));
    expect(steps).toEqual(['a1', 'b1', 'got', 'a2', 'c2:true']);
  });

  test('that fails ends the connection and is tried on the next', async () => {
    const { supervisor, clock } = bench();
    const given: Connection[] = [];
    supervisor.onConnect(async (connection) => {
      given.push(connection);
      if (given.length === 1) throw refused();
    });
    const connecting = supervisor.connection();
    await clock.pass(1000);
    expect(await connecting).toBe(given[1]);
    await given[0]?.closed;
  });

  test('ends when the connection is lost meanwhile', async () => {
    const { supervisor, clock, cut } = bench();
    let runs = 0;
    supervisor.onConnect(() => (++runs === 1 ? new Promise<void>(() => {}) : undefined));
    await settled();
    cut();
    await clock.pass(1000);
    await supervisor.connection();
    expect(runs).toBe(2);
  });

  test('ends when it takes too long', async () => {
    const { supervisor, clock } = bench();
    let runs = 0;
    supervisor.onConnect(() => (++runs === 1 ? new Promise<void>(() => {}) : undefined));
    await clock.pass(31_000);
    await supervisor.connection();
    expect(runs).toBe(2);
  });
});

describe('an error that trying again cannot mend', () => {
  test('reaches the callers and does not storm', async () => {
    const { supervisor, clock, answers, tries } = bench();
    answers.push(new AuthError('wrong password'), new AuthError('still wrong'));
    await expect(supervisor.connection()).rejects.toThrow('wrong password');
    for (let index = 0; index < 20; index++) await expect(supervisor.connection()).rejects.toThrow('wrong password');
    await clock.pass(60_000);
    expect(tries).toHaveLength(1);
    await expect(supervisor.connection()).rejects.toThrow('still wrong');
    expect(supervisor.status).toMatchObject({ state: 'failed', error: { message: 'still wrong' } });
    await clock.pass(5000);
    await supervisor.connection();
  });

  test('of one URL leaves the others', async () => {
    const { supervisor, clock, answers, tries } = bench({ hosts: 2 });
    answers.push(new AuthError('wrong password'));
    const connecting = supervisor.connection();
    await clock.pass(0);
    await connecting;
    expect(tries.map(([, host]) => host)).toEqual(['0', '1']);
  });

  test('of a set-up ends it, also on a live connection', async () => {
    const { supervisor, statuses } = bench();
    await supervisor.connection();
    supervisor.onConnect(() => Promise.reject(new PreconditionFailedError('other arguments')));
    await settled();
    expect(statuses.at(-1)).toMatchObject({ state: 'failed', error: { code: 'ERR_PRECONDITION_FAILED' } });
    expect(supervisor.live).toBeUndefined();
  });
});

describe('close', () => {
  test('ends the connection and every wait; twice is fine', async () => {
    const { supervisor } = bench();
    const connection = await supervisor.connection();
    await Promise.all([supervisor.close(), supervisor.close()]);
    await connection.closed;
    await expect(supervisor.connection()).rejects.toMatchObject({ code: 'ERR_CLOSED' });
    expect(supervisor.state).toBe('closed');
  });

  test('while connecting and while waiting', async () => {
    const connecting = bench();
    connecting.answers.push('never');
    const first = connecting.supervisor.connection();
    await settled();
    const waiting = bench();
    waiting.answers.push(refused());
    const second = waiting.supervisor.connection();
    await settled();
    expect(waiting.supervisor.state).toBe('waiting');
    const checks = [first, second].map((promise) => expect(promise).rejects.toMatchObject({ code: 'ERR_CLOSED' }));
    await Promise.all([connecting.supervisor.close(), waiting.supervisor.close(), ...checks]);
    await waiting.clock.pass(10_000);
    expect(waiting.tries).toHaveLength(1);
  });

  test('takes no longer than allowed when the connection does not end', async () => {
    const { supervisor } = bench();
    const connection = await supervisor.connection();
    const close = connection.close.bind(connection);
    connection.close = () => new Promise(() => {});
    const startedAt = performance.now();
    await supervisor.close({ timeoutMs: 50 });
    expect(performance.now() - startedAt).toBeLessThan(1000);
    await close();
  });
});

test('needs a URL', () => {
  expect(() => new ConnectionSupervisor({ urls: [], transport: () => memoryTransport })).toThrow(
    'at least one broker URL',
  );
});
