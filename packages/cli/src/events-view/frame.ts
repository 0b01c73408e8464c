import { stripVTControlCharacters, styleText } from 'node:util';
import type { ClusterState, ClusterTask, ClusterWorker } from '@lovage/core';

export interface FrameOptions {
  readonly columns: number;
  readonly rows: number;
  readonly nowSeconds: number;
  /** Id of the chosen task. */
  readonly chosen: string | undefined;
  /** Show all of the chosen task instead of the list. */
  readonly isOpen: boolean;
  /** What the last key led to. */
  readonly note: string;
}

const COLOURS: Readonly<Record<string, 'green' | 'red' | 'yellow' | 'cyan' | 'magenta'>> = {
  SUCCESS: 'green',
  FAILURE: 'red',
  RETRY: 'yellow',
  REJECTED: 'yellow',
  REVOKED: 'magenta',
  STARTED: 'cyan',
};

/** One picture of the cluster: at most so many lines of at most so many columns. */
export function drawFrame(state: ClusterState, options: FrameOptions): string {
  const { columns, rows, nowSeconds } = options;
  const workers = [...state.workers.values()].toSorted((a, b) => (a.hostname < b.hostname ? -1 : 1));
  const alive = workers.filter((worker) => worker.isAlive(nowSeconds));
  const head = [
    styleText(
      'bold',
      fit(
        `lovage events   ${alive.length} workers online, ${state.eventCount} events, ${state.taskCount} tasks`,
        columns,
      ),
    ),
    ...workers.slice(0, Math.max(1, Math.floor(rows / 4))).map((worker) => workerLine(worker, nowSeconds, columns)),
    '',
  ];
  const foot = fit(options.note || 'q quit   ↑↓ choose   i show   r revoke   t terminate', columns);
  const room = Math.max(1, rows - head.length - 2);
  const chosen = options.chosen === undefined ? undefined : state.tasks.get(options.chosen);
  const body = options.isOpen && chosen !== undefined ? taskDetails(chosen, columns) : taskList(state, options, room);
  return [...head, ...body.slice(0, room), '', styleText('dim', foot)].slice(0, rows).join('\n');
}

/** The tasks of the list in its order, for choosing one by keys. */
export function listedTasks(state: ClusterState): readonly ClusterTask[] {
  return state.tasksByTime(1000);
}

function workerLine(worker: ClusterWorker, nowSeconds: number, columns: number): string {
  const { hostname, active = 0, processed = 0, loadavg = [], software } = worker;
  const isAlive = worker.isAlive(nowSeconds);
  const text = `${isAlive ? '●' : '○'} ${clean(hostname)}  ${active} active  ${processed} processed  load ${loadavg.join(' ')}  ${clean(software?.ident ?? '')} ${clean(software?.version ?? '')}`;
  return styleText(isAlive ? 'green' : 'red', fit(text, columns));
}

function taskList(state: ClusterState, { columns, chosen }: FrameOptions, room: number): readonly string[] {
  const tasks = listedTasks(state);
  const index = tasks.findIndex(({ uuid }) => uuid === chosen);
  const from = Math.max(0, Math.min(index - Math.floor(room / 2), tasks.length - room + 1));
  const nameWidth = Math.max(10, Math.min(30, columns - 36 - 9 - 9 - 4 - 12));
  const row = (uuid: string, name: string, when: string, status: string, worker: string): string =>
    fit(`${uuid.padEnd(36)} ${pad(name, nameWidth)} ${when.padEnd(8)} ${status.padEnd(9)} ${worker}`, columns);
  return [
    styleText('bold', row('task', 'name', 'time', 'state', 'worker')),
    ...tasks.slice(from, from + room - 1).map((task) => {
      const when = task.timestamp === undefined ? '' : new Date(task.timestamp * 1000).toTimeString().slice(0, 8);
      const text = row(
        clean(task.uuid),
        clean(task.name ?? ''),
        when,
        clean(task.state),
        clean(task.worker ?? task.client ?? ''),
      );
      const colour = COLOURS[task.state];
      const shown = colour === undefined ? text : styleText(colour, text);
      return task.uuid === chosen ? styleText('inverse', stripVTControlCharacters(shown)) : shown;
    }),
  ];
}

function taskDetails(task: ClusterTask, columns: number): readonly string[] {
  const fields: readonly (readonly [string, unknown])[] = [
    ['task', task.uuid],
    ['name', task.name],
    ['state', task.state],
    ['worker', task.worker],
    ['args', task.args],
    ['kwargs', task.kwargs],
    ['result', task.result],
    ['exception', task.exception],
    ['runtime', task.runtime],
    ['retries', task.retries],
    ['eta', task.eta],
    ['expires', task.expires],
    ['root', task.root_id],
    ['parent', task.parent_id],
    ...[...task.times].map(([subject, at]) => [subject, timeText(at)] as const),
  ];
  const lines = fields
    .filter(([, value]) => value !== undefined && value !== '')
    .map(([name, value]) => fit(`${name.padEnd(10)} ${clean(String(value))}`, columns));
  return [...lines, ...(task.traceback ?? '').split('\n').map((line) => fit(clean(line), columns))];
}

function pad(text: string, width: number): string {
  return fit(text, width).padEnd(width);
}

function fit(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`;
}

/** ISO 8601; what is no time that a calendar knows is shown as it came. */
export function timeText(seconds: number): string {
  const date = new Date(seconds * 1000);
  return Number.isNaN(date.getTime()) ? String(seconds) : date.toISOString();
}

/** Names and results come from outside: they move no cursor. */
export function clean(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u001F\u007F-\u009F\u202A-\u202E\u2066-\u2069]/g, ' ');
}
