import { ConfigError } from '../errors.ts';
import { sharedRevision, sharedTasks, type SharedDefinition } from './apps.ts';
import type { AnyTask } from './task.ts';

/** How tasks are made that nobody registered. */
interface TaskMakers {
  /** A built-in task, when it is first asked for. */
  readonly builtin: (name: string) => AnyTask | undefined;
  /** A shared task, as this app has it. */
  readonly shared: (definition: SharedDefinition) => AnyTask;
}

/** A shared task of this app. */
interface Bound {
  readonly fn: SharedDefinition['fn'];
  /** How many of its periodic calls the app has. */
  readonly periodic: number;
}

/**
 * The tasks of an app by name: its own, the shared ones, and the built-in ones. Names from outside never reach anything
 * but this.
 */
export class TaskRegistry {
  readonly #tasks = new Map<string, AnyTask>();
  readonly #builtins = new Map<string, AnyTask>();
  readonly #bound = new Map<string, Bound>();
  readonly #makers: TaskMakers;
  #revision = 0;

  constructor(makers: TaskMakers) {
    this.#makers = makers;
  }

  /** Throws `ConfigError` when another task of this app has the name. It takes the place of a shared one. */
  register(task: AnyTask): void {
    if (this.#tasks.has(task.name) && !this.#bound.delete(task.name)) {
      throw new ConfigError(`A task named "${task.name}" is registered already. Give each task a name of its own.`, {
        facts: { task: task.name },
      });
    }
    this.#tasks.set(task.name, task);
  }

  get(name: string): AnyTask | undefined {
    if (this.#revision !== sharedRevision()) this.#bindShared();
    const task = this.#tasks.get(name);
    return task === undefined && name.startsWith('celery.') ? this.#getBuiltin(name) : task;
  }

  /** In order of registration, without the built-in tasks. */
  names(): readonly string[] {
    return [...this.values()].map(({ name }) => name);
  }

  values(): IterableIterator<AnyTask> {
    if (this.#revision !== sharedRevision()) this.#bindShared();
    return this.#tasks.values();
  }

  /** Source: celery/app/__init__.py, shared_task: a name that the app has already stays the app's. */
  #bindShared(): void {
    this.#revision = sharedRevision();
    for (const definition of sharedTasks()) {
      const { name, fn, periodic } = definition;
      const bound = this.#bound.get(name);
      if (bound === undefined && this.#tasks.has(name)) continue;
      let task = this.#tasks.get(name);
      if (task === undefined || bound?.fn !== fn) this.#tasks.set(name, (task = this.#makers.shared(definition)));
      this.#bound.set(name, { fn, periodic: periodic.length });
      const every = task.every.bind(task) as (...call: readonly unknown[]) => unknown; // its arguments are the task's
      for (const call of periodic.slice(bound?.fn === fn ? bound.periodic : 0)) every(...call);
    }
  }

  #getBuiltin(name: string): AnyTask | undefined {
    let task = this.#builtins.get(name);
    if (task === undefined) {
      task = this.#makers.builtin(name);
      if (task !== undefined) this.#builtins.set(name, task);
    }
    return task;
  }
}
