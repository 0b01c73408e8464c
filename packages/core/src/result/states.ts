import type { TaskState } from '../protocol/task-meta.ts';

/** States after which nothing follows. Source: celery/states.py, READY_STATES. */
export const READY_STATES: ReadonlySet<TaskState> = new Set(['SUCCESS', 'FAILURE', 'REVOKED']);

/** States whose value is an exception that `get()` raises. Source: celery/states.py, PROPAGATE_STATES. */
export const PROPAGATE_STATES: ReadonlySet<TaskState> = new Set(['FAILURE', 'REVOKED']);

/** States whose stored value is an exception. Source: celery/states.py, EXCEPTION_STATES. */
export const EXCEPTION_STATES: ReadonlySet<TaskState> = new Set(['RETRY', 'FAILURE', 'REVOKED']);
