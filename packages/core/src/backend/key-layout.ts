import type { ChordKeys } from './key-value-store.ts';

/** Celery's names of keys. Source: celery/backends/base.py, KeyValueStoreBackend. */
export class KeyLayout {
  readonly #prefix: string;

  /** `globalKeyprefix` of the transport options. */
  constructor(globalKeyprefix: unknown) {
    this.#prefix = keyPrefix(globalKeyprefix);
  }

  task(taskId: string): string {
    return `${this.#prefix}celery-task-meta-${taskId}`;
  }

  /** The task of a key that {@link task} made. */
  taskIdOf(key: string): string {
    return key.slice(this.task('').length);
  }

  group(groupId: string): string {
    return `${this.#prefix}celery-taskset-meta-${groupId}`;
  }

  chord(groupId: string): ChordKeys {
    const key = this.group(groupId);
    return { parts: `${key}.j`, added: `${key}.t`, size: `${key}.s`, claim: `${key}.c`, addedIds: `${key}.a` };
  }

  /** Ours: a text beside the results. */
  document(name: string): string {
    return this.#prefix + name;
  }
}

/** What all keys of results begin with, those of Python's workers too: what a cleanup may remove begins with one of them. */
export function resultPrefixes(
  transportOptions: Readonly<Record<string, unknown>> = {},
): readonly [tasks: string, groups: string, counters: string] {
  const prefix = keyPrefix(globalKeyprefixOf(transportOptions));
  return [`${prefix}celery-task-meta-`, `${prefix}celery-taskset-meta-`, `${prefix}chord-unlock-`];
}

export function globalKeyprefixOf(transportOptions: Readonly<Record<string, unknown>>): unknown {
  return transportOptions['global_keyprefix'] ?? transportOptions['globalKeyprefix'];
}

/** Source: celery/backends/base.py, _add_global_keyprefix. */
function keyPrefix(given: unknown): string {
  if (typeof given !== 'string' || given === '') return '';
  return /[:_\-.]$/.test(given) ? given : `${given}_`;
}
