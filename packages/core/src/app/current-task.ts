import { AsyncLocalStorage } from 'node:async_hooks';
import type { TaskContext } from './task-context.ts';

/** The task that the calling code runs in. One for all apps of a process, as in Celery's `current_task`. */
export const currentTask: AsyncLocalStorage<TaskContext> = new AsyncLocalStorage<TaskContext>();
