import { ConfigError } from '../errors.ts';
import { toCamelCase } from './option-names.ts';
import { isRecord } from './setting-kinds.ts';
import type { AnyTask, TaskOptions } from './task.ts';
import { checkAnnotation } from './task-options.ts';

/** Options that annotations may put over those of a task: all but what its function is called with. */
export type AnnotationOptions = Omit<TaskOptions, 'bind' | 'base' | 'input' | 'params'>;

/** Options by task name, Celery's snake_case names too; `*` stands for every task. */
export type AnnotationMap = Readonly<Record<string, AnnotationOptions | Readonly<Record<string, unknown>>>>;

/** Decides by the task. */
export interface AnnotationObject {
  readonly annotate?: (task: AnyTask) => AnnotationOptions | Readonly<Record<string, unknown>> | null | undefined;
  readonly annotateAny?: () => AnnotationOptions | Readonly<Record<string, unknown>> | null | undefined;
}

/** The setting `taskAnnotations`. */
export type TaskAnnotations = AnnotationMap | AnnotationObject | readonly (AnnotationMap | AnnotationObject)[];

/**
 * What `taskAnnotations` says of a task: of several, the first that knows it; over that, the first that has something for
 * every task. So `*` wins over a name, as in Celery. Source: celery/app/annotations.py, resolve_all.
 */
export function annotationsOf(annotations: TaskAnnotations | undefined, task: AnyTask): AnnotationOptions {
  const list = listOf(annotations);
  const own = firstOf(list, (one) => (isObject(one) ? one.annotate?.(task) : ownEntry(one, task.name)));
  const any = firstOf(list, (one) => (isObject(one) ? one.annotateAny?.() : ownEntry(one, '*')));
  return { ...readOptions(own, task.name), ...readOptions(any, '*') };
}

/** Throws `ConfigError` for what is wrong without knowing any task. */
export function checkAnnotations(annotations: TaskAnnotations | undefined): void {
  for (const one of listOf(annotations)) {
    if (typeof one !== 'object' || one === null) {
      throw new ConfigError(`taskAnnotations holds ${JSON.stringify(one)}. Expected objects of task options by name.`);
    }
    if (isObject(one)) continue;
    for (const [name, options] of Object.entries(one)) readOptions(options, name);
  }
}

function listOf(annotations: TaskAnnotations | undefined): readonly (AnnotationMap | AnnotationObject)[] {
  return annotations === undefined ? [] : Array.isArray(annotations) ? annotations : [annotations as AnnotationMap];
}

function isObject(one: AnnotationMap | AnnotationObject): one is AnnotationObject {
  return [one.annotate, one.annotateAny].some((method) => typeof method === 'function');
}

function ownEntry(map: AnnotationMap, name: string): unknown {
  return Object.hasOwn(map, name) ? map[name] : undefined;
}

function firstOf<T>(list: readonly T[], ask: (one: T) => unknown): unknown {
  for (const one of list) {
    const answer = ask(one);
    if (answer !== undefined && answer !== null) return answer;
  }
  return undefined;
}

function readOptions(given: unknown, name: string): AnnotationOptions {
  if (given === undefined || given === null) return {};
  const what = `taskAnnotations for "${name}"`;
  if (!isRecord(given))
    throw new ConfigError(`${what} is ${JSON.stringify(given)}. Expected an object of task options.`);
  const options = Object.fromEntries(
    Object.entries(given).map(([key, value]) => {
      if (key.startsWith('@'))
        throw new ConfigError(`${what} has "${key}". Functions are not wrapped by settings here: use app.around().`);
      return [toCamelCase(key), value];
    }),
  );
  checkAnnotation(what, options);
  return options;
}
