import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { stripVTControlCharacters } from 'node:util';

/** The built command, for Node. */
export const bin = fileURLToPath(new URL('../../dist/bin.js', import.meta.url));
const terminal = fileURLToPath(new URL('terminal.py', import.meta.url));

export interface CommandOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** On a pseudo-terminal instead of pipes; by default of 100 columns and 30 rows. */
  readonly terminal?: boolean | { readonly columns: number; readonly rows: number };
  /** Another program than `lovage`: a file of this machine or a name of the PATH. */
  readonly program?: string;
}

export interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

export interface Running {
  /** On a terminal the one that holds it: signals are passed on, the process id is not the command's. */
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  /** Resolves with all that the error stream, or `out`, has said as soon as this is in it. */
  said(sign: string | RegExp, stream?: 'err' | 'out'): Promise<string>;
  /** Types at the terminal, or writes to the pipe. `\x03` is Ctrl+C, `\r` the enter key. */
  type(keys: string): void;
}

/** The `lovage` command as a process in a folder, piped or on a terminal. Line ends of a terminal become `\n`. */
export function startCommand(folder: string, args: readonly string[], options: CommandOptions = {}): Running {
  const { LOVAGE_APP: _, CELERY_BROKER_URL: __, CELERY_RESULT_BACKEND: ___, ...env } = process.env;
  // What the tests' own terminal or CI says about colours is none of the command's business.
  // And what pnpm puts into NODE_PATH would find packages that the project has not installed.
  for (const name of ['NO_COLOR', 'FORCE_COLOR', 'CI', 'TERM', 'NODE_PATH']) delete env[name];
  const inside = options.program === undefined ? [process.execPath, bin, ...args] : [options.program, ...args];
  const { columns, rows } = typeof options.terminal === 'object' ? options.terminal : { columns: 100, rows: 30 };
  const [program = '', ...rest] = options.terminal
    ? ['python3', terminal, String(columns), String(rows), ...inside]
    : inside;
  const child = spawn(program, rest, {
    cwd: folder,
    env: { ...env, ...(options.terminal ? { TERM: 'xterm-256color' } : {}), ...options.env },
    // A command that reads what nobody writes would wait for ever.
    stdio: [options.terminal ? 'pipe' : 'ignore', 'pipe', 'pipe'],
  });
  const texts = { out: '', err: '' };
  const streams = { out: child.stdout, err: child.stderr };
  for (const name of ['out', 'err'] as const) {
    streams[name]?.setEncoding('utf8').on('data', (text: string) => (texts[name] += text.replaceAll('\r\n', '\n')));
  }
  const ended = once(child, 'close').then(([code]) => ({ code: code as number | null, ...texts }));
  // Keys may come after the command has gone.
  child.stdin?.on('error', () => undefined);
  return {
    child,
    ended,
    said: (sign, stream = 'err') =>
      new Promise((resolve, reject) => {
        const isThere = (): boolean => {
          const text = stripVTControlCharacters(texts[stream]);
          return typeof sign === 'string' ? text.includes(sign) : sign.test(text);
        };
        const look = (): void => void (isThere() && resolve(texts[stream]));
        streams[stream]?.on('data', look);
        look();
        void ended.then(({ code, out, err }) =>
          reject(new Error(`It ended with ${code} without saying ${String(sign)}.\nout: ${out}\nerr: ${err}`)),
        );
      }),
    type: (keys) => void child.stdin?.write(keys),
  };
}

/** Kills what still runs. */
export async function endAll(started: readonly Running[]): Promise<void> {
  await Promise.all(
    started.map(async ({ child, ended }) => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGKILL');
      await ended;
    }),
  );
}
