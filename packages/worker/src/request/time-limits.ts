import type { AnyTask } from '@lovage/core';
import type { TaskRequest } from '@lovage/core/protocol';

/** Limits of one run in milliseconds; undefined: none. */
export interface Limits {
  readonly softMs: number | undefined;
  readonly hardMs: number | undefined;
}

/** Seconds; undefined or null: none. */
export interface LimitChange {
  readonly soft?: number | null | undefined;
  readonly hard?: number | null | undefined;
}

/**
 * The time limits of runs: a call's own, else those that were set while the worker runs, else the task's, else the
 * settings'. A sender that knows the task writes the task's limits into each message; those are not a call's own.
 * Source: celery/worker/request.py, execute_using_pool; celery/worker/control.py, time_limit.
 */
export class TimeLimits {
  readonly #changes = new Map<string, LimitChange>();

  set(task: string, change: LimitChange): void {
    this.#changes.set(task, change);
  }

  of({ timeLimit: [hard, soft] }: TaskRequest, { name, options, declared }: AnyTask): Limits {
    const change = this.#changes.size === 0 ? undefined : this.#changes.get(name);
    if (change === undefined) {
      return { softMs: milliseconds(soft ?? options.softTimeLimit), hardMs: milliseconds(hard ?? options.timeLimit) };
    }
    return {
      softMs: milliseconds(soft === undefined || soft === declared.softTimeLimit ? change.soft : soft),
      hardMs: milliseconds(hard === undefined || hard === declared.timeLimit ? change.hard : hard),
    };
  }
}

function milliseconds(seconds: number | null | undefined): number | undefined {
  return seconds === undefined || seconds === null || seconds === 0 ? undefined : seconds * 1000;
}
