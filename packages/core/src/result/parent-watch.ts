import { setMaxListeners } from 'node:events';
import type { ResultBackend } from '../backend/contract.ts';
import type { Logger } from '../internal/log.ts';
import { taskFailure } from '../protocol/exception-info.ts';
import { PROPAGATE_STATES } from './states.ts';
import type { ResultWaiter } from './waiter.ts';

/** How long somebody waits before it is asked what comes before, and how often what has failed is looked at. */
const LOOK_MS = 1000;
/** How long a result may still end after one before it has failed, as workers of this library see to. */
const GRACE_MS = 10_000;

interface Watched {
  readonly since: number;
  readonly fail: (error: Error) => void;
  /** Ids that nobody waits for at the moment. */
  readonly left: Set<string>;
  /** When it was heard that they failed. */
  readonly failed: Map<string, number>;
  over: AbortController | undefined;
}

/**
 * What comes before the results that a process waits for, for workers that tell nobody of what will not run: when one of
 * it has failed and stays so, whoever waits would wait for ever. All of them share subscriptions and reads, and one timer.
 * Source: celery/result.py, _maybe_reraise_parent_error.
 */
export class ParentWatch {
  readonly #waiter: ResultWaiter;
  readonly #backend: ResultBackend;
  readonly #logger: Logger;
  readonly #watched = new Set<Watched>();
  #timer: NodeJS.Timeout | undefined;

  constructor(waiter: ResultWaiter, backend: ResultBackend, logger: Logger) {
    this.#waiter = waiter;
    this.#backend = backend;
    this.#logger = logger;
  }

  /** Calls `fail` when one of these tasks has failed or was revoked, some time after that. Returns what ends it. */
  watch(taskIds: readonly string[], fail: (error: Error) => void): () => void {
    // Results that are messages to one process are not there for a look.
    if (!this.#backend.capabilities.shared) return () => {};
    const watched: Watched = {
      since: performance.now(),
      fail,
      left: new Set(taskIds),
      failed: new Map(),
      over: undefined,
    };
    this.#watched.add(watched);
    this.#timer ??= setInterval(() => void this.#look(), LOOK_MS);
    return () => {
      this.#watched.delete(watched);
      watched.over?.abort(new Error('Nobody waits any more.'));
      if (this.#watched.size > 0) return;
      clearInterval(this.#timer);
      this.#timer = undefined;
    };
  }

  async #look(): Promise<void> {
    const now = performance.now();
    const doubtful: { readonly watched: Watched; readonly taskId: string }[] = [];
    for (const watched of this.#watched) {
      if (now - watched.since < LOOK_MS) continue;
      // All in one turn: the waiter joins them.
      for (const taskId of watched.left) this.#wait(watched, taskId);
      watched.left.clear();
      for (const [taskId, failedAt] of watched.failed) {
        if (now - failedAt < GRACE_MS) continue;
        watched.failed.delete(taskId);
        doubtful.push({ watched, taskId });
      }
    }
    if (doubtful.length === 0) return;
    try {
      const taskIds = [...new Set(doubtful.map(({ taskId }) => taskId))];
      const metas = await this.#backend.load(taskIds);
      const failures = new Map(
        metas.flatMap((meta) =>
          meta !== undefined && PROPAGATE_STATES.has(meta.status) ? [[meta.task_id, meta] as const] : [],
        ),
      );
      for (const { watched, taskId } of doubtful) {
        const failure = failures.get(taskId);
        if (failure !== undefined) watched.fail(taskFailure(failure));
        else watched.left.add(taskId); // it runs again
      }
    } catch (error) {
      this.#logger.warn({ err: error }, 'results could not be read again; will try in a second');
      for (const { watched, taskId } of doubtful) watched.failed.set(taskId, Number.NEGATIVE_INFINITY);
    }
  }

  #wait(watched: Watched, taskId: string): void {
    if (watched.over === undefined) {
      watched.over = new AbortController();
      setMaxListeners(0, watched.over.signal);
    }
    const { signal } = watched.over;
    this.#waiter.wait(taskId, signal).then(
      ({ status }) => {
        if (PROPAGATE_STATES.has(status)) watched.failed.set(taskId, performance.now());
      },
      // Over, or the store could not be asked: then once more.
      () => watched.left.add(taskId),
    );
  }
}
