import { afterEach, beforeEach, expect, test } from 'vitest';
import { endAll, type Running, startCommand } from './support/command.ts';
import { projectFolder } from './support/folder.ts';

const TASKS = `
import { crontab, Lovage } from '@lovage/core';
export const app: Lovage = new Lovage('shop', {
  broker: 'sqla+sqlite:///shop.db',
  backend: 'db+sqlite:///shop.db',
  timezone: 'Europe/Paris',
  beatSchedule: {
    report: { task: 'tasks.report', schedule: crontab({ minute: 0, hour: '*/3,10-19' }), args: ['sales'] },
  },
});
app.task('tasks.report', (_kind: string) => 'reported');
app.task('tasks.tick', () => 'tick').every(0.2, [], { name: 'tick' });
`;

let folder: ReturnType<typeof projectFolder>;
let started: Running[] = [];

beforeEach(() => {
  folder = projectFolder({ 'tasks.ts': TASKS });
});

afterEach(async () => {
  await endAll(started);
  started = [];
  folder.remove();
});

function start(...args: string[]): Running {
  const running = startCommand(folder.path, ['-A', './tasks.ts', ...args]);
  started.push(running);
  return running;
}

const schedule = (...args: string[]): Running['ended'] => start('schedule', ...args).ended;

test('beat sends, a signal ends it, and schedule shows, pauses, resumes and runs', async () => {
  const beat = start('beat', '-l', 'info', '--log-format', 'line', '--max-interval', '0.2');
  await beat.said('beat: sent tick (tasks.tick)');
  const listed = JSON.parse((await schedule('list', '--json')).out) as Record<string, unknown>[];
  expect(listed.map(({ name }) => name)).toEqual(['report', 'tick', 'celery.backend_cleanup']);
  expect(listed[0]).toMatchObject({
    task: 'tasks.report',
    schedule: "crontab(minute=0, hour='*/3,10-19')",
    zone: 'Europe/Paris',
    isPaused: false,
    totalRunCount: 0,
  });
  expect(await schedule('pause', 'tick')).toMatchObject({ code: 0, out: 'tick is paused\n', err: '' });
  const people = (await schedule('list')).out;
  expect(people).toMatch(/^report\n {4}task {2}tasks\.report\n/);
  expect(people).toMatch(/next {2}\w+day.* 20\d\d at \d\d:00:00 \S+ \(in \d+ (hours?|minutes?)\)/);
  expect(people).toMatch(/tick\n {4}task {2}tasks\.tick\n {4}when {2}every\(0\.2\)\n {4}next {2}paused/);
  expect((await schedule('resume', 'tick', '--json')).out).toBe('{"resumed":"tick"}\n');
  const times = (await schedule('next', 'report', '-n', '3')).out.trim().split('\n');
  expect(times.length).toBe(3);
  expect((await schedule('run', 'report')).out.trim()).toMatch(/^[\da-f-]{36}$/);
  expect(await schedule('pause', 'nobody')).toMatchObject({
    code: 78,
    err: expect.stringContaining('There is no periodic task "nobody". Expected one of: report, tick'),
  });
  beat.child.kill('SIGTERM');
  expect((await beat.ended).code).toBe(0);
});

test('a worker runs a beat of its own with -B', async () => {
  const worker = start('worker', '-B', '-l', 'info', '--log-format', 'line');
  await worker.said('beat: sent tick (tasks.tick)');
  await worker.said('tasks.tick');
  await worker.said('succeeded in');
  worker.child.kill('SIGTERM');
  expect((await worker.ended).code).toBe(0);
});

test('a broker that can never be reached ends beat at once', async () => {
  const { code, err } = await start('-b', 'nowhere://host', 'beat').ended;
  expect(code).not.toBe(0);
  expect(err).toContain('No transport handles "nowhere://');
});

test('a scheduler of the application gives entries, which schedule shows too', async () => {
  folder.remove();
  folder = projectFolder({
    'tasks.ts': TASKS,
    'schedules.ts': `
      export default (app: { name: string }) => ({
        mine: { task: 'tasks.tick', schedule: '0 7 * * *', kwargs: { shop: app.name }, tz: 'Asia/Tokyo' },
        broken: { task: 'tasks.tick', schedule: 'at seven' },
      });`,
  });
  const beat = start('beat', '-l', 'info', '--log-format', 'line', '-S', './schedules.ts');
  await beat.said("The scheduler's periodic task broken is left out");
  await beat.said('beat: sent tick');
  const listed = JSON.parse((await schedule('list', '--json', '-S', './schedules.ts')).out) as Record<
    string,
    unknown
  >[];
  expect(listed.find(({ name }) => name === 'mine')).toMatchObject({
    schedule: 'cron(0 7 * * *)',
    from: 'scheduler',
    zone: 'Asia/Tokyo',
    kwargs: { shop: 'shop' },
  });
  expect((await schedule('next', 'mine', '-n', '1', '-S', './schedules.ts')).out).toMatch(
    / at 07:00:00 Asia\/Tokyo \(in /,
  );
});

test("a class of Python's schedulers is refused with what to do", async () => {
  const { code, err } = await start('beat', '-S', 'django_celery_beat.schedulers:DatabaseScheduler').ended;
  expect(code).toBe(2);
  expect(err).toContain('is a scheduler of Python. Expected a module whose default export gives periodic tasks');
});
