import type { Lovage } from '../app/lovage.ts';
import type { TaskContext } from '../app/task-context.ts';
import { Task, type AnyTask, type TaskOptions } from '../app/task.ts';
import { TaskArgumentsError } from '../errors.ts';
import { NotImplemented, NotRegistered } from '../protocol/task-errors.ts';
import { unlockChord } from './chord-unlock.ts';
import { chordOf, readFields, type Kwargs } from './fields.ts';
import { chunksAsGroup } from './plan.ts';
import type { SignatureDict } from './signature-dict.ts';

type Run = (app: Lovage, call: Call) => unknown;

interface Call {
  readonly context: TaskContext;
  readonly args: readonly unknown[];
  readonly kwargs: Kwargs;
  /** An argument by its position or its name; its default when it is neither. */
  readonly get: (index: number, name: string) => unknown;
}

/** Celery's own tasks, which every worker of its kind has. Source: celery/app/builtins.py. */
const RUNS: Readonly<Record<string, Run>> = {
  'celery.backend_cleanup': async (app) => {
    await (await app.requireBackend('remove expired results')).cleanup();
    return null;
  },

  'celery.accumulate': (_, { args, kwargs }) => {
    const index = kwargs['index'];
    return index === undefined || index === null ? args : args[index as number];
  },

  'celery.map': (app, call) => eachOf(app, call, (item) => [item]),

  'celery.starmap': (app, call) => eachOf(app, call, (item) => item as readonly unknown[]),

  'celery.chunks': (app, { get }) => {
    const kwargs = { task: get(0, 'task'), it: get(1, 'it'), n: get(2, 'n') };
    const fields = { task: 'celery.chunks', args: [], kwargs, options: {}, immutable: true };
    return app.producer.apply(chunksAsGroup(fields), [], {}, {});
  },

  'celery.group': async (app, { context, get }) => {
    const tasks = get(0, 'tasks') as readonly SignatureDict[];
    const groupId = get(2, 'group_id') as string;
    const args = (get(3, 'partial_args') ?? []) as readonly unknown[];
    await Promise.all(tasks.map((task) => app.applySignature(task, { args, groupId, addToParent: false })));
    const result = get(1, 'result');
    if (get(4, 'add_to_parent') !== false) context.addChild(result);
    return result;
  },

  'celery.chain': () => {
    throw new NotImplemented('chain is not a real task');
  },

  'celery.chord': (app, { get }) => {
    const header = get(0, 'header') as readonly SignatureDict[] | SignatureDict;
    const parts = Array.isArray(header) ? header.map(readFields) : readFields(header as SignatureDict);
    const fields = chordOf(parts, readFields(get(1, 'body') as SignatureDict));
    return app.producer.apply(fields, (get(2, 'partial_args') ?? []) as readonly unknown[], {}, {});
  },

  'celery.chord_unlock': (app, { context, get }) =>
    unlockChord(app, context, {
      groupId: get(0, 'group_id') as string,
      body: get(1, 'callback') as SignatureDict,
      interval: get(2, 'interval') as number | null | undefined,
      maxRetries: get(3, 'max_retries') as number | null | undefined,
      header: (get(4, 'result') ?? []) as readonly unknown[],
    }),
};

const BUILTINS: ReadonlyMap<string, Run> = new Map(Object.entries(RUNS));
const OPTIONS: ReadonlyMap<string, TaskOptions> = new Map([
  ['celery.chord_unlock', { ignoreResult: true, maxRetries: null }],
]);

/** The built-in task of this name; undefined: there is none. */
export function builtinTask(app: Lovage, name: string): AnyTask | undefined {
  const run = BUILTINS.get(name);
  return run === undefined ? undefined : new BuiltinTask(app, name, OPTIONS.get(name) ?? {}, run);
}

/** Binds its arguments itself: these tasks are called by position and by name. */
class BuiltinTask extends Task<unknown[], unknown> {
  readonly #run: Run;

  constructor(app: Lovage, name: string, options: TaskOptions, run: Run) {
    super(app, name, options, () => undefined);
    this.#run = run;
  }

  override run(context: TaskContext, args: readonly unknown[], kwargs: Kwargs): unknown {
    const get = (index: number, key: string): unknown => (index < args.length ? args[index] : kwargs[key]);
    return this.#run(this.app, { context, args, kwargs, get });
  }
}

async function eachOf(
  app: Lovage,
  { context, get }: Call,
  argsOf: (item: unknown) => readonly unknown[],
): Promise<readonly unknown[]> {
  const { task: name } = get(0, 'task') as SignatureDict;
  const task = app.tasks.get(name);
  if (task === undefined) throw new NotRegistered(name);
  const items = get(1, 'it');
  if (!Array.isArray(items)) throw new TaskArgumentsError(`"it" is no list. Expected the items to run "${name}" on.`);
  const results: unknown[] = [];
  for (const item of items) results.push(await task.run(context, argsOf(item), {}));
  return results;
}
