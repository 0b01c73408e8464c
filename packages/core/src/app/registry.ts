import { ConfigError } from '../errors.ts';
import type { AnyTask } from './task.ts';

/** The tasks of an app by name. Names from outside never reach anything but this map and the built-in tasks. */
export class TaskRegistry {
  readonly #tasks = new Map<string, AnyTask>();
  readonly #builtins = new Map<string, AnyTask>();
  readonly #builtin: (name: string) => AnyTask | undefined;

  /** `builtin` makes the built-in task of a name, once, when it is first asked for. */
  constructor(builtin: (name: string) => AnyTask | undefined = () => undefined) {
    this.#builtin = builtin;
  }

  /** Throws `ConfigError` when another task has the name. */
  register(task: AnyTask): void {
    if (this.#tasks.has(task.name)) {
      throw new ConfigError(`A task named "${task.name}" is registered already. Give each task a name of its own.`, {
        facts: { task: task.name },
      });
    }
    this.#tasks.set(task.name, task);
  }

  get(name: string): AnyTask | undefined {
    const task = this.#tasks.get(name);
    return task === undefined && name.startsWith('celery.') ? this.#getBuiltin(name) : task;
  }

  /** In order of registration, without the built-in tasks. */
  names(): readonly string[] {
    return [...this.#tasks.keys()];
  }

  values(): IterableIterator<AnyTask> {
    return this.#tasks.values();
  }

  #getBuiltin(name: string): AnyTask | undefined {
    let task = this.#builtins.get(name);
    if (task === undefined) {
      task = this.#builtin(name);
      if (task !== undefined) this.#builtins.set(name, task);
    }
    return task;
  }
}
