import { here, PATIENCE_SECONDS, PythonProgram, type Running, start } from './processes.ts';

/** The broker and the store that both sides share, and the queue of each side. */
export interface Meeting {
  readonly broker: string;
  readonly backend: string;
  readonly pythonQueue: string;
  readonly typescriptQueue: string;
  readonly python: string;
  readonly resultExtended?: boolean;
  /** Settings that Python needs where Lovage reads the URL. */
  readonly pythonSettings?: Readonly<Record<string, unknown>>;
  /** `broker_transport_options` of both sides. */
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
  readonly #program: PythonProgram;

  constructor(meeting: Meeting) {
    this.#program = new PythonProgram(meeting.python, 'client.py', environment(meeting, meeting.pythonQueue));
  }

  async send(call: PythonCall): Promise<string> {
    return (await this.#ask({ do: 'send', ...call })).id as string;
  }

  async get(id: string, timeout = PATIENCE_SECONDS): Promise<PythonAnswer> {
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

  close(): Promise<void> {
    return this.#program.close();
  }

  async #ask(command: object): Promise<Record<string, unknown>> {
    const value = (await this.#program.ask(command)) as Record<string, unknown>;
    if (typeof value.error === 'string') throw new Error(`Python: ${value.error}`);
    return value;
  }
}

export function startPythonWorker(meeting: Meeting, extra: readonly string[] = []): Promise<Running> {
  const args = '-m celery -A tasks worker -l info -P threads -c 4 --without-mingle --without-gossip'.split(' ');
  const named = ['-Q', meeting.pythonQueue, '-n', `python@${meeting.pythonQueue}`];
  return start(meeting.python, [...args, ...named, ...extra], environment(meeting, meeting.pythonQueue), / ready\./);
}

export function startTypescriptWorker(meeting: Meeting): Promise<Running> {
  const args = ['-A', here('../tasks.ts'), 'worker', '-l', 'info', '-c', '10', '-Q', meeting.typescriptQueue];
  const bin = here('../../packages/cli/dist/bin.js');
  return start(
    process.execPath,
    [bin, '--log-format', 'line', ...args],
    environment(meeting, meeting.typescriptQueue),
    / ready/,
  );
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

/** SQLAlchemy's way to name Python's client; Lovage takes no notice of it. */
export function withDriver(url: string, driver: string): string {
  return url.replace('://', `+${driver}://`);
}

/** A database of its own. */
export function at(server: string | undefined, database: string): string | undefined {
  return server === undefined ? undefined : `${server}/interop_${database}`;
}

/** What a worker said of a task. */
export function linesOf(worker: Running, taskId: string): string {
  return worker
    .output()
    .split('\n')
    .filter((line) => line.includes(taskId))
    .join('\n');
}
