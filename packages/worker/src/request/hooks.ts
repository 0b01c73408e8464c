import { currentTask, type AnyTask, type FailureInfo, type TaskContext } from '@lovage/core';

/** A handler that is called after the function, without the value that it is told. */
export type HookCall =
  | { readonly hook: 'onSuccess' }
  | { readonly hook: 'onFailure' | 'onRetry'; readonly info: FailureInfo }
  | { readonly hook: 'afterReturn'; readonly state: 'SUCCESS' | 'FAILURE'; readonly info: FailureInfo | undefined };

/** What a handler is told of a task. */
export interface HookSubject {
  readonly task: AnyTask;
  readonly context: TaskContext;
  readonly args: readonly unknown[];
  readonly kwargs: Readonly<Record<string, unknown>>;
}

/** True when something is called after the function has ended. */
export function hasEndHooks({ hooks }: AnyTask): boolean {
  return END_HOOKS.some((name) => hooks[name] !== undefined);
}

const END_HOOKS = ['onSuccess', 'onFailure', 'onRetry', 'afterReturn'] as const;

/** Calls a handler as Celery does. `value`: the result, the error, or the reason of a retry. */
export async function callHook(
  { task, context, args, kwargs }: HookSubject,
  call: HookCall,
  value: unknown,
): Promise<void> {
  const { hooks } = task;
  const { id } = context.request;
  await currentTask.run(context, () => {
    switch (call.hook) {
      case 'onSuccess':
        return hooks.onSuccess?.(value, id, args, kwargs);
      case 'onFailure':
        return hooks.onFailure?.(value, id, args, kwargs, call.info);
      case 'onRetry':
        return hooks.onRetry?.(value, id, args, kwargs, call.info);
      case 'afterReturn':
        return hooks.afterReturn?.(call.state, value, id, args, kwargs, call.info);
    }
  });
}

/**
 * Runs the function in its own asynchronous context and tells how it ended, once and outside of that context: what the
 * worker does next is not the task's doing. A function that is not asynchronous has ended when this returns.
 */
export function runTask(
  subject: HookSubject,
  returned: (value: unknown) => void,
  threw: (error: unknown) => void,
): void {
  let value: unknown;
  let pending: Promise<unknown> | undefined;
  try {
    value = currentTask.run(subject.context, runWrapped, subject);
    if (isThenable(value)) pending = Promise.resolve(value);
  } catch (error) {
    threw(error);
    return;
  }
  if (pending === undefined) returned(value);
  else pending.then(returned, threw);
}

function isThenable(value: unknown): boolean {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function';
}

/** The function with `beforeStart` before it, which may be asynchronous and whose error is the task's. */
function runWrapped(subject: HookSubject): unknown {
  const { wrappers } = subject.task.app;
  if (wrappers.length === 0) return runFunction(subject);
  const run = wrappers.reduceRight<() => unknown>(
    (inner, wrapper) => () => wrapper(subject.context, inner),
    () => runFunction(subject),
  );
  return run();
}

function runFunction({ task, context, args, kwargs }: HookSubject): unknown {
  if (task.hooks.beforeStart === undefined) return task.run(context, args, kwargs);
  const begun = task.hooks.beforeStart(context.request.id, args, kwargs);
  return begun instanceof Promise ? begun.then(() => task.run(context, args, kwargs)) : task.run(context, args, kwargs);
}
