import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { endAll, type Running, startCommand } from './support/command.ts';
import { projectFolder } from './support/folder.ts';

const tasks = (body: string): string => `
import { writeFileSync } from 'node:fs';
import { Lovage } from '@lovage/core';
export const app: Lovage = new Lovage('dev', { broker: 'sqla+sqlite:///dev.db', backend: 'db+sqlite:///dev.db' });
app.task('tasks.version', () => ${body});
app.task('tasks.long', async () => {
  writeFileSync('began', '');
  await new Promise((resolve) => setTimeout(resolve, 1500));
  writeFileSync('ended', '');
});
`;

let folder: ReturnType<typeof projectFolder>;
let started: Running[] = [];

beforeEach(() => {
  folder = projectFolder({ 'tasks.ts': tasks("'first'") });
});

afterEach(async () => {
  await endAll(started);
  started = [];
  folder.remove();
});

function start(args: readonly string[], terminal = false): Running {
  const running = startCommand(folder.path, ['-A', './tasks.ts', ...args], { terminal });
  started.push(running);
  return running;
}

const write = (text: string): void => writeFileSync(join(folder.path, 'tasks.ts'), text);
const version = async (): Promise<string> => (await start(['call', 'tasks.version', '--wait', '20']).ended).out;

test('a change starts the worker again, a broken one shows its error and waits, Ctrl+C ends all', async () => {
  const dev = start(['dev'], true);
  await dev.said('ready: consuming');
  expect(await version()).toBe('first\n');

  // What runs is finished first.
  await start(['call', 'tasks.long']).ended;
  await expect.poll(() => existsSync(join(folder.path, 'began'))).toBe(true);
  write(tasks("'second'"));
  await dev.said(/tasks\.ts changed; starting again[^]*stops: 1 tasks? run[^]*stopped[^]*ready: consuming/);
  expect(existsSync(join(folder.path, 'ended'))).toBe(true);
  expect(await version()).toBe('second\n');

  write(tasks("'third' +"));
  await dev.said(/could not be loaded:[^]*tasks\.ts[^]*dev the worker ended with 78; waiting for a change/);
  write(tasks("'fourth'"));
  await dev.said(/waiting for a change[^]*starting again[^]*ready: consuming/);
  expect(await version()).toBe('fourth\n');

  dev.type('\x03');
  const { code, err } = await dev.ended;
  expect(code).toBe(0);
  expect(err).toContain('\x1b[32mINFO');
  // Several changes at once are one start.
  expect(err.match(/starting again/g)).toHaveLength(3);
}, 60_000);

test('nothing is left behind when it is killed', async () => {
  const dev = start(['dev', '--', '--pidfile', 'worker.pid']);
  await dev.said('ready: consuming');
  expect(existsSync(join(folder.path, 'worker.pid'))).toBe(true);
  dev.child.kill('SIGKILL');
  await expect.poll(() => existsSync(join(folder.path, 'worker.pid'))).toBe(false);
});
