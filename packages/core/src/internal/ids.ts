import { randomUUID } from 'node:crypto';

/** A task id as Celery makes them: uuid4 text. */
export function newTaskId(): string {
  return randomUUID();
}
