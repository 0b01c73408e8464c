import { callingFile } from '../internal/calling-file.ts';
import { currentApp, sharePeriodic, shareTask, type SharedDefinition } from './apps.ts';
import type { Lovage } from './lovage.ts';
import { Task, type AnyTask, type TaskFunction, type TaskOptions } from './task.ts';
import { checkTask } from './task-options.ts';

/**
 * Registers a task with every app of the process, those made later too: for libraries, which own no app. It is declared
 * and typed as by `app.task`; what it gives acts as the task of the current app: `delay()` sends by that app's broker.
 *
 * Inside of a task the current app is the one that runs it; else the one that `app.setDefault()` chose, as the `lovage`
 * command does with its app; else the one that was made last. Using the task while there is no app throws `ConfigError`.
 *
 * An app's own task of the same name wins. Source: celery/app/__init__.py, shared_task.
 *
 * @example
 * export const resize = sharedTask('images.resize', (path: string, width: number) => render(path, width))
 * await resize.delay('a.png', 100)
 */
export const sharedTask: Lovage['task'] = (name: string, given: TaskOptions | TaskFunction, fn?: TaskFunction) => {
  const [options, run] = typeof given === 'function' ? [{}, given] : [given, fn];
  // No app can tell what is wrong before there is one.
  checkTask(name, options, run);
  shareTask({ name, options, fn: run as TaskFunction, file: callingFile(sharedTask), periodic: [] });
  return taskOfCurrentApp(name);
};

/** Stands for the task that the current app has under this name. */
function taskOfCurrentApp(name: string): AnyTask {
  const proxy: AnyTask = new Proxy(Object.create(Task.prototype) as AnyTask, {
    get(target, key) {
      if (key === 'name') return name;
      // Asked by whoever awaits it, prints it or compares it: no use of the task.
      if (key === 'then' || typeof key === 'symbol') return Reflect.get(target, key) as unknown;
      if (key === 'every') {
        return (...call: SharedDefinition['periodic'][number]) => {
          sharePeriodic(name, call);
          return proxy;
        };
      }
      const task = currentApp().tasks.get(name) as AnyTask;
      const value = Reflect.get(task, key) as unknown;
      return typeof value === 'function' ? (value.bind(task) as unknown) : value;
    },
  });
  return proxy;
}
