import type { ResultCodec } from './contract.ts';
import type { ChordKeys, StoredValue } from './key-value-store.ts';

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

/** Ids of the tasks of a saved group, those of groups within it too. */
export function taskIdsOf(savedGroup: StoredValue, codec: ResultCodec): readonly string[] {
  const saved = codec.decode(savedGroup) as { readonly result?: unknown } | null;
  return taskIdsIn(saved?.result);
}

const READY: ReadonlySet<unknown> = new Set(['SUCCESS', 'FAILURE', 'REVOKED']);

/** How a task ended, as its kept result says; undefined where there is none, or it has not ended. */
export function endOf(
  kept: StoredValue | undefined,
  codec: ResultCodec,
): { readonly status: string; readonly result: unknown } | undefined {
  const meta = kept === undefined ? undefined : (codec.decode(kept) as Readonly<Record<string, unknown>> | null);
  return READY.has(meta?.['status']) ? { status: String(meta?.['status']), result: meta?.['result'] } : undefined;
}

/**
 * The parts of a chord, as `KeyValueChords.part` gives them, from the results that are kept; undefined where one of them is
 * not there or has not ended. `own` is the part that asks: its result may be one that could not be kept.
 */
export function partsFrom(
  results: readonly (readonly [taskId: string, kept: StoredValue | undefined])[],
  own: { readonly taskId: string; readonly value: StoredValue },
  codec: ResultCodec,
): readonly StoredValue[] | undefined {
  const parts: StoredValue[] = [];
  for (const [taskId, kept] of results) {
    if (taskId === own.taskId) {
      parts.push(own.value);
      continue;
    }
    const end = endOf(kept, codec);
    if (end === undefined) return undefined;
    parts.push(codec.encode([1, taskId, end.status, end.result]));
  }
  return parts;
}

/** In `[[id, parent], children]`, nested. Source: celery/result.py, result_from_tuple. */
function taskIdsIn(tuple: unknown): readonly string[] {
  if (!Array.isArray(tuple)) return [];
  const [identity, children] = tuple as readonly unknown[];
  if (Array.isArray(children)) return children.flatMap(taskIdsIn);
  const id: unknown = Array.isArray(identity) ? identity[0] : identity;
  return typeof id === 'string' ? [id] : [];
}
