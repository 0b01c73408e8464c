import { styleText } from 'node:util';
import type { ClusterState, ReceivedEvent } from '@lovage/core';
import { Command } from 'commander';
import { globalOptions, openApp, wantsColour } from '../context.ts';
import { CommandError, EXIT } from '../exit-codes.ts';
import { clean, timeText } from '../events-view/frame.ts';
import { number } from './call.ts';

interface EventsOptions {
  readonly dump?: boolean;
  readonly json?: boolean;
  readonly frequency: number;
}

/** `lovage events`: watches what workers and tasks do. */
export function eventsCommand(): Command {
  return new Command('events')
    .description('Watch workers and tasks: a live view at a terminal, or every event as a line')
    .option('-d, --dump', 'print events as they come; what is done without a terminal too')
    .option('-j, --json', 'print events as JSON, one a line')
    .option('-F, --frequency <seconds>', 'between two drawings of the live view', number, 1)
    .addHelpText(
      'after',
      `
Keys of the live view: q leaves it, up and down choose a task, i shows it, r revokes it, t terminates it.

Examples:
  lovage -A ./tasks events
  lovage -A ./tasks events --dump
  lovage -A ./tasks events --json | jq 'select(.type == "task-failed")'

Workers send task events when they were started with -E, or after: lovage control enable_events`,
    )
    .action(async (options: EventsOptions, command: Command) => {
      const globals = globalOptions(command);
      const app = await openApp(globals);
      const end = new AbortController();
      const stop = (): void => end.abort();
      process.once('SIGINT', stop);
      process.once('SIGTERM', stop);
      try {
        const isTerminal = process.stdout.isTTY === true && process.stdin.isTTY === true;
        if (options.dump === true || options.json === true || !isTerminal) {
          const colour = wantsColour(globals, process.stdout);
          const show = options.json === true ? showJson : (event: ReceivedEvent): string => showLine(event, colour);
          for await (const event of app.events.receive({ signal: end.signal }))
            process.stdout.write(`${show(event)}\n`);
          return;
        }
        if (!(options.frequency > 0)) {
          throw new CommandError('The frequency is not above 0. Expected seconds, for example -F 1', EXIT.usage);
        }
        const state: ClusterState = app.events.state();
        const { watch } = await import('../events-view/watch.ts');
        const listening = await app.events.listen({ '*': (event) => state.event(event) });
        await watch({ app, state, intervalMs: options.frequency * 1000, signal: end.signal });
        await listening.close();
      } finally {
        process.off('SIGINT', stop);
        process.off('SIGTERM', stop);
        await app.close();
      }
    });
}

function showJson(event: ReceivedEvent): string {
  return JSON.stringify(event);
}

const SHOWN_BEFORE = new Set([
  'type',
  'hostname',
  'timestamp',
  'local_received',
  'utcoffset',
  'pid',
  'clock',
  'uuid',
  'name',
]);

/** Source: celery/events/dumper.py. */
export function showLine(event: ReceivedEvent, colour: boolean): string {
  const { type, hostname, timestamp, uuid, name } = event;
  const fields = Object.entries(event)
    .filter(([key, value]) => !SHOWN_BEFORE.has(key) && value !== null && value !== undefined)
    .map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  const subject = typeof uuid === 'string' ? ` ${typeof name === 'string' ? `${name}` : ''}[${uuid}]` : '';
  const text = clean(type).replaceAll('-', ' ');
  const shown = colour ? styleText(type.endsWith('failed') ? 'red' : 'cyan', text) : text;
  return `${clean(hostname)} [${timeText(timestamp)}] ${shown}${clean(`${subject} ${fields.join(' ')}`)}`.trimEnd();
}
