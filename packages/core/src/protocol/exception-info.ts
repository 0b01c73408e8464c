import { isLovageError, LovageError } from '../errors.ts';
import { encodeJson } from '../serialization/json.ts';
import { reprResult } from './repr.ts';
import { PYTHON_TYPE, type PythonType } from './task-errors.ts';
import type { ExceptionInfo, TaskMeta } from './task-meta.ts';

/** An exception of a task as it is stored, logged and sent. */
export interface DescribedError {
  readonly info: ExceptionInfo;
  /** Text in Python's order: the causes first, the error itself last. null where there is nothing to trace. */
  readonly traceback: string | null;
  /** `ValueError('no')`: what logs and events show. */
  readonly repr: string;
}

const MAX_TRACEBACK = 64 * 1024;
const CLASS_NAME = /^[A-Za-z_]\w{0,200}$/;

/** JavaScript's own classes that Python has under the same name and for the same purpose. */
const BUILTINS: ReadonlyMap<string, string> = new Map([
  ['TypeError', 'TypeError'],
  ['SyntaxError', 'SyntaxError'],
]);

/** Errors of this library that Python knows. */
const KNOWN_CODES: ReadonlyMap<string, { readonly exc_type: string; readonly exc_module: string }> = new Map([
  ['ERR_TASK_ARGUMENTS', { exc_type: 'TypeError', exc_module: 'builtins' }],
  ['ERR_ENCODE', { exc_type: 'EncodeError', exc_module: 'kombu.exceptions' }],
  ['ERR_DECODE', { exc_type: 'DecodeError', exc_module: 'kombu.exceptions' }],
  ['ERR_CONTENT_DISALLOWED', { exc_type: 'ContentDisallowed', exc_module: 'kombu.exceptions' }],
]);

/**
 * Describes whatever a task has thrown, errors or not; never throws itself. A class that Python does not have travels
 * with the module `lovage`: Celery's reader then makes a class of that name. Source: celery/backends/base.py,
 * prepare_exception and exception_to_python.
 */
export function describeError(thrown: unknown): DescribedError {
  try {
    return describe(thrown);
  } catch {
    // A proxy or a getter that throws when it is looked at.
    const info = { exc_type: 'Error', exc_message: ['something that cannot be shown was thrown'], exc_module: 'lovage' };
    return { info, traceback: null, repr: "Error('something that cannot be shown was thrown')" };
  }
}

function describe(thrown: unknown): DescribedError {
  if (!(thrown instanceof Error)) {
    const text = reprResult(thrown);
    return { info: { exc_type: 'Error', exc_message: [text], exc_module: 'lovage' }, traceback: null, repr: `Error(${text})` };
  }
  const info = infoOf(thrown);
  const args = (info.exc_message as readonly unknown[]).map((arg) => reprResult(arg)).join(', ');
  return { info, traceback: tracebackOf(thrown), repr: `${info.exc_type}(${args})` };
}

function infoOf(error: Error): ExceptionInfo {
  if (isLovageError(error, 'ERR_TASK_FAILED')) {
    // A failure of another task, passed on: it keeps its own class.
    const { excType, excMessage, excModule } = error as TaskFailedError;
    return { exc_type: excType, exc_message: Array.isArray(excMessage) ? excMessage : [excMessage], exc_module: excModule };
  }
  const python = (error as { [PYTHON_TYPE]?: PythonType })[PYTHON_TYPE];
  const exc_message = (python?.args ?? [textOf(error.message)]).map(storable);
  const known = isLovageError(error) ? KNOWN_CODES.get(error.code) : undefined;
  if (known !== undefined) return { ...known, exc_message };
  if (python !== undefined) return { exc_type: python.name, exc_message, exc_module: python.module };
  const name = classNameOf(error);
  const module = BUILTINS.has(name) ? 'builtins' : 'lovage';
  return { exc_type: name, exc_message, exc_module: module };
}

function classNameOf(error: Error): string {
  // `name` is what people set; a class that sets none has its constructor's.
  const named = textOf(error.name);
  const constructed = textOf((error.constructor as { name?: unknown } | undefined)?.name);
  const name = named !== 'Error' && CLASS_NAME.test(named) ? named : constructed;
  return CLASS_NAME.test(name) ? name : 'Error';
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : reprResult(value);
}

/** Arguments that cannot be stored are shown instead, as Celery does. */
function storable(value: unknown): unknown {
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean' || value === null) return value;
  try {
    encodeJson(value);
    return value;
  } catch {
    return reprResult(value);
  }
}

function tracebackOf(error: Error): string | null {
  const parts: string[] = [];
  const seen = new Set<unknown>();
  for (let at: unknown = error; at instanceof Error && !seen.has(at) && parts.length < 16; at = at.cause) {
    seen.add(at);
    parts.unshift(oneTraceback(at));
  }
  const text = parts.join('\nThe above exception was the direct cause of the following exception:\n\n');
  return text.length > MAX_TRACEBACK ? `${text.slice(0, MAX_TRACEBACK)}...` : text;
}

/** Frames first, oldest first, then the error: people who read Python's tracebacks look at the last line. */
function oneTraceback(error: Error): string {
  const frames = (typeof error.stack === 'string' ? error.stack : '')
    .split('\n')
    .filter((line) => /^\s+at /.test(line))
    .reverse()
    .map((line) => `  ${line.trim()}\n`);
  return `Traceback (most recent call last):\n${frames.join('')}${classNameOf(error)}: ${textOf(error.message)}\n`;
}

/**
 * A task's failure, as `get()` raises it. The class it had where it was thrown is told by `excType`; nothing is ever
 * imported or constructed by a name that came from outside.
 */
export class TaskFailedError extends LovageError {
  /** Class name in the worker's language: `ValueError`. */
  declare readonly excType: string;
  /** Constructor arguments. */
  declare readonly excMessage: unknown;
  declare readonly excModule: string | null;
  /** As the worker stored it. */
  declare readonly traceback: string | null;
  declare readonly taskId: string;
  /** FAILURE, REVOKED or RETRY. */
  declare readonly state: string;

  constructor({ status, result, traceback, task_id }: Pick<TaskMeta, 'status' | 'result' | 'traceback' | 'task_id'>) {
    const { exc_type, exc_message, exc_module } = readExceptionInfo(result);
    const args = Array.isArray(exc_message) ? exc_message : [exc_message];
    const shown = args.map((arg) => (typeof arg === 'string' ? arg : reprResult(arg))).join(', ');
    super('ERR_TASK_FAILED', shown === '' ? exc_type : `${exc_type}: ${shown}`, {
      facts: { excType: exc_type, excMessage: exc_message, excModule: exc_module, traceback, taskId: task_id, state: status },
    });
  }
  static {
    Object.defineProperty(TaskFailedError.prototype, 'name', { value: 'TaskFailedError', configurable: true, writable: true });
  }
}

/** The error that a FAILURE, REVOKED or RETRY state stands for. */
export function taskFailure(meta: TaskMeta): TaskFailedError {
  return new TaskFailedError(meta);
}

/** Reads a stored exception with every tolerance: the shapes of old versions, a scalar message, anything else as text. */
export function readExceptionInfo(value: unknown): ExceptionInfo {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    const { exc_type: type, exc_message: message, exc_module: module } = value as Record<string, unknown>;
    if (typeof type === 'string') {
      return { exc_type: type.slice(0, 255), exc_message: message ?? [], exc_module: typeof module === 'string' ? module.slice(0, 255) : null };
    }
  }
  return { exc_type: 'Error', exc_message: value === null || value === undefined ? [] : [value], exc_module: null };
}
