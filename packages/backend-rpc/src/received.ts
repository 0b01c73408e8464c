import type { Subscription, TaskMeta } from '@lovage/core/backend';

/** States kept for a later `load`; the oldest go first. */
const MAX_KEPT = 10_000;

const FINAL_STATES = new Set(['SUCCESS', 'FAILURE', 'REVOKED', 'REJECTED', 'IGNORED']);

interface Kept {
  readonly meta: TaskMeta;
  readonly expiresAt: number;
}

type Listener = (meta: TaskMeta) => void;

/**
 * What this process has received: the latest state of each task, for a while, and who waits for more. A final state is
 * not replaced by one that is not, nor a SUCCESS by anything: messages may come twice and out of order.
 */
export class ReceivedStates {
  readonly #keepMs: number;
  readonly #now: () => number;
  /** In the order of arrival. */
  readonly #kept = new Map<string, Kept>();
  readonly #listeners = new Map<string, Set<Listener>>();

  constructor(keepMs: number, now: () => number = Date.now) {
    this.#keepMs = keepMs;
    this.#now = now;
  }

  receive(meta: TaskMeta): void {
    const { task_id: taskId } = meta;
    const before = this.get(taskId)?.status;
    if (before === 'SUCCESS' || (before !== undefined && FINAL_STATES.has(before) && !FINAL_STATES.has(meta.status)))
      return;
    this.#kept.delete(taskId);
    this.#kept.set(taskId, { meta, expiresAt: this.#now() + this.#keepMs });
    if (this.#kept.size > MAX_KEPT) this.#kept.delete(this.#kept.keys().next().value as string);
    for (const listener of this.#listeners.get(taskId) ?? []) listener(meta);
  }

  get(taskId: string): TaskMeta | undefined {
    const kept = this.#kept.get(taskId);
    if (kept === undefined) return undefined;
    if (kept.expiresAt > this.#now()) return kept.meta;
    this.#kept.delete(taskId);
    return undefined;
  }

  forget(taskIds: readonly string[]): void {
    for (const taskId of taskIds) this.#kept.delete(taskId);
  }

  /** Drops what has expired: entries expire in the order of their arrival. */
  cleanup(): void {
    const now = this.#now();
    for (const [taskId, { expiresAt }] of this.#kept) {
      if (expiresAt > now) return;
      this.#kept.delete(taskId);
    }
  }

  subscribe(taskIds: readonly string[], listener: Listener): Subscription {
    // One of its own, so that the same function can be subscribed twice.
    const own: Listener = (meta) => listener(meta);
    for (const taskId of taskIds) {
      const present = this.#listeners.get(taskId);
      if (present === undefined) this.#listeners.set(taskId, new Set([own]));
      else present.add(own);
    }
    return {
      unsubscribe: () => {
        for (const taskId of taskIds) {
          const present = this.#listeners.get(taskId);
          if (present?.delete(own) && present.size === 0) this.#listeners.delete(taskId);
        }
      },
    };
  }

  clear(): void {
    this.#kept.clear();
    this.#listeners.clear();
  }
}
