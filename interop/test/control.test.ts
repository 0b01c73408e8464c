import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { type Inspect, Lovage } from '@lovage/core';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { compareShapes } from './compare.ts';
import { CeleryCommand, type ControlMeeting, startLovage, startPython } from './control-peers.ts';
import { ended, PATIENCE_SECONDS, type Running, until } from './processes.ts';

const { LOVAGE_TEST_REDIS_URL: redis, LOVAGE_TEST_AMQP_URL: amqp, LOVAGE_TEST_PYTHON: python } = process.env;

const BROKERS = [
  { name: 'Redis', broker: redis },
  { name: 'RabbitMQ', broker: amqp },
];

interface Row {
  readonly broker: string;
  readonly command: string;
  readonly celery: unknown;
  readonly lovage: unknown;
  readonly same: number;
  readonly differences: readonly string[];
}
/** What the table in docs/remote-control.md is made of. */
const rows: Row[] = [];

/** Differences that are meant, by command: see docs/remote-control.md. */
const MEANT: Readonly<Record<string, readonly string[]>> = {
  // The settings that were given differ with the program.
  conf: ['conf'],
  // Counts by task name, and resources that no two systems count alike.
  stats: ['total', 'pool.max-tasks-per-child', 'pool.timeouts'],
  memsample: ['the answer'],
};

for (const { name, broker } of BROKERS) {
  describe.skipIf(!broker?.includes('/') || !python?.includes('/') || !redis?.includes('/'))(
    `Python's celery command, a Python and a Lovage worker, ${name}`,
    () => cluster(name, { broker: broker as string, backend: redis as string, python: python as string }),
  );
}

afterAll(() => {
  const results = new URL('../.results/', import.meta.url);
  mkdirSync(results, { recursive: true });
  writeFileSync(new URL('remote-control.json', results), JSON.stringify(rows, null, 2));
});

function cluster(broker: string, meeting: ControlMeeting): void {
  const mark = randomUUID().slice(0, 8);
  const PY = `python@${mark}`;
  const TS = `lovage@${mark}`;
  const queues = { [PY]: `py-${mark}`, [TS]: `ts-${mark}` };
  let celery: CeleryCommand;
  let app: Lovage;
  let pythonWorker: Running;
  let lovageWorker: Running;

  beforeAll(async () => {
    celery = new CeleryCommand(meeting);
    app = new Lovage('control-test', { broker: meeting.broker, backend: meeting.backend });
    pythonWorker = await startPython(meeting, PY, queues[PY] as string, ['-c', '2']);
    lovageWorker = await startLovage(meeting, TS, queues[TS] as string, ['-c', '2', '--prefetch-multiplier', '4']);
  });

  afterAll(async () => {
    await Promise.all([celery?.close(), app?.close(), pythonWorker?.stop(), lovageWorker?.stop()]);
  });

  /** Without what is new in each run. */
  const unmarked = (answer: unknown): unknown => JSON.parse((JSON.stringify(answer) ?? 'null').replaceAll(mark, 'X'));

  /** Runs the command for both workers and gives the answer of each. */
  async function both(kind: 'inspect' | 'control', command: string, ...args: string[]): Promise<[unknown, unknown]> {
    const ran = await celery.run(kind, '-t', String(PATIENCE_SECONDS), '-d', `${PY},${TS}`, '-j', command, ...args);
    assert.equal(ran.code, 0, `${command}: ${ran.err}`);
    // Python's JSON has a number that JSON has not.
    const line = (ran.out.trim().split('\n').at(-1) as string).replaceAll(/\bInfinity\b/g, '1e999');
    const parsed = JSON.parse(line) as object;
    const byNode = (kind === 'control' ? Object.assign({}, ...(parsed as object[])) : parsed) as Record<
      string,
      unknown
    >;
    return [byNode[PY], byNode[TS]];
  }

  /** The same, noted in the table; fails on a difference that is not meant. */
  async function compare(kind: 'inspect' | 'control', command: string, ...args: string[]): Promise<[unknown, unknown]> {
    const [ours, theirs] = (await both(kind, command, ...args)).toReversed();
    const { same, differences } = compareShapes(theirs, ours);
    const meant = MEANT[command] ?? [];
    const isMeant = (path: string): boolean =>
      meant.includes(command) || meant.some((prefix) => path === prefix || path.startsWith(`${prefix}.`));
    rows.push({
      broker,
      command: [
        kind,
        command,
        ...args.map((arg) => (/^[\da-f-]{36}$/.test(arg) ? 'ID' : arg.replaceAll(mark, 'X'))),
      ].join(' '),
      celery: unmarked(theirs),
      lovage: unmarked(ours),
      same,
      differences: meant.includes(command)
        ? ['the settings of each program']
        : differences.map(({ path, kind: how }) => `${path}: ${how}`),
    });
    assert.deepEqual(
      differences.filter(({ path }) => !isMeant(path)),
      [],
      `${command}: ${JSON.stringify(theirs)} / ${JSON.stringify(ours)}`,
    );
    return [theirs, ours];
  }

  async function send(task: string, args: readonly unknown[], node: string, options = {}): Promise<string> {
    const result = await app.sendTask(task, { args, queue: queues[node] as string, ...options });
    return result.id;
  }

  /** The answer of the node that is asked ends the waiting. */
  const answered = { reply: true, timeout: PATIENCE_SECONDS } as const;
  const inspect = (node: string): Inspect => app.control.inspect({ destination: [node], timeout: PATIENCE_SECONDS });
  const isIn = async (id: string, state: string): Promise<boolean> => (await app.asyncResult(id).state()) === state;

  /** For answers in words: they are the same, letter for letter. */
  async function same(kind: 'inspect' | 'control', command: string, ...args: string[]): Promise<unknown> {
    const [theirs, ours] = await compare(kind, command, ...args);
    assert.deepEqual(ours, theirs);
    return ours;
  }

  it('status and ping', async () => {
    // A process of its own: an answer that comes too late for this question would count as one to the next.
    const everybody = new CeleryCommand(meeting);
    try {
      const status = await until(async () => {
        const ran = await everybody.run('status', '-t', '2', '-j');
        return ran.out.includes(PY) && ran.out.includes(TS) ? ran : undefined;
      }, 'status of both');
      // Other tests may have workers on this broker.
      assert.match(status.out, /\b(?:[2-9]|\d\d+) nodes online/);
    } finally {
      await everybody.close();
    }
    assert.deepEqual(await same('inspect', 'ping'), { ok: 'pong' });
    const nobody = await celery.run('inspect', '-t', '0.3', '-d', 'nobody@nowhere', 'ping');
    assert.equal(nobody.code, 69);
  });

  it('what runs, waits and is planned', async () => {
    const ids = new Map<string, string[]>();
    for (const node of [PY, TS]) {
      const mine = [];
      for (let index = 0; index < 2; index++) mine.push(await send('jobs.sleep', [600], node));
      await until(async () => {
        const replies = await inspect(node).active();
        return replies[node]?.length === 2;
      }, `two tasks that run on ${node}`);
      mine.push(await send('jobs.add', [1, 2], node));
      mine.push(await send('jobs.add', [3, 4], node, { countdown: 200 }));
      ids.set(node, mine);
    }
    await until(async () => {
      const [theirs, ours] = (await both('inspect', 'scheduled')) as [unknown[], unknown[]];
      return theirs.length === 1 && ours.length === 1;
    }, 'planned task on each');
    const [active, ourActive] = (await compare('inspect', 'active')) as { args: unknown; name: string }[][];
    assert.equal(active?.length, 2);
    assert.equal(ourActive?.length, 2);
    assert.deepEqual(ourActive?.[0]?.args, active?.[0]?.args);
    await compare('inspect', 'reserved');
    await compare('inspect', 'scheduled');
    const [first = ''] = ids.get(PY) ?? [];
    const [ours = ''] = ids.get(TS) ?? [];
    const [theirQuery, ourQuery] = (await both('inspect', 'query_task', first, ours)) as Record<
      string,
      [string, object]
    >[];
    const { same: fields, differences } = compareShapes(theirQuery?.[first], ourQuery?.[ours]);
    assert.deepEqual(differences, []);
    assert.equal(ourQuery?.[ours]?.[0], 'active');
    assert.deepEqual(Object.keys(ourQuery?.[ours]?.[1] ?? {}), Object.keys(theirQuery?.[first]?.[1] ?? {}));
    rows.push({
      broker,
      command: 'inspect query_task ID ID',
      celery: theirQuery,
      lovage: ourQuery,
      same: fields + Object.keys(ourQuery?.[ours]?.[1] ?? {}).length,
      differences: [],
    });

    const [, ended1] = await both('control', 'terminate', 'SIGKILL', ours, first);
    assert.deepEqual(ended1, { ok: `terminate: ${ours}` });
    rows.push({
      broker,
      command: 'control terminate SIGKILL ID',
      celery: { ok: `terminate: ${first}` },
      lovage: ended1,
      same: 1,
      differences: [],
    });
    await same('control', 'terminate', 'SIGTERM', randomUUID());
    for (const node of [PY, TS]) {
      await app.control.terminate(ids.get(node) ?? [], {
        destination: [node],
        signal: 'SIGKILL',
        ...answered,
      });
      await until(async () => {
        const replies = await inspect(node).active();
        return replies[node]?.length === 0;
      }, `an idle ${node}`);
    }
    await until(() => isIn(ours, 'REVOKED'), 'revoked task');
  });

  it('what the workers are', async () => {
    await same('inspect', 'registered');
    await same('inspect', 'registered', 'rate_limit', 'name');
    await compare('inspect', 'stats');
    await compare('inspect', 'active_queues');
    await compare('inspect', 'conf');
    await compare('inspect', 'conf', 'true');
    await compare('inspect', 'report');
    await compare('inspect', 'clock');
    await compare('inspect', 'memsample');
    await compare('inspect', 'memdump', '5');
    await compare('inspect', 'objgraph', 'Request');
    await compare('inspect', 'revoked');
  });

  it('revokes', async () => {
    await same('control', 'revoke', randomUUID());
    await same('control', 'revoke_by_stamped_headers', 'monitoring_id=1', 'other=2');
    const [theirs, ours] = (await both('inspect', 'revoked')) as string[][];
    assert.ok((theirs?.length ?? 0) > 0 && (ours?.length ?? 0) > 0);
    const id = randomUUID();
    await both('control', 'revoke', id);
    await send('jobs.add', [1, 1], TS, { taskId: id });
    await until(() => isIn(id, 'REVOKED'), 'revoked task');
  });

  it('limits', async () => {
    await same('control', 'rate_limit', 'jobs.add', '10/m');
    await same('inspect', 'registered', 'rate_limit');
    await same('control', 'rate_limit', 'jobs.add', '0');
    await same('control', 'rate_limit', 'no.such', '10/m');
    await same('control', 'rate_limit', 'jobs.add', 'often');
    await same('control', 'time_limit', 'jobs.add', '10', '20');
    await same('control', 'time_limit', 'no.such', '10');
    const id = await send('jobs.sleep', [600], TS);
    await until(() => isIn(id, 'STARTED'), 'started task');
    await app.control.terminate(id, { destination: [TS], ...answered });
    await same('control', 'time_limit', 'jobs.sleep', '0.2', '0.5');
    const limited = await send('jobs.sleep', [600], TS);
    await assert.rejects(app.asyncResult(limited).get({ timeout: PATIENCE_SECONDS }), /TimeLimitExceeded/);
  });

  it('queues', async () => {
    const extra = `extra-${mark}`;
    await same('control', 'add_consumer', extra);
    await until(async () => {
      const answers = (await both('inspect', 'active_queues')) as { name: string }[][];
      return answers.every((list) => list.some(({ name }) => name === extra));
    }, 'queue in both lists');
    await compare('inspect', 'active_queues');
    await same('control', 'cancel_consumer', extra);
    await until(async () => {
      const answers = (await both('inspect', 'active_queues')) as { name: string }[][];
      return answers.every((list) => !list.some(({ name }) => name === extra));
    }, 'list without the queue');
  });

  it('the pool', async () => {
    await same('control', 'pool_grow', '2');
    const stats = await inspect(TS).stats();
    assert.equal(stats[TS]?.pool['max-concurrency'], 4);
    // Python's pool refuses while its new processes start.
    const theirs = await until(async () => {
      const [answer] = await app.control.poolShrink(2, { destination: [PY], ...answered });
      const value = answer?.[PY];
      return value !== undefined && 'ok' in value ? value : undefined;
    }, 'smaller Python pool');
    const [answer] = await app.control.poolShrink(2, { destination: [TS], ...answered });
    assert.deepEqual(answer?.[TS], theirs);
    rows.push({ broker, command: 'control pool_shrink 2', celery: theirs, lovage: theirs, same: 1, differences: [] });
    await same('control', 'pool_restart');
    await same('control', 'autoscale', '5', '1');
  });

  it('events, the heartbeat and elections', async () => {
    await same('control', 'enable_events');
    await same('control', 'enable_events');
    await same('control', 'disable_events');
    await same('control', 'disable_events');
    await same('control', 'heartbeat');
    // The command line cannot give an id: both say what is missing, in Python's words.
    await same('control', 'election');
  });

  it('shutdown', async () => {
    // A command that comes later than its timeout is none.
    const ran = await celery.run('control', '-t', '5', '-d', TS, 'shutdown');
    assert.equal(ran.code, 69);
    assert.equal(await ended(lovageWorker.child), 0);
    rows.push({
      broker,
      command: 'control shutdown',
      celery: 'no answer',
      lovage: 'no answer',
      same: 1,
      differences: [],
    });
  });
}
