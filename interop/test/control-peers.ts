import { here, PythonProgram, type Running, start } from './processes.ts';

export interface ControlMeeting {
  readonly broker: string;
  readonly backend: string;
  readonly python: string;
}

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Python's `celery` command, its process kept from one run to the next. */
export class CeleryCommand {
  readonly #program: PythonProgram;

  constructor(meeting: ControlMeeting) {
    this.#program = new PythonProgram(meeting.python, 'commands.py', environment(meeting, 'nobody'));
  }

  run(...args: string[]): Promise<Ran> {
    return this.#program.ask(['-A', 'control_tasks', ...args]) as Promise<Ran>;
  }

  close(): Promise<void> {
    return this.#program.close();
  }
}

export function startPython(
  meeting: ControlMeeting,
  node: string,
  queue: string,
  extra: readonly string[],
): Promise<Running> {
  const args = ['-m', 'celery', '-A', 'control_tasks', 'worker', '-l', 'info', '-n', node, ...extra];
  return start(meeting.python, args, environment(meeting, queue), / ready\./);
}

export function startLovage(
  meeting: ControlMeeting,
  node: string,
  queue: string,
  extra: readonly string[],
): Promise<Running> {
  const bin = here('../../packages/cli/dist/bin.js');
  const args = [bin, '--log-format', 'line', '-A', here('../control/tasks.ts'), 'worker', '-l', 'info', '-n', node];
  return start(process.execPath, [...args, ...extra], environment(meeting, queue), / ready/);
}

export function environment({ broker, backend }: ControlMeeting, queue: string): NodeJS.ProcessEnv {
  return { ...process.env, BROKER: broker, BACKEND: backend, QUEUE: queue, PYTHONUNBUFFERED: '1', NO_COLOR: '1' };
}
