import { ConfigError, type Task, type TaskContext } from '@lovage/core';
import { Inject } from '@nestjs/common';
import { readMarks } from './decorators.ts';

/** A class whose methods are tasks. */
export type TaskClass<C extends object = object> = abstract new (...args: never[]) => C;

type MethodName<C> = { [M in keyof C]: C[M] extends (...args: never[]) => unknown ? M : never }[keyof C] & string;

type IsAny<T> = 0 extends 1 & T ? true : false;
type WithoutContext<A extends unknown[]> = A extends [infer First, ...infer Rest]
  ? IsAny<First> extends true
    ? A
    : First extends TaskContext
      ? Rest
      : A
  : A;

/**
 * The task that a method became: `TaskOf<MailTasks, 'welcome'>`. The context of a bound task is not an argument of it. A
 * task with an `input` schema takes one object: `Task<{ to: string }, void>` of `@lovage/core` is its type.
 */
export type TaskOf<C, M extends keyof C> = C[M] extends (...args: infer A) => infer R
  ? Task<WithoutContext<A>, Awaited<R>>
  : never;

/** What was asked for, for each token of {@link InjectTask}. */
export interface InjectedTask {
  readonly name: string;
  /** undefined: asked for by name only. */
  readonly owner?: { readonly target: TaskClass; readonly method: string };
}

// One for all installed copies of this package.
const KEY = Symbol.for('@lovage/nestjs-injected');
const NUMBERS = Symbol.for('@lovage/nestjs-class-numbers');
interface ClassNumbers {
  next: number;
  readonly of: WeakMap<TaskClass, number>;
}
const shared = globalThis as { [KEY]?: Map<string, InjectedTask>; [NUMBERS]?: ClassNumbers };
const injected = (shared[KEY] ??= new Map());
const numbers = (shared[NUMBERS] ??= { next: 0, of: new WeakMap() });

/**
 * Injects a task, to send it: `@InjectTask(MailTasks, 'welcome') welcome: TaskOf<MailTasks, 'welcome'>`. The class need not
 * be a provider here; then the task is sent with its options and runs where it is one.
 *
 * With a name alone any task, a Python one too: `@InjectTask('images.size') size: RemoteTask<[path: string], number>`.
 */
export function InjectTask<C extends object>(target: TaskClass<C>, method: MethodName<C>): ReturnType<typeof Inject>;
export function InjectTask(name: string): ReturnType<typeof Inject>;
export function InjectTask(target: TaskClass | string | undefined, method = ''): ReturnType<typeof Inject> {
  if (target === undefined) {
    throw new ConfigError(
      `@InjectTask(undefined, '${method}'): the class is not there yet. Files that import each other do that; move the tasks into a file of their own, or inject the task by its name.`,
    );
  }
  const task =
    typeof target === 'string' ? { name: target } : { name: taskName(target, method), owner: { target, method } };
  // Two classes may have one name, and their tasks different options.
  const whose = typeof target === 'string' ? 'named' : `of:${numberOf(target)}`;
  const token = `lovage:task:${whose}:${task.name}`;
  injected.set(token, task);
  return Inject(token);
}

function numberOf(target: TaskClass): number {
  const number = numbers.of.get(target) ?? numbers.next++;
  numbers.of.set(target, number);
  return number;
}

/** The name under which a method of a class is a task. Throws `ConfigError` when it is none. */
export function taskName(target: TaskClass, method: string): string {
  const marks = readMarks(target.prototype as object, method);
  if (marks?.task === undefined) {
    throw new ConfigError(`${target.name}.${method} is no task. Expected a method with @Task().`);
  }
  return marks.task.name ?? `${target.name}.${method}`;
}

/** Every token that was asked for by the classes loaded so far. */
export function injectedTasks(): ReadonlyMap<string, InjectedTask> {
  return injected;
}
