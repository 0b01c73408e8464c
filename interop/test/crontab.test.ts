// Our crontab and Celery's own, side by side: when would beat fire? Two simulated years in five zones.
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { crontab, type CrontabOptions, Zone } from '@lovage/core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const ZONES = ['Europe/Paris', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Shanghai', 'UTC'];
const FROM = Date.UTC(2026, 0, 1);
const TO = Date.UTC(2028, 0, 1);
const DAY_MS = 86_400_000;
/** Celery needs minutes for them: without LOVAGE_ALL they are compared in the days around each change of a clock. */
const DENSE = 3000;

// biome-ignore format: a list
const EXPRESSIONS: readonly CrontabOptions[] = [
  {}, { minute: '*' , hour: '*' }, { minute: '*/2' }, { minute: '*/5' }, { minute: '*/7' }, { minute: '*/15' }, { minute: '*/30' },
  { minute: '*/59' }, { minute: '0,30' }, { minute: '10-20' }, { minute: '50-10' }, { minute: '50-10/3' }, { minute: 0 }, { minute: 59 },
  { minute: [0, 1, 58] }, { minute: 0, hour: 0 }, { minute: 30, hour: 0 }, { minute: 0, hour: 1 }, { minute: 30, hour: 1 },
  { minute: 0, hour: 2 }, { minute: 30, hour: 2 }, { minute: 45, hour: 2 }, { minute: 0, hour: 3 }, { minute: 30, hour: 3 },
  { minute: '*/15', hour: '1-3' }, { minute: '5,32', hour: 2 }, { minute: '*/10', hour: '0-4/2' }, { minute: 0, hour: '*/3,10-19' },
  { minute: 0, hour: '*/3,8-17' }, { minute: 0, hour: '*/4' }, { minute: 0, hour: '22-3' }, { minute: 15, hour: '23-1/2' },
  { minute: '*', hour: '3,17,22' }, { minute: '*', hour: '3,17,22', dayOfWeek: 'thu,fri' }, { minute: '*/10', hour: '3,17,22', dayOfWeek: 'thu,fri' },
  { minute: 0, hour: 7, dayOfWeek: 1 }, { minute: 0, hour: 7, dayOfWeek: 'mon-fri' }, { minute: 0, hour: 7, dayOfWeek: 'fri-mon' },
  { minute: 0, hour: 7, dayOfWeek: 'sunday' }, { minute: 30, hour: 2, dayOfWeek: 'sun' }, { minute: 30, hour: 1, dayOfWeek: 'sun' },
  { minute: 0, hour: 0, dayOfWeek: '*/2' }, { minute: 0, hour: 0, dayOfMonth: 1 }, { minute: 0, hour: 0, dayOfMonth: 31 },
  { minute: 0, hour: 0, dayOfMonth: '1-7,15-21' }, { minute: 0, hour: 0, dayOfMonth: '2-30/2' }, { minute: 0, hour: 0, dayOfMonth: '28-3' },
  { minute: 0, hour: 0, dayOfMonth: '*/10' }, { minute: 0, hour: 0, dayOfMonth: 13, dayOfWeek: 'fri' }, { minute: 0, hour: 0, monthOfYear: '*/3' },
  { minute: 0, hour: 0, dayOfMonth: 2, monthOfYear: '*/3' }, { minute: 0, hour: 0, dayOfMonth: 11, monthOfYear: 5 }, { minute: 0, hour: 0, dayOfMonth: 29, monthOfYear: 'feb' },
  { minute: 0, hour: 0, dayOfMonth: '30,31', monthOfYear: 'apr-jun' }, { minute: 0, hour: 12, monthOfYear: 'nov-feb' }, { minute: 30, hour: '2', monthOfYear: 'mar,oct' },
  { minute: '*/20', hour: '9-17', dayOfWeek: 'mon-fri', monthOfYear: '*/2' }, { minute: 1, hour: 1, dayOfMonth: 1, monthOfYear: 1 },
  { minute: '0-59/13', hour: '*/5' }, { minute: 0, hour: '1,2,3' },
];

/**
 * Where we differ, and why: Celery looks only for what follows the last run on the wall clock, so of the times that a
 * clock skips when it is put forward it runs those that come before any other, and forgets the rest. Here each is run.
 */
const isListedDifference = (zone: string, instant: number): boolean =>
  changesOf(zone).some(
    (change) =>
      Zone.of(zone).offset(change) > Zone.of(zone).offset(change - 1) &&
      instant >= change &&
      instant < change + 3_600_000,
  );

const python = process.env['LOVAGE_TEST_PYTHON'];

describe.skipIf(python === undefined).each(ZONES)('%s', (zone) => {
  let child: ChildProcess;
  const answers: ((instants: number[]) => void)[] = [];

  beforeAll(() => {
    child = spawn(python as string, [fileURLToPath(new URL('../python/crontab_instants.py', import.meta.url))], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) =>
      answers.shift()?.(JSON.parse(line) as number[]),
    );
  });
  afterAll(() => {
    child.stdin?.end();
  });

  function celery(from: number, to: number, options: CrontabOptions): Promise<number[]> {
    const fields = Object.fromEntries(
      Object.entries(options).map(([name, value]) => [name.replace(/[A-Z]/g, (l) => `_${l.toLowerCase()}`), value]),
    );
    return new Promise((resolve) => {
      answers.push((seconds) => resolve(seconds.map((one) => one * 1000)));
      child.stdin?.write(`${JSON.stringify({ zone, from: from / 1000, to: to / 1000, fields })}\n`);
    });
  }

  test(`${EXPRESSIONS.length} crontabs fire when Celery's do`, { timeout: 3_600_000 }, async () => {
    for (const options of EXPRESSIONS) {
      const isDense = ours(zone, FROM, FROM + 14 * DAY_MS, options).length * 26 > DENSE;
      const windows: [number, number][] =
        isDense && process.env['LOVAGE_ALL'] === undefined
          ? [FROM, ...changesOf(zone)].map((change) => [floorDay(change) - DAY_MS / 2, floorDay(change) + 2 * DAY_MS])
          : [[FROM, TO]];
      for (const [from, to] of windows) {
        const theirs = await celery(from, to, options);
        const mine = ours(zone, from, to, options);
        const [inTheirs, inMine] = [new Set(theirs), new Set(mine)];
        const missing = theirs.filter((instant) => !inMine.has(instant));
        const extra = mine.filter((instant) => !inTheirs.has(instant) && !isListedDifference(zone, instant));
        const say = (instants: number[]): string[] => instants.slice(0, 5).map((one) => new Date(one).toISOString());
        expect({ options, missing: say(missing), extra: say(extra) }).toEqual({ options, missing: [], extra: [] });
      }
    }
  });
});

function ours(zone: string, from: number, to: number, options: CrontabOptions): number[] {
  const schedule = crontab(options);
  const context = { zone: Zone.of(zone), anchor: from };
  const found: number[] = [];
  for (let at = schedule.next(from, context); at !== undefined && at < to; at = schedule.next(at, context))
    found.push(at);
  return found;
}

/** When the clocks of a zone change within the two years. */
function changesOf(zone: string): number[] {
  const clock = Zone.of(zone);
  const changes: number[] = [];
  for (let at = FROM; at < TO; at += 1_800_000) if (clock.offset(at) !== clock.offset(at - 1_800_000)) changes.push(at);
  return changes;
}

function floorDay(instant: number): number {
  return Math.floor(instant / DAY_MS) * DAY_MS;
}
