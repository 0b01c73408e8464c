// Our crontab and Celery's own, side by side: when would beat fire? Two simulated years in five zones, to the minute.
//
// Celery needs some 30 us for each firing, and the dense expressions fire ten million times. So by default those are asked
// for in UTC, and of the other zones only in the days around each change of their clocks: between two changes Celery
// counts on the wall clock alone, and UTC's answer is theirs. With LOVAGE_ALL set, everything is asked for in its zone
// (minutes instead of seconds).
import { availableParallelism } from 'node:os';
import { crontab, type CrontabOptions, Zone } from '@lovage/core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PythonProgram } from './processes.ts';

const ZONES = ['Europe/Paris', 'America/New_York', 'Australia/Lord_Howe', 'Asia/Shanghai', 'UTC'];
const FROM = Date.UTC(2026, 0, 1);
const TO = Date.UTC(2028, 0, 1);
const DAY_MS = 86_400_000;
const HALF_HOUR_MS = 1_800_000;
const MINUTE_MS = 60_000;
/** More firings than this in two years: dense. */
const DENSE = 20_000;

// biome-ignore format: a list
const EXPRESSIONS: readonly CrontabOptions[] = [
  {}, { minute: '*/45', hour: '*/7' }, { minute: '*/2' }, { minute: '*/5' }, { minute: '*/7' }, { minute: '*/15' }, { minute: '*/30' },
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

/** When the clocks of each zone change within the two years. */
const CHANGES = new Map(
  ZONES.map((zone) => {
    const times = Array.from({ length: (TO - FROM) / HALF_HOUR_MS }, (_, index) => FROM + index * HALF_HOUR_MS);
    return [zone, times.filter((at) => Zone.of(zone).offset(at) !== Zone.of(zone).offset(at - 1))];
  }),
);

/** `from`, `from` + `step` ... minutes of an hour, as the wall clock shows them. */
const minutes = (hour: string, from: number, to: number, step = 1): string[] =>
  Array.from({ length: Math.floor((to - from) / step) + 1 }, (_, index) => `${hour}:${from + index * step}`);
const AN_HOUR = {
  "crontab(minute='5,32', hour=2)": ['03:32'],
  "crontab(minute='*/10', hour='0-4/2')": minutes('03', 10, 50, 10),
};

/**
 * Where we differ, and why: Celery looks only for what follows the last run on the wall clock, so of the times that a
 * clock skips when it is put forward it runs those that come before any other, and forgets the rest. Here each is run, as
 * much later as the clock was put forward. By zone: the crontab, and what the clock shows when only we fire, on the day of
 * the change. docs/guide/periodic-tasks.md says the same.
 */
const DIFFERENCES: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  'Europe/Paris': AN_HOUR,
  'America/New_York': AN_HOUR,
  'Australia/Lord_Howe': {
    "crontab(minute='*/7')": minutes('02', 37, 58, 7),
    "crontab(minute='10-20')": minutes('02', 41, 50),
    "crontab(minute='50-10')": minutes('02', 31, 40),
    "crontab(minute='50-10/3')": minutes('02', 35, 38, 3),
    "crontab(minute='0,1,58')": ['02:31'],
    "crontab(minute='5,32', hour=2)": ['02:32'],
  },
};

const python = process.env['LOVAGE_TEST_PYTHON'];

/** Celeries with nothing to do, and questions that wait for one. */
const idle: PythonProgram[] = [];
const waiting: ((celery: PythonProgram) => void)[] = [];

/** When Celery's beat fires after `from` and before `to`. */
async function celery(zone: string, from: number, to: number, options: CrontabOptions): Promise<number[]> {
  const fields = Object.fromEntries(
    Object.entries(options).map(([name, value]) => [name.replace(/[A-Z]/g, (l) => `_${l.toLowerCase()}`), value]),
  );
  const program = idle.pop() ?? (await new Promise<PythonProgram>((resolve) => waiting.push(resolve)));
  try {
    const minutes = (await program.ask({ zone, from: from / 1000, to: to / 1000, fields })) as number[];
    return minutes.map((minute) => minute * MINUTE_MS);
  } finally {
    const next = waiting.shift();
    if (next === undefined) idle.push(program);
    else next(program);
  }
}

/** When it fires by the wall clock of a zone whose clocks never change. */
const onTheWall = new Map<CrontabOptions, Promise<number[]>>();
function wallOf(options: CrontabOptions): Promise<number[]> {
  let answer = onTheWall.get(options);
  if (answer === undefined) onTheWall.set(options, (answer = celery('UTC', FROM - DAY_MS, TO + DAY_MS, options)));
  return answer;
}

/** All of the two years: asked for around changes of clocks, by the wall clock between them. */
async function sharedWithUtc(zone: string, options: CrontabOptions): Promise<number[]> {
  const wall = await wallOf(options);
  const found: number[] = [];
  let from = FROM;
  for (const change of [...(CHANGES.get(zone) ?? []), TO]) {
    const isEnd = change === TO;
    const calmTo = isEnd ? TO - 1 : floorDay(change) - DAY_MS / 2;
    const offset = Zone.of(zone).offset(from);
    for (const time of wall) if (time - offset > from && time - offset <= calmTo) found.push(time - offset);
    if (isEnd) break;
    const askedTo = floorDay(change) + 2 * DAY_MS;
    found.push(...(await celery(zone, calmTo, askedTo, options)));
    from = askedTo - 1;
  }
  return found;
}

function theirs(zone: string, options: CrontabOptions): Promise<number[]> {
  const isDense = ours(zone, FROM, FROM + 14 * DAY_MS, options).length * 52 > DENSE;
  const mayShare = isDense && (zone === 'UTC' || process.env['LOVAGE_ALL'] === undefined);
  return mayShare ? sharedWithUtc(zone, options) : celery(zone, FROM, TO, options);
}

describe.skipIf(python === undefined)("Celery's crontab", () => {
  const celeries: PythonProgram[] = [];
  beforeAll(() => {
    for (let index = 0; index < Math.max(2, availableParallelism()); index++)
      celeries.push(new PythonProgram(python as string, 'crontab_instants.py', process.env));
    idle.push(...celeries);
  });
  afterAll(() => Promise.all(celeries.map((one) => one.close())));

  test.each(ZONES)('%s: all fire at the same minutes', { timeout: 900_000 }, async (zone) => {
    const answers = await Promise.all(EXPRESSIONS.map((options) => theirs(zone, options)));
    const differences: Record<string, string[]> = {};
    // Half a year of all, then the next: a zone remembers so many of its offsets.
    for (let from = FROM, to = from; to < TO; from = to - 1) {
      to = Math.min(TO, from + 182 * DAY_MS);
      EXPRESSIONS.forEach((options, index) => {
        const { missing, extra } = difference(answers[index] as number[], ours(zone, from, to, options), from, to);
        const say = (instants: number[]): string[] => instants.slice(0, 5).map((one) => new Date(one).toISOString());
        const beyond = extra.filter((instant) => !isAfterGap(zone, instant));
        expect({ options, missing: say(missing), extra: say(beyond) }).toEqual({ options, missing: [], extra: [] });
        for (const instant of extra) {
          const shown = new Date(Zone.of(zone).toWall(instant)).toISOString().slice(11, 16);
          const listed = (differences[String(crontab(options))] ??= []);
          if (!listed.includes(shown)) listed.push(shown);
        }
      });
    }
    expect(differences).toEqual(DIFFERENCES[zone] ?? {});
  });
});

/** Within the hour after the clock of a zone was put forward. */
function isAfterGap(zone: string, instant: number): boolean {
  const clock = Zone.of(zone);
  return (CHANGES.get(zone) ?? []).some(
    (change) =>
      clock.offset(change) > clock.offset(change - 1) && instant >= change && instant < change + 2 * HALF_HOUR_MS,
  );
}

/** Of two rising lists, what is in one alone, from after `from` on, before `to`. */
function difference(theirs: readonly number[], mine: readonly number[], from: number, to: number) {
  const missing: number[] = [];
  const extra: number[] = [];
  let at = 0;
  for (const instant of theirs) {
    if (instant <= from || instant >= to) continue;
    while (at < mine.length && (mine[at] as number) < instant) extra.push(mine[at++] as number);
    if (mine[at] === instant) at++;
    else missing.push(instant);
  }
  return { missing, extra: [...extra, ...mine.slice(at)] };
}

function ours(zone: string, from: number, to: number, options: CrontabOptions): number[] {
  const schedule = crontab(options);
  const context = { zone: Zone.of(zone), anchor: from };
  const found: number[] = [];
  for (let at = schedule.next(from, context); at !== undefined && at < to; at = schedule.next(at, context))
    found.push(at);
  return found;
}

function floorDay(instant: number): number {
  return Math.floor(instant / DAY_MS) * DAY_MS;
}
