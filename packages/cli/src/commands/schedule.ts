import type { PeriodicTasks, PeriodicTaskStatus } from '@lovage/beat';
import { Command } from 'commander';
import { globalOptions, openApp, print } from '../context.ts';
import { loadScheduler } from '../load-scheduler.ts';
import { count } from '../option-values.ts';

interface ScheduleOptions {
  readonly schedule?: string;
  readonly scheduler?: string;
  readonly json?: boolean;
  readonly count?: number;
}

/** `lovage schedule`: shows and changes periodic tasks, while beats run. */
export function scheduleCommand(): Command {
  const group = new Command('schedule').description('Show periodic tasks, run one now, pause and resume them');
  const verb = (name: string, description: string, example: string): Command =>
    group
      .command(name)
      .description(description)
      .option('-s, --schedule <place>', 'where the schedule is kept, as for beat: a path or a URL')
      .option('-S, --scheduler <module>', 'as for beat: its default export gives periodic tasks')
      .option('-j, --json', 'print JSON')
      .addHelpText('after', `\nExamples:\n  lovage -A ./tasks schedule ${name} ${example}`);
  verb('list', 'all periodic tasks, and when they run', '--json').action((options: ScheduleOptions, command: Command) =>
    withTasks(options, command, async (tasks) => {
      const all = await tasks.list();
      const now = Date.now();
      print(all, options.json === true, all.map((one) => renderTask(one, now)).join('\n') || 'no periodic tasks');
    }),
  );
  verb('next', 'the next times of one', 'report -n 3')
    .argument('<name>', 'its name in the schedule')
    .option('-n, --count <n>', 'how many', count, 5)
    .action((name: string, options: ScheduleOptions, command: Command) =>
      withTasks(options, command, async (tasks) => {
        const [instants, all] = await Promise.all([tasks.next(name, options.count ?? 5), tasks.list()]);
        const zone = all.find((one) => one.name === name)?.zone ?? 'UTC';
        const now = Date.now();
        const text = instants.map((at) => renderTime(at, zone, now)).join('\n') || 'never again';
        print(instants, options.json === true, text);
      }),
    );
  verb('run', 'send one now, besides its schedule', 'report')
    .argument('<name>', 'its name in the schedule')
    .action((name: string, options: ScheduleOptions, command: Command) =>
      withTasks(options, command, async (tasks) => {
        const { id } = await tasks.run(name);
        print({ task_id: id }, options.json === true, id);
      }),
    );
  for (const [act, done] of [
    ['pause', 'paused'],
    ['resume', 'resumed'],
  ] as const) {
    verb(
      act,
      act === 'pause' ? 'stop sending one until it is resumed' : 'go on sending one, from now',
      'report -s redis://localhost/2',
    )
      .argument('<name>', 'its name in the schedule')
      .action((name: string, options: ScheduleOptions, command: Command) =>
        withTasks(options, command, async (tasks) => {
          await tasks[act](name);
          print({ [done]: name }, options.json === true, `${name} is ${done}`);
        }),
      );
  }
  return group.addHelpText(
    'after',
    `
Examples:
  lovage -A ./tasks schedule list
  lovage -A ./tasks schedule next report -n 3
  lovage -A ./tasks schedule pause report -s redis://localhost/2`,
  );
}

async function withTasks(
  options: ScheduleOptions,
  command: Command,
  act: (tasks: PeriodicTasks) => Promise<void>,
): Promise<void> {
  const app = await openApp(globalOptions(command), { needsTasks: true });
  try {
    const { PeriodicTasks } = await import('@lovage/beat');
    const scheduler = await loadScheduler(app, options.scheduler);
    const tasks = await PeriodicTasks.open(app, options.schedule, { scheduler });
    try {
      await act(tasks);
    } finally {
      await tasks.close();
    }
  } finally {
    await app.close();
  }
}

function renderTask(task: PeriodicTaskStatus, now: number): string {
  const { name, schedule, zone, lastRunAt, totalRunCount, nextRunAt, isPaused } = task;
  const next = isPaused ? 'paused' : nextRunAt === undefined ? 'never again' : renderTime(nextRunAt, zone, now);
  const last = lastRunAt === undefined ? 'not yet' : renderTime(lastRunAt, zone, now);
  return `${name}\n    task  ${task.task}\n    when  ${schedule}\n    next  ${next}\n    last  ${last}, ${totalRunCount} in all`;
}

const UNITS = [
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
  ['second', 1000],
] as const;

/** `Monday, 30 November 2026 at 07:00:00 Europe/Paris (in 3 days)`. */
function renderTime(at: Date, zone: string, now: number): string {
  const text = new Intl.DateTimeFormat('en-GB', {
    timeZone: zone,
    weekday: 'long',
    day: 'numeric',
    month: 'long',
    year: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
  }).format(at);
  const leftMs = at.getTime() - now;
  const [unit, unitMs] = UNITS.find(([, ms]) => Math.abs(leftMs) >= ms) ?? ['second', 1000];
  const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto' }).format(Math.round(leftMs / unitMs), unit);
  return `${text} ${zone} (${relative})`;
}
