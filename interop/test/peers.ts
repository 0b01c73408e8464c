import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** The broker and the store that both sides share, and the queue of each side. */
export interface Meeting {
  readonly broker: string;
  readonly backend: string;
  readonly pythonQueue: string;
  readonly typescriptQueue: string;
  readonly python: string;
  readonly resultExtended?: boolean;
  /** `broker_transport_options` of both sides. */
  /** Settings that Python needs where Lovage reads the URL. */
  readonly pythonSettings?: Readonly<Record<string, unknown>>;
  readonly brokerOptions?: Readonly<Record<string, unknown>>;
  /** Whether the broker's fanout reaches both. */
  readonly remoteControl?: boolean;
}

export interface PythonAnswer {
  readonly state: string;
  readonly result: unknown;
  readonly traceback: string | null;
  readonly meta: Record<string, unknown>;
  /** Ids of what the task published. */
  readonly children: readonly string[];
  readonly dateDone: string | null;
}

/** Ids of tasks; a list is a group, its own id first. */
export type GroupMembers = readonly (string | GroupMembers)[];

export interface PythonCall {
  readonly task: string;
  readonly args?: readonly unknown[];
  readonly kwargs?: Readonly<Record<string, unknown>>;
  readonly options?: Readonly<Record<string, unknown>>;
  readonly then?: readonly object[];
}

/** A Python program that sends tasks and reads results, under the test's command. */
export class PythonClient {
  readonly #child: ChildProcess;
  readonly #answers: ((answer: Record<string, unknown>) => void)[] = [];

  constructor(meeting: Meeting) {
    this.#child = spawn(meeting.python, ['client.py'], {
      cwd: here('../python'),
      env: environment(meeting, meeting.pythonQueue),
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    createInterface({ input: this.#child.stdout as NodeJS.ReadableStream }).on('line', (line) =>
      this.#answers.shift()?.(JSON.parse(line) as Record<string, unknown>),
    );
  }

  async send(call: PythonCall): Promise<string> {
    return (await this.#ask({ do: 'send', ...call })).id as string;
  }

  async get(id: string, timeout = 20): Promise<PythonAnswer> {
    return (await this.#ask({ do: 'get', id, timeout })) as unknown as PythonAnswer;
  }

  async peek(id: string): Promise<{ state: string; result: unknown }> {
    return (await this.#ask({ do: 'peek', id })) as { state: string; result: unknown };
  }

  async forget(id: string): Promise<void> {
    await this.#ask({ do: 'forget', id });
  }

  async saveGroup(id: string, members: GroupMembers): Promise<void> {
    await this.#ask({ do: 'save_group', id, members });
  }

  async restoreGroup(id: string): Promise<{ members: GroupMembers | null; values?: unknown }> {
    return (await this.#ask({ do: 'restore_group', id })) as { members: GroupMembers | null; values?: unknown };
  }

  async close(): Promise<void> {
    this.#child.stdin?.end();
    await ended(this.#child, 5000);
  }

  async #ask(command: object): Promise<Record<string, unknown>> {
    const answer = new Promise<Record<string, unknown>>((resolve) => this.#answers.push(resolve));
    this.#child.stdin?.write(`${JSON.stringify(command)}\n`);
    const value = await answer;
    if (typeof value.error === 'string') throw new Error(`Python: ${value.error}`);
    return value;
  }
}

/** A worker of either side; `ready` resolves when it consumes. */
export interface WorkerProcess {
  readonly output: () => string;
  readonly alive: () => boolean;
  stop(): Promise<void>;
}

export async function startPythonWorker(meeting: Meeting, extra: readonly string[] = []): Promise<WorkerProcess> {
  const args = [
    '-m',
    'celery',
    '-A',
    'tasks',
    'worker',
    '-l',
    'info',
    '-P',
    'threads',
    '-c',
    '4',
    '-Q',
    meeting.pythonQueue,
  ];
  const child = spawn(
    meeting.python,
    [...args, '--without-mingle', '--without-gossip', '-n', `python@${meeting.pythonQueue}`, ...extra],
    {
      cwd: here('../python'),
      env: environment(meeting, meeting.pythonQueue),
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  return untilReady(child, / ready\./);
}

export async function startTypescriptWorker(meeting: Meeting): Promise<WorkerProcess> {
  const args = ['-A', here('../tasks.ts'), 'worker', '-l', 'info', '-c', '10', '-Q', meeting.typescriptQueue];
  const child = spawn(process.execPath, [here('../../packages/cli/dist/bin.js'), '--log-format', 'line', ...args], {
    env: environment(meeting, meeting.typescriptQueue),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return untilReady(child, / ready/);
}

function environment(meeting: Meeting, queue: string): NodeJS.ProcessEnv {
  return {
    ...process.env,
    BROKER: meeting.broker,
    BACKEND: meeting.backend,
    BROKER_OPTIONS: JSON.stringify(meeting.brokerOptions ?? {}),
    PYTHON_SETTINGS: JSON.stringify(meeting.pythonSettings ?? {}),
    QUEUE: queue,
    RESULT_EXTENDED: meeting.resultExtended === true ? '1' : '0',
    PYTHONUNBUFFERED: '1',
  };
}

async function untilReady(child: ChildProcess, sign: RegExp): Promise<WorkerProcess> {
  let output = '';
  const ready = new Promise<void>((resolve, reject) => {
    const take = (chunk: Buffer): void => {
      if (process.env.INTEROP_LOG) process.stderr.write(chunk);
      output += chunk.toString();
      if (sign.test(output)) resolve();
    };
    child.stdout?.on('data', take);
    child.stderr?.on('data', take);
    child.once('exit', (code) => reject(new Error(`The worker ended with ${code} before it was ready:\n${output}`)));
  });
  const late = sleep(30_000, undefined, { ref: false }).then(() => {
    throw new Error(`The worker was not ready within 30 s:\n${output}`);
  });
  await Promise.race([ready, late]);
  return {
    output: () => output,
    alive: () => child.exitCode === null && child.signalCode === null,
    stop: async () => {
      child.kill('SIGTERM');
      await ended(child, 15_000);
    },
  };
}

async function ended(child: ChildProcess, withinMs: number): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  if ((await Promise.race([exit, sleep(withinMs, 'late', { ref: false })])) === 'late') {
    child.kill('SIGKILL');
    await exit;
  }
}

/** SQLAlchemy's way to name Python's client; Lovage takes no notice of it. */
export function withDriver(url: string, driver: string): string {
  return url.replace('://', `+${driver}://`);
}

/** A database of its own. */
export function at(server: string | undefined, database: string): string | undefined {
  return server === undefined ? undefined : `${server}/interop_${database}`;
}

/** Waits for a condition that another process brings about. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 15_000;
  while (!(await holds())) {
    assert.ok(Date.now() < deadline, 'it did not come to pass within 15 s');
    await sleep(50);
  }
}

/** What a worker said of a task. */
export function linesOf(worker: WorkerProcess, taskId: string): string {
  return worker
    .output()
    .split('\n')
    .filter((line) => line.includes(taskId))
    .join('\n');
}
