import { once } from 'node:events';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { type REPLServer, start } from 'node:repl';
import * as core from '@lovage/core';
import type { AnyTask, Lovage } from '@lovage/core';

type Names = Readonly<Record<string, unknown>>;

/** What the code of a shell finds by name. Source: celery/bin/shell.py. */
export async function shellNames(app: Lovage, { tasks }: { readonly tasks: boolean }): Promise<Names> {
  const { chain, group, chord, crontab, every, Signature, AsyncResult, GroupResult, Task } = core;
  const names: Record<string, unknown> = {
    app,
    celery: app,
    tasks: Object.fromEntries([...app.tasks.values()].map((task) => [task.name, task])),
    chain,
    group,
    chord,
    crontab,
    every,
    Signature,
    AsyncResult,
    GroupResult,
    Task,
    signature: app.signature.bind(app),
    result: (id: string) => app.asyncResult(id),
  };
  return tasks
    ? { ...byLastPart(app.tasks.values(), new Set([...Object.keys(names), ...globalNames()])), ...names }
    : names;
}

/** A name of two tasks, or of something else, would be a trap: those tasks are in `tasks` only. */
function byLastPart(tasks: Iterable<AnyTask>, taken: ReadonlySet<string>): Names {
  const found = new Map<string, AnyTask | undefined>();
  for (const task of tasks) {
    const last = task.name.split('.').at(-1) ?? '';
    if (!/^[A-Za-z_$][\w$]*$/.test(last) || taken.has(last)) continue;
    found.set(last, found.has(last) ? undefined : task);
  }
  return Object.fromEntries([...found].filter(([, task]) => task !== undefined));
}

function globalNames(): readonly string[] {
  return Object.getOwnPropertyNames(globalThis);
}

const AsyncFunction = (async () => undefined).constructor as new (
  ...parts: string[]
) => (...values: unknown[]) => Promise<unknown>;

/** Runs code with `await` at its top level, and gives the value of its last statement if that is an expression. */
export async function evaluate(code: string, names: Names): Promise<unknown> {
  const { parser } = await import('@lezer/javascript');
  let last = parser.parse(code).topNode.lastChild;
  while (last !== null && (last.name.endsWith('Comment') || last.name === ';')) last = last.prevSibling;
  const body =
    last?.name === 'ExpressionStatement' ? `${code.slice(0, last.from)}return ${code.slice(last.from)}` : code;
  const all = { ...names, require: createRequire(join(process.cwd(), 'shell.js')) };
  // A block, so that the code may have names of its own that are taken here.
  return new AsyncFunction(...Object.keys(all), `{${body}\n}`)(...Object.values(all));
}

export interface TalkOptions {
  /** `''`: none. */
  readonly history: string;
  readonly colour: boolean;
  /** Without a greeting. */
  readonly quiet: boolean;
}

/** A prompt on the terminal until the person leaves it. */
export async function talk(app: Lovage, names: Names, { history, colour, quiet }: TalkOptions): Promise<void> {
  if (!quiet) {
    const count = app.tasks.names().length;
    process.stdout.write(
      `App "${app.name}" with ${count} ${count === 1 ? 'task' : 'tasks'}. ".tasks" lists them, ".exit" leaves.\n`,
    );
  }
  const server = start({ prompt: `${app.name}> `, useColors: colour, ignoreUndefined: true });
  Object.assign(server.context, names);
  server.on('reset', () => Object.assign(server.context, names));
  server.defineCommand('tasks', {
    help: 'List the tasks of the app',
    action() {
      process.stdout.write(`${app.tasks.names().join('\n')}\n`);
      this.displayPrompt();
    },
  });
  if (history !== '') await keepHistory(server, history);
  await once(server, 'exit');
}

/** A history that cannot be kept is no reason not to talk. */
function keepHistory(server: REPLServer, file: string): Promise<void> {
  return new Promise((resolve) => {
    server.setupHistory(file, (error) => {
      if (error !== null) process.stderr.write(`The history ${file} cannot be kept: ${error.message}\n`);
      resolve();
    });
  });
}
