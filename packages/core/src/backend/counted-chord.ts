import type { ChordKeys } from './key-value-store.ts';

/** Celery's keys of a chord whose parts are counted. Source: celery/backends/base.py, get_key_for_chord. */
export interface CountedChordKeys {
  /** Where Python workers count. */
  readonly counter: string;
  /** The saved header. */
  readonly group: string;
  readonly taskKey: (taskId: string) => string;
}

const GROUP = 'celery-taskset-meta-';

/** Celery's keys beside those of a chord. `parts` is the group's key and `.j`. */
export function countedChordKeys({ parts }: ChordKeys): CountedChordKeys {
  const group = parts.slice(0, -'.j'.length);
  const at = group.lastIndexOf(GROUP);
  const prefix = group.slice(0, at);
  return {
    counter: `${prefix}chord-unlock-${group.slice(at + GROUP.length)}`,
    group,
    taskKey: (taskId) => `${prefix}celery-task-meta-${taskId}`,
  };
}

/** Ids of the tasks in `[[id, parent], children]`, nested. Source: celery/result.py, result_from_tuple. */
export function taskIdsIn(tuple: unknown): readonly string[] {
  if (!Array.isArray(tuple)) return [];
  const [identity, children] = tuple as readonly unknown[];
  if (Array.isArray(children)) return children.flatMap(taskIdsIn);
  const id: unknown = Array.isArray(identity) ? identity[0] : identity;
  return typeof id === 'string' ? [id] : [];
}
