import { DecodeError } from '../errors.ts';
import type { TaskMeta } from './task-meta.ts';
import { formatTime, parseTime } from './time.ts';

/**
 * A stored state, as decoded by its codec, with every tolerance that old and foreign writers need: absent fields,
 * `date_done` without an offset (UTC, Celery <= 5.2), as a date, or unreadable (then null). Other keys are kept:
 * stamps lie beside the state. Throws `DecodeError` when it has no status.
 * Source: celery/backends/base.py, _get_result_meta and meta_from_decoded.
 */
export function readTaskMeta(value: unknown, taskId: string): TaskMeta {
  if (typeof value !== 'object' || value === null || typeof (value as { status?: unknown }).status !== 'string') {
    throw new DecodeError(`What is stored for the task ${JSON.stringify(taskId)} is no state of a task.`, {
      facts: { taskId },
    });
  }
  const given = value as Readonly<Record<string, unknown>>;
  const { traceback, children } = given;
  return {
    ...given,
    status: given['status'] as string,
    result: given['result'] ?? null,
    traceback: typeof traceback === 'string' ? traceback : null,
    children: Array.isArray(children) ? (children as unknown[]) : null,
    date_done: dateDone(given['date_done']),
    task_id: taskId,
  };
}

function dateDone(value: unknown): string | null {
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : formatTime(value.getTime());
  return typeof value === 'string' && parseTime(value) !== undefined ? value : null;
}
