import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { bin, endAll, type Running, startCommand } from './support/command.ts';
import { projectFolder } from './support/folder.ts';

const TASKS = `
import { Lovage } from '@lovage/core';
export const app: Lovage = new Lovage('shop', { broker: 'sqla+sqlite:///shop.db', backend: 'db+sqlite:///shop.db' });
app.task('tasks.add', { params: ['x', 'y'] }, (x: number, y: number) => x + y);
`;

let folder: ReturnType<typeof projectFolder>;
let started: Running[] = [];

beforeEach(() => {
  folder = projectFolder({ 'tasks.ts': TASKS });
});

afterEach(async () => {
  for (const name of ['mail', 'images', 'beat']) {
    if (existsSync(join(folder.path, `run/${name}.pid`))) process.kill(Number(read(`run/${name}.pid`)), 'SIGKILL');
  }
  await endAll(started);
  started = [];
  folder.remove();
});

const run = (...args: string[]): Running['ended'] => {
  const running = startCommand(folder.path, args);
  started.push(running);
  return running.ended;
};
const read = (file: string): string => readFileSync(join(folder.path, file), 'utf8');

test('multi starts workers, stops them and says what is down', async () => {
  const files = ['--pidfile=run/%n.pid', '--logfile=log/%n.log'];
  const start = [
    'multi',
    'start',
    'mail',
    'images',
    '-A',
    './tasks.ts',
    '-l',
    'info',
    '-c',
    '2',
    '-Q:images',
    'images',
  ];
  const begun = await run(...start, ...files);
  expect(begun).toMatchObject({ code: 0, err: '' });
  expect(begun.out).toMatch(/^> Starting nodes\.\.\.\n/);
  for (const name of ['mail', 'images']) expect(begun.out).toMatch(new RegExp(`\t> ${name}@.*: OK\n`));
  const pids = ['mail', 'images'].map((name) => Number(read(`run/${name}.pid`)));
  for (const pid of pids) expect(process.kill(pid, 0)).toBe(true);
  await expect.poll(() => read('log/images.log')).toContain('consuming from images');
  expect((await run('-A', './tasks.ts', 'call', 'tasks.add', '-a', '[20, 22]', '--wait', '10')).out).toBe('42\n');

  const again = await run(...start, ...files, '--json');
  expect(again.code).toBe(1);
  expect(JSON.parse(again.out)).toMatchObject([
    { status: 'failed', error: expect.stringContaining(`names process ${pids[0]}, which runs`) },
    { status: 'failed' },
  ]);

  const restarted = await run(...start.with(1, 'restart'), ...files, '-QUIT');
  expect(restarted).toMatchObject({ code: 0, err: '' });
  expect(restarted.out).toContain(`SIGQUIT -> ${pids[0]}`);
  expect(Number(read('run/mail.pid'))).not.toBe(pids[0]);

  expect(await run('multi', 'stopwait', 'mail', 'images', ...files)).toMatchObject({ code: 0, err: '' });
  expect(existsSync(join(folder.path, 'run/mail.pid'))).toBe(false);
  const down = await run('multi', 'stop', 'mail', ...files, '--json');
  expect(JSON.parse(down.out)).toMatchObject([{ name: expect.stringMatching(/^mail@/), status: 'down' }]);
});

test('what keeps a command in the background from starting is said in the foreground', async () => {
  const missing = await run('-A', './nothing', 'worker', '--detach', '--pidfile', 'run/mail.pid');
  expect(missing).toMatchObject({ code: 78, out: '', err: expect.stringMatching(/^Error: No module "\.\/nothing"/) });
  const wrong = await run('-A', './tasks.ts', 'worker', '-D', '-P', 'nonsense');
  expect(wrong).toMatchObject({ code: 78, err: expect.stringContaining('nonsense') });
  const nobody = await run('-A', './tasks.ts', 'beat', '--uid', 'no-such-user-here');
  expect(nobody).toMatchObject({ code: 1, err: expect.stringContaining('cannot become no-such-user-here') });
  const ofNode = ['--no-warnings', '--cpu-prof', '--cpu-prof-dir', 'profiles', '--inspect=127.0.0.1:0'];
  const ofBeat = ['-A', './tasks.ts', 'beat', '--detach', '--pidfile', 'run/beat.pid', '--umask', '077'];
  const beat = startCommand(folder.path, [...ofNode, bin, ...ofBeat], { program: process.execPath });
  started.push(beat);
  expect(await beat.ended).toMatchObject({ code: 0, out: '' });
  const pid = read('run/beat.pid').trim();
  // What is of this process alone, the one in the background does not have.
  if (process.platform === 'linux')
    expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(1, -1)).toEqual([
      '--no-warnings',
      bin,
      ...ofBeat,
    ]);
  expect(process.kill(Number(pid), 'SIGTERM')).toBe(true);
});
