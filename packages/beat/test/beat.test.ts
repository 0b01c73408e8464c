import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Beat, type BeatOptions, once, type PeriodicTaskInput, PeriodicTasks } from '@lovage/beat';
import { ConnectError, crontab, Lovage, type LovageOptions } from '@lovage/core';
import type { Delivery } from '@lovage/core/transport';
import { afterEach, describe, expect, test } from 'vitest';
import { documentNames, openStore } from '../src/store.ts';

function wrong(): never {
  throw new Error('a broken schedule');
}

const folder = mkdtempSync(join(tmpdir(), 'lovage-beat-'));
const opened: { close(): Promise<unknown> }[] = [];
let names = 0;

afterEach(async () => {
  await Promise.all(opened.splice(0).map((one) => one.close()));
});

interface Sent {
  readonly entry: string;
  readonly id: string;
  readonly instant: number;
  readonly at: number;
}

/** An app on a broker in memory, and all that arrives there. */
async function open(settings: LovageOptions = {}) {
  const name = `beat-${++names}`;
  const app = new Lovage(name, { broker: `memory://${name}`, timezone: 'UTC', ...settings });
  const supervisor = app.connectBroker('read');
  const connection = await supervisor.connection();
  await connection.declare({ queues: [{ name: 'celery' }] });
  const sent: Sent[] = [];
  await connection.consume(
    ['celery'],
    (deliveries: readonly Delivery[]) => {
      for (const { message } of deliveries) {
        sent.push({
          entry: String(message.headers['periodic_task_name']),
          id: String(message.headers['id']),
          instant: Date.parse(String(message.headers['x-lovage-instant'])),
          at: Date.now(),
        });
      }
      void connection.settle(deliveries.map((delivery) => ({ delivery, outcome: 'ack' as const })));
    },
    { prefetch: 0 },
  );
  opened.push({ close: () => Promise.all([supervisor.close(), app.close()]) });
  return { app, sent };
}

async function start(app: Lovage, options: BeatOptions = {}): Promise<Beat> {
  const beat = new Beat(app, { schedule: join(folder, app.name), ...options });
  opened.unshift({ close: () => beat.stop() });
  await beat.start();
  return beat;
}

async function until(what: string, check: () => boolean): Promise<void> {
  for (const end = Date.now() + 50_000; !check(); await sleep(5)) {
    if (Date.now() > end) throw new Error(`15 s passed while waiting for ${what}`);
  }
}

describe('Beat', () => {
  test('sends at the instants, each once, without drift', async () => {
    const { app, sent } = await open({ beatSchedule: { tick: { task: 'tick', schedule: 0.1, args: [1] } } });
    await start(app);
    await until('twenty runs', () => sent.length >= 20);
    const instants = sent.map(({ instant }) => instant);
    const first = instants[0] as number;
    expect(instants.slice(0, 20)).toEqual(Array.from({ length: 20 }, (_, index) => first + index * 100));
    expect(new Set(sent.map(({ id }) => id)).size).toBe(sent.length);
  });

  test("declared on tasks, added, and in Celery's words; wrong ones are named", async () => {
    const { app, sent } = await open({
      beatSchedule: { settings: { task: 'a', schedule: 0.05, kwargs: { x: 1 }, options: { expires: 60 } } },
    });
    const hello = app.task('hello', (_name: string) => 1);
    hello.every(0.05, ['you']);
    app.addPeriodicTask(0.05, hello.s('me'), { name: 'added' });
    await start(app);
    await until('all three', () => new Set(sent.map(({ entry }) => entry)).size === 3);
    expect([...new Set(sent.map(({ entry }) => entry))].toSorted()).toEqual(['added', 'hello("you")', 'settings']);

    const wrong = await open({ beatSchedule: { report: { task: 'a', shedule: 5 } } });
    await expect(new Beat(wrong.app, { schedule: join(folder, 'wrong') }).start()).rejects.toThrow(
      'The periodic task "report" is wrong: it has no "shedule". Did you mean "schedule"?',
    );
    const twice = await open();
    const late = twice.app.task('late', () => 1);
    late.every(crontab({ minute: 0, hour: 7 })).every(crontab({ minute: 0, hour: 19 }));
    await expect(new Beat(twice.app, { schedule: join(folder, 'twice') }).start()).rejects.toThrow(
      'Two periodic tasks are named "late()". Give one of them a name of its own',
    );
  });

  test('goes on where it stopped, and makes up for what was missed by its policy', async () => {
    const entry = { task: 't', schedule: 0.05 };
    const { app, sent } = await open({
      beatSchedule: {
        all: { ...entry, misfire: 'runAll' },
        once: entry,
        skip: { ...entry, misfire: 'skip' },
      },
    });
    const first = await start(app, { missedAfter: 0.2 });
    await until('some runs', () => sent.length >= 9);
    await first.stop();
    const before = sent.length;
    await sleep(600); // the downtime is what this is about
    await start(app, { missedAfter: 0.2 });
    await until('runs again', () => sent.length >= before + 30);
    const instants = (name: string): number[] => sent.filter((one) => one.entry === name).map(({ instant }) => instant);
    const gaps = (name: string): number[] =>
      instants(name)
        .slice(1)
        .map((at, index) => at - (instants(name)[index] as number));
    expect(new Set(gaps('all'))).toEqual(new Set([50]));
    // A busy machine may join two instants at other times too, but leaves no such gap.
    expect(gaps('once').filter((gap) => gap > 400).length).toBe(1);
    expect(gaps('skip').filter((gap) => gap > 300).length).toBe(1);
    expect(new Set(sent.map(({ id }) => id)).size).toBe(sent.length);
  });

  test('with the broker away an instant stays due', async () => {
    const { app, sent } = await open({
      beatSchedule: { tick: { task: 'tick', schedule: 0.1, misfire: 'runAll' } },
      publishTimeoutSeconds: 0.2,
    });
    await start(app);
    await until('runs', () => sent.length >= 3);
    const real = app.producer.send.bind(app.producer);
    let refused = 0;
    app.producer.send = (async () => {
      refused++;
      throw new ConnectError('The broker is away.');
    }) as typeof app.producer.send;
    await until('refusals', () => refused >= 3);
    app.producer.send = real;
    const before = sent.length;
    await until('runs again', () => sent.length >= before + 10);
    const instants = sent.map(({ instant }) => instant).toSorted((a, b) => a - b);
    expect(new Set(instants.slice(1).map((at, index) => at - (instants[index] as number)))).toEqual(new Set([100]));
  });

  test('an entry that cannot be sent, or not for long, or has a broken schedule, holds up no other', async () => {
    const { app, sent } = await open({
      beatSchedule: {
        good: { task: 'good', schedule: 0.05, misfire: 'runAll' },
        hangs: { task: 'hangs', schedule: 0.05 },
        fails: { task: 'fails', schedule: 0.05, misfire: 'runAll' },
        throws: { task: 'throws', schedule: { next: () => wrong(), toString: () => 'mine' } },
      },
    });
    const real = app.producer.send.bind(app.producer);
    let release = (): void => {};
    const hanging = new Promise<void>((resolve) => (release = resolve));
    let failing = true;
    app.producer.send = (async (...call: Parameters<typeof real>) => {
      const [name] = call;
      if (name === 'hangs') await hanging;
      if (name === 'fails' && failing) throw new ConnectError('The queue is full.');
      return real(...call);
    }) as typeof app.producer.send;
    const beat = await start(app, { maxInterval: 0.05 });
    const of = (entry: string): Sent[] => sent.filter((one) => one.entry === entry);
    await until('many runs of the good one', () => of('good').length >= 30);
    expect(of('hangs').length + of('fails').length).toBe(0);
    failing = false;
    release();
    await until('runs of the others', () => of('hangs').length > 2 && of('fails').length > 10);
    await beat.stop();
    const instants = of('fails')
      .map(({ instant }) => instant)
      .toSorted((a, b) => a - b);
    expect(new Set(instants.slice(1).map((at, index) => at - (instants[index] as number)))).toEqual(new Set([50]));
  });

  test('a line of cron, and the zone that a schedule brings', async () => {
    const { app } = await open({
      beatSchedule: {
        line: { task: 't', schedule: '30 7 * * 1-5', tz: 'Europe/Paris' },
        own: { task: 't', schedule: crontab({ hour: 7, minute: 0, tz: 'Asia/Tokyo' }) },
      },
    });
    app.task('hello', () => 1).every('0 0 1 1 *');
    const tasks = await PeriodicTasks.open(app, join(folder, app.name));
    opened.unshift(tasks);
    const shown = (await tasks.list()).map(({ schedule, zone }) => `${schedule} ${zone}`);
    expect(shown).toEqual([
      'cron(30 7 * * 1-5) Europe/Paris',
      "crontab(minute=0, hour=7, tz='Asia/Tokyo') Asia/Tokyo",
      'cron(0 0 1 1 *) UTC',
    ]);
    const wrong = await open({ beatSchedule: { wrong: { task: 't', schedule: 'hourly' } } });
    await expect(new Beat(wrong.app, { schedule: join(folder, 'wrong') }).start()).rejects.toThrow(
      'The periodic task "wrong" is wrong: The cron line "hourly" cannot be read',
    );
  });

  test('a scheduler adds, changes and removes entries; while it fails its last answer stands', async () => {
    const { app, sent } = await open();
    let rows: Record<string, PeriodicTaskInput> | undefined = { first: { task: 'a', schedule: 0.05 } };
    let asked = 0;
    const scheduler = async (): Promise<Record<string, PeriodicTaskInput>> => {
      asked++;
      if (rows === undefined) throw new Error('the table is away');
      return rows;
    };
    await start(app, { scheduler, maxInterval: 0.05 });
    const runs = (name: string): number => sent.filter(({ entry }) => entry === name).length;
    await until('runs of the first', () => runs('first') > 2);
    rows = undefined;
    const [asked1, sent1] = [asked, runs('first')];
    await until('runs while it fails', () => asked > asked1 + 2 && runs('first') > sent1 + 2);
    rows = { second: { task: 'b', schedule: 0.05 } };
    await until('runs of the second', () => runs('second') > 2);
    const before = runs('first');
    await until('more of them', () => runs('second') > 6);
    expect(runs('first')).toBe(before);
  });

  test('starting is a signal, and one more inside of a worker', async () => {
    const { app } = await open();
    const said: string[] = [];
    app.on('beatInit', ({ beat }) => said.push(`init ${beat instanceof Beat}`));
    app.on('beatEmbeddedInit', () => said.push('embedded'));
    await (await start(app)).stop();
    await start(app, { isEmbedded: true });
    expect(said).toEqual(['init true', 'init true', 'embedded']);
  });

  test('a file with a broken page is put aside too', async () => {
    const settings = { beatSchedule: { tick: { task: 'tick', schedule: 0.05 } } };
    const { app, sent } = await open(settings);
    await (await start(app)).stop();
    const bytes = readFileSync(join(folder, `${app.name}.sqlite`));
    // All but the header, which names it a database.
    writeFileSync(join(folder, 'page.sqlite'), bytes.fill(0xa5, 100));
    await start(app, { schedule: join(folder, 'page') });
    await until('runs', () => sent.length >= 3);
    expect(readdirSync(folder).some((one) => one.startsWith('page.sqlite.broken-'))).toBe(true);
  });

  test('a broken file of the schedule is put aside', async () => {
    const { app, sent } = await open({ beatSchedule: { tick: { task: 'tick', schedule: 0.05 } } });
    writeFileSync(join(folder, `${app.name}.sqlite`), Buffer.alloc(5000, 7));
    await start(app);
    await until('runs', () => sent.length >= 3);
    expect(readdirSync(folder).some((file) => file.startsWith(`${app.name}.sqlite.broken-`))).toBe(true);
  });

  test('of two beats one leads, and the other takes over when it stops', async () => {
    const { app, sent } = await open({ beatSchedule: { tick: { task: 'tick', schedule: 0.05, misfire: 'runAll' } } });
    const first = await start(app, { leaseSeconds: 0.6 });
    await until('runs', () => sent.length >= 3);
    await start(app, { leaseSeconds: 0.6 });
    await until('more runs', () => sent.length >= 10);
    await first.stop();
    const before = sent.length;
    await until('runs of the second', () => sent.length >= before + 5);
    expect(new Set(sent.map(({ id }) => id)).size).toBe(sent.length);
    const instants = sent.map(({ instant }) => instant).toSorted((a, b) => a - b);
    expect(new Set(instants.slice(1).map((at, index) => at - (instants[index] as number)))).toEqual(new Set([50]));
  });
});

describe('PeriodicTasks', () => {
  test('shows, adds, pauses, resumes, runs and removes while beat runs', async () => {
    const { app, sent } = await open({
      beatSchedule: { daily: { task: 'd', schedule: crontab({ minute: 0, hour: 7 }) } },
    });
    const schedule = join(folder, app.name);
    await start(app, { maxInterval: 0.05 });
    const tasks = await PeriodicTasks.open(app, schedule);
    opened.unshift(tasks);
    await tasks.put('tick', { task: 'tick', schedule: 0.05, args: [1] });
    await until('runs of the new one', () => sent.some(({ entry }) => entry === 'tick'));
    await tasks.put('soon', { task: 'soon', schedule: once(new Date(Date.now() - 1000)) });
    await until('the one-off', () => sent.some(({ entry }) => entry === 'soon'));

    const listed = await tasks.list();
    expect(listed.map(({ name }) => name).toSorted()).toEqual(['daily', 'soon', 'tick']);
    expect(listed.find(({ name }) => name === 'daily')).toMatchObject({
      schedule: 'crontab(minute=0, hour=7)',
      from: 'app',
      isPaused: false,
      lastRunAt: undefined,
      zone: 'UTC',
    });
    expect(listed.find(({ name }) => name === 'tick')?.totalRunCount).toBeGreaterThan(0);
    expect((await tasks.next('daily', 2)).map((at) => at.getUTCHours())).toEqual([7, 7]);

    await tasks.pause('tick');
    await until('the pause', () => Date.now() - (sent.at(-1)?.at ?? 0) > 400);
    expect((await tasks.list()).find(({ name }) => name === 'tick')).toMatchObject({
      isPaused: true,
      nextRunAt: undefined,
    });
    const paused = sent.length;
    await tasks.resume('tick');
    await until('runs again', () => sent.length > paused + 2);
    await tasks.pause('tick');
    await tasks.remove('tick');
    await expect(tasks.remove('tick')).rejects.toThrow('The store has no periodic task "tick".');
    await expect(tasks.pause('nobody')).rejects.toThrow(
      'There is no periodic task "nobody". Expected one of: daily, soon.',
    );
    const { id } = await tasks.run('daily');
    await until('the run besides', () => sent.some((one) => one.id === id));
    await expect(tasks.put('bad', { task: 'x', schedule: { next: () => 1, toString: () => 'own' } })).rejects.toThrow(
      'cannot be kept',
    );
  });
});

test('a pause of an entry of the application outlives one of the store, and a removal that finds none', async () => {
  const { app } = await open({ beatSchedule: { daily: { task: 'd', schedule: 60 } } });
  const tasks = await PeriodicTasks.open(app, join(folder, app.name));
  opened.unshift(tasks);
  const states = async (): Promise<unknown[]> =>
    (await tasks.list()).map(({ name, from, isPaused }) => [name, from, isPaused]);
  await tasks.pause('daily');
  await expect(tasks.remove('daily')).rejects.toThrow('The store has no periodic task "daily".');
  expect(await states()).toEqual([['daily', 'app', true]]);
  await tasks.put('daily', { task: 'd', schedule: 30 });
  await tasks.remove('daily');
  expect(await states()).toEqual([['daily', 'app', true]]);
  await tasks.put('own', { task: 'd', schedule: 30 });
  await tasks.pause('own');
  await tasks.remove('own');
  await tasks.put('own', { task: 'd', schedule: 30 });
  expect((await states()).at(-1)).toEqual(['own', 'store', false]);
});

test('what is no entry in the store is logged, and the others are planned', async () => {
  const { app } = await open();
  const lines: string[] = [];
  app.logger = { debug() {}, info() {}, warn() {}, error: (_, line) => void lines.push(line) };
  const schedule = join(folder, app.name);
  const store = await openStore(app, schedule, app.logger);
  const good = { entry: { task: 't', schedule: { every: 60 } } };
  await store.documents.write(documentNames(app).entries, JSON.stringify({ broken: null, text: 'x', good }), undefined);
  await store.close();
  const tasks = await PeriodicTasks.open(app, schedule);
  opened.unshift(tasks);
  expect((await tasks.list()).map(({ name }) => name)).toEqual(['good']);
  expect(lines).toEqual(
    ['broken', 'text'].map((name) => `The stored periodic task ${name} is no object and is left out.`),
  );
});

test('periodic tasks of files that are discovered are shown', async () => {
  const { app } = await open();
  const file = join(folder, 'discovered.mjs');
  writeFileSync(file, `globalThis.appOfBeatTest.task('found', () => 1).every(60);\n`);
  (globalThis as { appOfBeatTest?: Lovage }).appOfBeatTest = app;
  app.autodiscoverTasks(file);
  const tasks = await PeriodicTasks.open(app, join(folder, app.name));
  opened.unshift(tasks);
  expect((await tasks.list()).map(({ task }) => task)).toEqual(['found']);
});

test('a beat that is stopped while it starts has stopped when all of it is closed', async () => {
  const { app } = await open();
  let answer = (_entries: Record<string, PeriodicTaskInput>): void => {};
  const answered = new Promise<Record<string, PeriodicTaskInput>>((resolve) => (answer = resolve));
  const beat = new Beat(app, { schedule: join(folder, app.name), scheduler: () => answered });
  const order: string[] = [];
  const started = beat.start().then(() => order.push('started'));
  const stopped = beat.stop().then(() => order.push('stopped'));
  await new Promise((resolve) => setImmediate(resolve));
  answer({});
  await Promise.all([started, stopped]);
  expect(order).toEqual(['started', 'stopped']);
});

describe('an entry that is changed', () => {
  test('counts from now: what one that runs once has left behind is no past of another schedule', async () => {
    const { app, sent } = await open();
    await start(app, { maxInterval: 0.05 });
    const tasks = await PeriodicTasks.open(app, join(folder, app.name));
    opened.unshift(tasks);
    await tasks.put('x', { task: 'x', schedule: once(new Date(Date.now() + 3_600_000)) });
    await sleep(200); // several rounds, in which nothing may come
    expect(sent).toEqual([]);
    const changedAt = Date.now();
    await tasks.put('x', { task: 'x', schedule: 0.1, misfire: 'runAll' });
    await until('runs', () => sent.length >= 3);
    expect(sent[0]?.instant).toBeGreaterThan(changedAt);
  });

  test('one that ran once and was paused and resumed does not run again', async () => {
    const { app, sent } = await open({ beatSchedule: { tick: { task: 'tick', schedule: 0.05 } } });
    await start(app, { maxInterval: 0.05 });
    const tasks = await PeriodicTasks.open(app, join(folder, app.name));
    opened.unshift(tasks);
    const runs = (name: string): number => sent.filter(({ entry }) => entry === name).length;
    await tasks.put('x', { task: 'x', schedule: once(new Date()) });
    await until('the one-off', () => runs('x') === 1);
    await tasks.pause('x');
    const before = runs('tick');
    await until('rounds with the pause', () => runs('tick') > before + 5);
    await tasks.resume('x');
    const resumed = runs('tick');
    await until('rounds after it', () => runs('tick') > resumed + 5);
    expect(runs('x')).toBe(1);
  });
});

process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
