import { AsyncLocalStorage } from 'node:async_hooks';
import type { TaskContext } from './task-context.ts';

// One for all installed copies of this package: the worker's copy sets what the application's copy reads.
const KEY = Symbol.for('@lovage/current-task');
const shared = globalThis as { [KEY]?: AsyncLocalStorage<TaskContext> };

/** The task that the calling code runs in. One for all apps of a process, as in Celery's `current_task`. */
export const currentTask: AsyncLocalStorage<TaskContext> = (shared[KEY] ??= new AsyncLocalStorage<TaskContext>());
