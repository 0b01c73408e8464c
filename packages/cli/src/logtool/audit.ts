/** What the log of a worker says of one task. */
export interface TaskLine {
  readonly name: string;
  readonly id: string;
  /** After name and id: `received`, `succeeded in 0.1s: 4`. */
  readonly rest: string;
}

/** An entry of a log: its line, and those below that belong to it (a traceback). */
export interface LogEntry {
  readonly line: string;
  readonly message: string;
  readonly more: readonly string[];
}

const HEAD = /^\[\d{4}-\d\d-\d\d [^\]]*\] ?/;
const TASK = /^Task ([^\s[\]]+)\[([^\]]+)\] (.*)$/s;

/** Tells entries apart, of lines in Celery's format or of JSON, in the order of the log. */
export class LogReader {
  readonly #onEntry: (entry: LogEntry) => void;
  #open: { line: string; message: string; more: string[] } | undefined;

  constructor(onEntry: (entry: LogEntry) => void) {
    this.#onEntry = onEntry;
  }

  feed(line: string): void {
    const json = readJson(line);
    if (json !== undefined) {
      this.end();
      this.#onEntry({ line, message: json.message, more: json.more });
    } else if (HEAD.test(line)) {
      this.end();
      this.#open = { line, message: line.replace(HEAD, ''), more: [] };
    } else if (line !== '') this.#open?.more.push(line);
  }

  end(): void {
    if (this.#open !== undefined) this.#onEntry(this.#open);
    this.#open = undefined;
  }
}

function readJson(line: string): { readonly message: string; readonly more: readonly string[] } | undefined {
  if (!line.startsWith('{')) return undefined;
  try {
    const { msg, err } = JSON.parse(line) as { readonly msg?: unknown; readonly err?: { readonly stack?: unknown } };
    const stack = err?.stack;
    return {
      message: typeof msg === 'string' ? msg : '',
      more: typeof stack === 'string' ? stack.split('\n') : [],
    };
  } catch {
    return undefined;
  }
}

export function taskOf({ message }: LogEntry): TaskLine | undefined {
  const [, name, id, rest] = TASK.exec(message) ?? [];
  return name === undefined || id === undefined ? undefined : { name, id, rest: rest ?? '' };
}

export interface LogReport {
  /** Tasks that were received, each once. */
  readonly total: number;
  readonly completed: number;
  readonly succeeded: number;
  readonly errors: number;
  readonly retries: number;
  /** Received, by the name of the task, most first. */
  readonly types: readonly (readonly [name: string, count: number])[];
  /** Ids of tasks that were received and did not end. */
  readonly incomplete: readonly string[];
}

/** Counts what became of tasks. Source: celery/bin/logtool.py, Audit. */
export class Audit {
  readonly #received = new Set<string>();
  readonly #ended = new Map<string, boolean>();
  readonly #types = new Map<string, number>();
  #retries = 0;

  /** Gives whether the entry tells that a task failed. */
  add(entry: LogEntry): boolean {
    const task = taskOf(entry);
    if (task === undefined) return false;
    const { id, name, rest } = task;
    if (rest.startsWith('received')) {
      if (!this.#received.has(id)) this.#types.set(name, (this.#types.get(name) ?? 0) + 1);
      this.#received.add(id);
      return false;
    }
    if (/^retry\b/.test(rest)) {
      this.#retries++;
      return false;
    }
    const succeeded = rest.startsWith('succeeded');
    if (!succeeded && !/^(?:raised|failed|revoked|rejected|expired)\b/.test(rest)) return false;
    this.#ended.set(id, succeeded);
    return !succeeded;
  }

  report(): LogReport {
    const succeeded = [...this.#ended.values()].filter(Boolean).length;
    return {
      total: this.#received.size,
      completed: this.#ended.size,
      succeeded,
      errors: this.#ended.size - succeeded,
      retries: this.#retries,
      types: [...this.#types].toSorted(([, a], [, b]) => b - a),
      incomplete: [...this.#received].filter((id) => !this.#ended.has(id)),
    };
  }
}
