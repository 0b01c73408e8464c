// The kill test of beats: periodic tasks every second and every five, under `runAll`, and a ledger of their effects.
//
//   node scripts/chaos-beat.mjs [sqlite|redis|postgresql|nats ...] [--kills 100] [--frozen 60] [--lease 15] [--seconds 20]
//                               [--late 50] [--acts kills,leaders,exact]
//
// Three acts for each store, all of which must end with one effect for each instant and none missed:
//
// kills    one beat, killed with SIGKILL again and again: around an instant, when it has just sent a message, at any time.
// leaders  two beats; the leader is killed three times, then another is stopped (SIGSTOP) for so many seconds and
//          continued. takeOverMs: from kill or stop to the first effect of the other.
// exact    one beat that nobody kills, fifty entries: how late the broker has their messages (sent) and how late a worker
//          begins with them (begun), in milliseconds. 99 of 100 must be sent no later than `--late`.
//
// sentTwice: messages for an instant whose message was sent already, which the worker dropped. They show that the kills
// hit the moment between sending and noting.
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { BROKERS } from './brokers.mjs';
import { root } from './run.mjs';
import { startServices } from './services.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    kills: { type: 'string', default: '100' },
    frozen: { type: 'string', default: '60' },
    seconds: { type: 'string', default: '20' },
    lease: { type: 'string', default: '15' },
    late: { type: 'string', default: '50' },
    acts: { type: 'string', default: 'kills,leaders,exact' },
  },
});
const [KILLS, FROZEN, SECONDS, LEASE, LATE_MS] = ['kills', 'frozen', 'seconds', 'lease', 'late'].map((name) =>
  Number(values[name]),
);
const LEADERS_KILLED = 3;
/** Acts are given up when nothing happens for so long. */
const PATIENCE_MS = 60_000;

/** A process of the command line, what it says, and its end. */
class Running {
  said = '';
  #wake = () => {};

  constructor(env, ...args) {
    const app = join(root, 'interop/chaos/beat-app.mjs');
    const bin = join(root, 'packages/cli/dist/bin.js');
    this.child = spawn(process.execPath, [bin, '-A', app, '--log-format', 'json', ...args], {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        this.said += text;
        this.#wake();
      });
    }
    this.ended = new Promise((resolve) => this.child.once('close', resolve));
  }

  times(text) {
    return this.said.split(text).length - 1;
  }

  async says(text) {
    for (const end = Date.now() + PATIENCE_MS; !this.said.includes(text); ) {
      if (Date.now() > end || this.child.exitCode !== null) throw new Error(`It never said "${text}":\n${this.said}`);
      await Promise.race([new Promise((resolve) => (this.#wake = resolve)), sleep(200)]);
    }
    return this;
  }

  async kill(signal) {
    this.child.kill(signal);
    if ((await Promise.race([this.ended, sleep(20_000, 'late', { ref: false })])) === 'late') {
      this.child.kill('SIGKILL');
      await this.ended;
      throw new Error(`It did not end upon ${signal}:\n${this.said}`);
    }
  }
}

/** One act: an app of its own, a worker, and its ledger. */
class Act {
  constructor(name, { broker, backend, schedule, dir }, entries) {
    this.dir = mkdtempSync(join(dir, `${name}-`));
    this.env = {
      ...process.env,
      NAME: `beats-${name}-${process.pid}`,
      BROKER: broker,
      BACKEND: backend,
      ENTRIES: JSON.stringify(entries),
      LEDGER: join(this.dir, 'effects'),
    };
    this.steps = new Map(entries.map(([entry, seconds]) => [entry, seconds * 1000]));
    this.schedule = schedule ?? join(this.dir, 'schedule');
    this.all = [];
  }

  async begin() {
    this.worker = this.#start(
      'worker',
      '-l',
      'info',
      '-c',
      '10',
      '-Q',
      this.env.NAME,
      '--without-gossip',
      '--without-mingle',
    );
    await this.worker.says(' ready');
  }

  beat() {
    return this.#start('beat', '-l', 'info', '-s', this.schedule, '--lease', String(LEASE));
  }

  #start(...args) {
    const running = new Running(this.env, ...args);
    this.all.push(running);
    return running;
  }

  effects() {
    return readdirSync(this.dir)
      .filter((file) => file.startsWith('effects-'))
      .flatMap((file) => readFileSync(join(this.dir, file), 'utf8').split('\n').filter(Boolean))
      .map((line) => {
        const [entry, instant, at] = line.split(' ');
        return { entry, instant: Number(instant), at: Number(at) };
      })
      .toSorted((one, other) => one.at - other.at);
  }

  /** The first effect for which this is true. */
  async effect(what, isIt) {
    for (const end = Date.now() + PATIENCE_MS + FROZEN * 1000; Date.now() < end; await sleep(20)) {
      const found = this.effects().find(isIt);
      if (found !== undefined) return found;
    }
    throw new Error(`There was no effect: ${what}`);
  }

  /** Everything that is due by now, and two seconds more. */
  async caughtUp() {
    const now = Date.now();
    const behind = (entry) => this.effects().every((one) => one.entry !== entry || one.instant < now);
    for (const entry of this.steps.keys()) {
      if (behind(entry)) await this.effect(`${entry} after ${now}`, (one) => one.entry === entry && one.instant >= now);
    }
  }

  async end() {
    for (const { child } of this.all) child.kill('SIGCONT');
    const errors = [];
    for (const one of this.all.toReversed()) {
      if (one.child.exitCode === null && one.child.signalCode === null)
        await one.kill('SIGTERM').catch((error) => errors.push(error));
    }
    if (errors.length > 0) throw errors[0];
  }

  judge() {
    const report = { instants: 0, missed: 0, doubled: 0, strange: 0, sentTwice: this.worker.times('was sent twice') };
    const effects = this.effects();
    for (const [entry, step] of this.steps) {
      const instants = effects
        .filter((one) => one.entry === entry)
        .map(({ instant }) => instant)
        .toSorted((a, b) => a - b);
      const distinct = [...new Set(instants)];
      report.instants += distinct.length;
      report.doubled += instants.length - distinct.length;
      distinct.slice(1).forEach((instant, index) => {
        const gap = instant - distinct[index];
        if (gap % step !== 0) report.strange++;
        else report.missed += gap / step - 1;
      });
    }
    const isGood = report.instants > 0 && report.missed === 0 && report.doubled === 0 && report.strange === 0;
    return { ...report, isGood };
  }
}

const ENTRIES = [
  ['one', 1],
  ['five', 5],
];

async function kills(place) {
  const act = new Act('kills', place, ENTRIES);
  try {
    await act.begin();
    let beat = act.beat();
    const { instant } = await act.effect('the first', () => true);
    for (let kill = 0; kill < KILLS; kill++) {
      if (kill % 3 === 0) {
        await beat.says('beat: leads');
        await sleep(1000 - ((Date.now() - instant) % 1000) + Math.random() * 25 - 5);
      } else if (kill % 3 === 1) await beat.says('beat: sent');
      else await sleep(Math.random() * 1500);
      await beat.kill('SIGKILL');
      beat = act.beat();
    }
    await act.caughtUp();
  } finally {
    await act.end();
  }
  return { kills: KILLS, ...act.judge() };
}

async function leaders(place) {
  const act = new Act('leaders', place, ENTRIES);
  const takeOverMs = [];
  try {
    await act.begin();
    let leader = await act.beat().says('beat: leads');
    await act.effect('the first', () => true);
    let other = act.beat();
    const next = async (at) => {
      await other.says('beat: leads');
      takeOverMs.push((await act.effect('of the other', (one) => one.at > at && one.instant > at)).at - at);
    };
    for (let kill = 0; kill < LEADERS_KILLED; kill++) {
      await other.says('beat: ready');
      const at = Date.now();
      await leader.kill('SIGKILL');
      await next(at);
      [leader, other] = [other, act.beat()];
    }
    await other.says('beat: ready');
    const at = Date.now();
    leader.child.kill('SIGSTOP');
    await next(at);
    await sleep(at + FROZEN * 1000 - Date.now());
    leader.child.kill('SIGCONT');
    await leader.says('another beat leads now');
    await act.caughtUp();
  } finally {
    await act.end();
  }
  const report = act.judge();
  const isGood = report.isGood && Math.max(...takeOverMs) <= 30_000;
  return { leadersKilled: LEADERS_KILLED, frozenSeconds: FROZEN, takeOverMs, ...report, isGood };
}

async function exact(place) {
  const act = new Act(
    'exact',
    place,
    Array.from({ length: 50 }, (_, index) => [`e${index}`, 1]),
  );
  let beat;
  try {
    await act.begin();
    beat = act.beat();
    const { instant } = await act.effect('the first', () => true);
    await act.effect('the last', (one) => one.instant >= instant + SECONDS * 1000);
  } finally {
    await act.end();
  }
  const late = (times) => {
    const sorted = times.map(({ at, instant }) => at - instant).toSorted((a, b) => a - b);
    const at = (part) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))];
    return { p50: at(0.5), p99: at(0.99), most: at(1) };
  };
  const sent = beat.said
    .split('\n')
    .filter((line) => line.includes('beat: sent'))
    .map((line) => JSON.parse(line))
    .map(({ time, instant }) => ({ at: Date.parse(time), instant: Date.parse(instant) }));
  const half = Math.floor(sent.length / 2);
  const report = { sent: late(sent), begun: late(act.effects()), ...act.judge() };
  const isGood = report.isGood && report.sent.p99 <= LATE_MS;
  // What grows from the first half to the second would be drift.
  return { ...report, firstHalf: late(sent.slice(0, half)), secondHalf: late(sent.slice(half)), isGood };
}

let failed = 0;
for (const store of positionals.length > 0 ? positionals : ['sqlite', 'redis']) {
  const { services, broker, backend } = BROKERS[store];
  const dir = mkdtempSync(join(tmpdir(), 'lovage-beats-'));
  const running = await startServices(services);
  try {
    const url = backend(running.env, dir);
    const place = {
      dir,
      broker: broker(running.env, dir),
      backend: url,
      schedule: store === 'sqlite' ? undefined : url,
    };
    const acts = { kills, leaders, exact };
    const wanted = values.acts.split(',');
    // What is measured runs alone.
    const together = [wanted.filter((name) => name !== 'exact'), wanted.filter((name) => name === 'exact')];
    for (const names of together) {
      const reports = await Promise.all(
        names.map((name) => acts[name](place).catch((error) => ({ error: error.message, isGood: false }))),
      );
      reports.forEach(({ isGood, ...report }, index) => {
        console.log(JSON.stringify({ store, act: names[index], ...report, good: isGood }));
        if (!isGood) failed++;
      });
    }
  } finally {
    await running.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}
process.exitCode = failed === 0 ? 0 : 1;
