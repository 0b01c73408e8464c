import { ConfigError } from '../errors.ts';
import type { AnyTask } from './task.ts';

/** The tasks of an app by name. Names from outside never reach anything but this map. */
export class TaskRegistry {
  readonly #tasks = new Map<string, AnyTask>();

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
    return this.#tasks.get(name);
  }

  /** In order of registration. */
  names(): readonly string[] {
    return [...this.#tasks.keys()];
  }

  values(): IterableIterator<AnyTask> {
    return this.#tasks.values();
  }
}
