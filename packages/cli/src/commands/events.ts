import { setTimeout as sleep } from 'node:timers/promises';
import { styleText } from 'node:util';
import type { ClusterState, Lovage, ReceivedEvent } from '@lovage/core';
import { Command } from 'commander';
import { globalOptions, openApp, wantsColour } from '../context.ts';
import { CommandError, EXIT } from '../exit-codes.ts';
import { importExport } from '../load-app.ts';
import { clean, timeText } from '../events-view/frame.ts';
import { number } from './call.ts';

interface EventsOptions {
  readonly dump?: boolean;
  readonly json?: boolean;
  readonly frequency: number;
  readonly camera?: string;
}

/** `lovage events`: watches what workers and tasks do. */
export function eventsCommand(): Command {
  return new Command('events')
    .description('Watch workers and tasks: a live view at a terminal, or every event as a line')
    .option('-d, --dump', 'print events as they come; what is done without a terminal too')
    .option('-j, --json', 'print events as JSON, one a line')
    .option('-F, --frequency <seconds>', 'between two drawings of the live view, or two snapshots', number, 1)
    .option('-c, --camera <file>', 'take snapshots: call the default export of a module, or its :name, with the state')
    .addHelpText(
      'after',
      `
Keys of the live view: q leaves it, up and down choose a task, i shows it, r revokes it, t terminates it.

Examples:
  lovage -A ./tasks events
  lovage -A ./tasks events --dump
  lovage -A ./tasks events --json | jq 'select(.type == "task-failed")'
  lovage -A ./tasks events --camera ./camera.ts --frequency 10

A camera is (state, app) => ...: state.workers and state.tasks are what was heard so far, and a promise is waited for before
the next snapshot. What it throws is told, and the next snapshot is taken all the same.

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
        if (!(options.frequency > 0)) {
          throw new CommandError('The frequency is not above 0. Expected seconds, for example -F 1', EXIT.usage);
        }
        if (options.camera !== undefined) {
          const camera = await openCamera(options.camera, process.cwd());
          await takeSnapshots(app, camera, options.frequency * 1000, end.signal);
          return;
        }
        const isTerminal = process.stdout.isTTY === true && process.stdin.isTTY === true;
        if (options.dump === true || options.json === true || !isTerminal) {
          const colour = wantsColour(globals, process.stdout);
          const show = options.json === true ? showJson : (event: ReceivedEvent): string => showLine(event, colour);
          for await (const event of app.events.receive({ signal: end.signal }))
            process.stdout.write(`${show(event)}\n`);
          return;
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

/** What `--camera` calls. Source: celery/events/snapshot.py, Polaroid. */
type Camera = (state: ClusterState, app: Lovage) => unknown;

async function openCamera(reference: string, workdir: string): Promise<Camera> {
  const camera = await importExport(reference, workdir);
  if (typeof camera === 'function') return camera as Camera;
  throw new CommandError(
    `The camera ${reference} is no function. Expected a module whose default export is (state, app) => ..., or FILE:NAME.`,
    EXIT.usage,
  );
}

/** One more at the end, so that nothing heard is lost. */
async function takeSnapshots(app: Lovage, camera: Camera, intervalMs: number, signal: AbortSignal): Promise<void> {
  const state = app.events.state();
  const listening = await app.events.listen({ '*': (event) => state.event(event) });
  while (!signal.aborted) {
    await sleep(intervalMs, undefined, { signal }).catch(() => undefined);
    try {
      await camera(state, app);
    } catch (error) {
      process.stderr.write(`The camera failed: ${error instanceof Error ? error.message : String(error)}\n`);
    }
  }
  await listening.close();
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
