import { readdirSync } from 'node:fs';
import { basename } from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import type { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { EXIT } from '../src/exit-codes.ts';
import { createProgram } from '../src/program.ts';
import { endAll, type Ended, type Running, startCommand } from './support/command.ts';
import { projectFolder } from './support/folder.ts';
import type { Expected, VerbCase, VerbContext, VerbRows } from './support/verbs.ts';

const TASKS = `
import { crontab, Lovage } from '@lovage/core';
export const app: Lovage = new Lovage('shop', {
  broker: 'sqla+sqlite:///shop.db',
  backend: 'db+sqlite:///shop.db',
  timezone: 'Europe/Paris',
  workerUnknownTaskRetries: 0,
  beatSchedule: {
    report: { task: 'tasks.add', schedule: crontab({ minute: 0, hour: 7 }), args: [1, 2] },
    paused: { task: 'tasks.add', schedule: crontab({ minute: 0, hour: 8 }), args: [3, 4] },
  },
});
app.task('tasks.add', { params: ['x', 'y'] }, (x: number, y: number) => x + y);
app.task('tasks.fail', () => { throw new RangeError('too far'); });
app.task('tasks.slow', async () => { await new Promise((resolve) => setTimeout(resolve, 500)); return 'slow'; });
`;

const files = readdirSync(new URL('verbs/', import.meta.url)).toSorted();
const tables = await Promise.all(
  files.map(async (file) => {
    const { default: rows } = (await import(`./verbs/${file}`)) as { default: VerbRows };
    return [basename(file, '.ts'), rows] as const;
  }),
);
const rows = new Map(tables.flatMap(([, table]) => Object.entries(table)));
const names = verbsOf(await createProgram());

/** The full names of all verbs that do something: `worker`, `schedule list`. */
function verbsOf(command: Command, before = ''): readonly string[] {
  return command.commands.flatMap((verb) => {
    const name = `${before}${verb.name()}`;
    return verb.commands.length > 0 ? verbsOf(verb, `${name} `) : [name];
  });
}

test('every verb of the program has a row, in the file of its first word', () => {
  expect(new Set(rows.keys())).toEqual(new Set(names));
  for (const [file, table] of tables)
    for (const name of Object.keys(table)) expect(`${name.split(' ')[0]}.ts`).toBe(`${file}.ts`);
});

describe('each verb, piped and on a terminal', () => {
  const folder = projectFolder({ 'tasks.ts': TASKS }, ['core', 'transport-sql', 'transport-redis', 'backend-sql']);
  const started: Running[] = [];
  let context: VerbContext;

  const start = (...given: Parameters<typeof startCommand>): Running => {
    const running = startCommand(...given);
    started.push(running);
    return running;
  };
  const run = (...args: string[]): Promise<Ended> => start(folder.path, args).ended;

  beforeAll(async () => {
    const app = ['-A', './tasks.ts'];
    const node = 'verbs@here';
    const worker = start(folder.path, [...app, 'worker', '-E', '-n', node, '-l', 'info', '--log-format', 'line']);
    await worker.said('ready: consuming');
    const called = async (task: string, ...args: string[]): Promise<string> =>
      (JSON.parse((await run(...app, 'call', task, ...args, '--json')).out) as { task_id: string }).task_id;
    const [succeeded, failed] = await Promise.all([called('tasks.add', '-a', '[2, 2]'), called('tasks.fail')]);
    await Promise.all([worker.said(`${succeeded}] succeeded`), worker.said(`${failed}] raised`)]);
    context = { folder: folder.path, node, succeeded, failed, run };
  });

  afterAll(async () => {
    await endAll(started);
    folder.remove();
  });

  // One verb after the other would leave the machine idle; the cases of one verb share the project's state.
  test.concurrent.each(names)('%s', { timeout: 120_000 }, async (name) => {
    const help: VerbCase = {
      args: [...name.split(' '), '--help'],
      code: 0,
      out: new RegExp(`^Usage: lovage ${name} [^]*Options:[^]*Examples:\\n {2}(?:npx |source <\\()?lovage `),
      err: '',
    };
    for (const one of [help, ...(rows.get(name) ?? [])])
      for (const terminal of [false, true]) await check(one, terminal);
  });

  async function check(one: VerbCase, terminal: boolean): Promise<void> {
    // What is wrong is wrong on a terminal too: those cases run once.
    const isRefused = one.code === EXIT.usage || one.code === EXIT.config || one.code === EXIT.unavailable;
    const also = terminal ? (one.terminal ?? !isRefused) : one.piped;
    if (also === false) return;
    const place = { ...context, terminal };
    await one.before?.(context);
    const args = typeof one.args === 'function' ? one.args(context) : one.args;
    const env = { LOVAGE_APP: './tasks.ts', ...one.env };
    const running = start(folder.path, args, { terminal, env });
    await one.act?.(running, place);
    const ended = await running.ended;
    const what = `${terminal ? 'terminal' : 'piped'}: lovage ${args.join(' ')} ${one.title ?? ''}\n${JSON.stringify(ended)}`;
    expectEnd(ended, one, what);
    expectEnd(ended, typeof also === 'object' ? also : {}, what);
    if (!terminal && one.env?.['FORCE_COLOR'] === undefined) {
      expect(stripVTControlCharacters(ended.out), what).toBe(ended.out);
      expect(stripVTControlCharacters(ended.err), what).toBe(ended.err);
    }
    await one.after?.(ended, place);
  }
});

/** Without colours: what a terminal shows is the same text. */
function expectEnd(ended: Ended, { code, out, err }: Expected, what: string): void {
  const all = { code: ended.code, out: stripVTControlCharacters(ended.out), err: stripVTControlCharacters(ended.err) };
  if (code !== undefined) expect(all.code, what).toBe(code);
  for (const [stream, text] of [
    ['out', out],
    ['err', err],
  ] as const) {
    if (typeof text === 'string') expect(all[stream], what).toBe(text);
    else if (text !== undefined) expect(all[stream], what).toMatch(text);
  }
  // A message for people, never where in the code it came from.
  if (code !== undefined && code !== 0) expect(all.err, what).not.toMatch(/^ {4}at /m);
}
