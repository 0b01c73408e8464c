import { AsyncResource } from 'node:async_hooks';

const outside = new AsyncResource('lovage');

/**
 * Runs what goes on for longer than the call that happened to start it (a fetch loop, a reconnection, a joined batch)
 * outside of that call's async context. Otherwise whatever it calls later would believe to be in the task that made
 * the first call, and keep that task's context alive.
 */
export function outsideOfTasks<T>(run: () => T): T {
  return outside.runInAsyncScope(run);
}
