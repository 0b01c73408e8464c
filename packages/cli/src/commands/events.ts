import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { styleText } from 'node:util';
import type { ClusterState, Logger, Lovage, ReceivedEvent } from '@lovage/core';
import { Command, Option } from 'commander';
import { globalOptions, openApp, wantsColour } from '../context.ts';
import { addDaemonOptions, daemonize, type DaemonOptions, reportStarted } from '../daemon.ts';
import { CommandError, EXIT } from '../exit-codes.ts';
import { clean, timeText } from '../events-view/frame.ts';
import { leaveToOthers } from '../left-to-others.ts';
import { importExport } from '../load-app.ts';
import { secondsAbove0 } from '../option-values.ts';
import { takePidfile } from '../pidfile.ts';
import { logLevel, setUpLogging } from '../set-up-logging.ts';
import { until } from '../stop-signals.ts';

interface EventsOptions extends DaemonOptions {
  readonly dump?: boolean;
  readonly json?: boolean;
  readonly camera?: string;
  readonly loglevel: string;
  readonly logfile?: string;
  readonly pidfile?: string;
  readonly frequency: number;
}

/** `lovage events`: watches what workers and tasks do. */
export function eventsCommand(): Command {
  const command = new Command('events')
    .description('Watch workers and tasks: a live view at a terminal, or every event as a line')
    .option('-d, --dump', 'print events as they come; what is done without a terminal too')
    .option('-j, --json', 'print events as JSON, one a line')
    .option('-c, --camera <module>', 'call its default export, or the one that ":name" picks, with what is known')
    .option(
      '-F, --frequency <seconds>',
      'between two drawings of the live view, or two calls of the camera',
      secondsAbove0,
      1,
    )
    .addOption(new Option('--freq <seconds>', 'the same').argParser(secondsAbove0).hideHelp())
    .addOption(new Option('-l, --loglevel <level>', 'of the camera').default('warning').argParser(logLevel))
    .option('-f, --logfile <file>', 'of the camera')
    .option('--pidfile <file>', 'of the camera')
    .addHelpText(
      'after',
      `
Keys of the live view: q leaves it, up and down choose a task, i shows it, r revokes it, t terminates it.

Examples:
  lovage -A ./tasks events
  lovage -A ./tasks events --dump
  lovage -A ./tasks events --json | jq 'select(.type == "task-failed")'
  lovage -A ./tasks events -c ./camera.ts -F 10 --detach --logfile camera.log

A camera is a function: export default async (state, app) => { ... state.tasks, state.workers ... }

Workers send task events when they were started with -E, or after: lovage control enable_events`,
    )
    .action(run);
  return leaveToOthers(addDaemonOptions(command, '--detach'), {
    '-r, --maxrate <rate>': 'The camera is called once in -F seconds.',
  });
}

async function run(options: EventsOptions & { readonly freq?: number }, command: Command): Promise<void> {
  const globals = globalOptions(command);
  const { dump = false, json = false, camera, logfile, freq } = options;
  const seconds = freq ?? options.frequency;
  if (camera === undefined && options.detach === true) {
    throw new CommandError('Only a camera runs in the background: give it with -c.', EXIT.usage);
  }
  if (await daemonize(options, logfile, globals.workdir)) return;
  const app = await openApp(globals);
  const stop = until('SIGINT', 'SIGTERM');
  try {
    const isTerminal = process.stdout.isTTY === true && process.stdin.isTTY === true;
    if (camera !== undefined) {
      const logger = setUpLogging(app, { level: options.loglevel, logfile }, globals);
      const removePidfile = options.pidfile === undefined ? undefined : takePidfile(resolve(options.pidfile));
      try {
        await takeSnapshots(app, await loadCamera(camera), { intervalMs: seconds * 1000, signal: stop.signal, logger });
      } finally {
        removePidfile?.();
      }
    } else if (dump || json || !isTerminal) {
      const colour = wantsColour(globals, process.stdout);
      const show = json ? showJson : (event: ReceivedEvent): string => showLine(event, colour);
      for await (const event of app.events.receive({ signal: stop.signal })) process.stdout.write(`${show(event)}\n`);
    } else {
      const state: ClusterState = app.events.state();
      const { watch } = await import('../events-view/watch.ts');
      const listening = await app.events.listen({ '*': (event) => state.event(event) });
      await watch({ app, state, intervalMs: seconds * 1000, signal: stop.signal });
      await listening.close();
    }
  } finally {
    stop.forget();
    await app.close();
  }
}

type Camera = (state: ClusterState, app: Lovage) => unknown;

async function loadCamera(reference: string): Promise<Camera> {
  const camera = await importExport(reference, process.cwd(), '--camera');
  if (typeof camera === 'function') return camera as Camera;
  throw new CommandError(
    `The camera ${reference} is no function. Expected a default export that takes the state; add ":name" to pick another export.`,
    EXIT.config,
  );
}

/** Source: celery/events/snapshot.py, Polaroid. */
async function takeSnapshots(
  app: Lovage,
  camera: Camera,
  {
    intervalMs,
    signal,
    logger,
  }: { readonly intervalMs: number; readonly signal: AbortSignal; readonly logger: Logger },
): Promise<void> {
  const state = app.events.state();
  const listening = await app.events.listen({ '*': (event) => state.event(event) });
  reportStarted();
  while (!signal.aborted) {
    await sleep(intervalMs, undefined, { signal }).catch(() => undefined); // a last one when it is stopped
    try {
      await camera(state, app);
    } catch (error) {
      logger.error({ err: error }, 'The camera threw.');
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
