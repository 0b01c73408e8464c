import { types } from 'node:util';
import { isLovageError, LovageError } from '../errors.ts';
import { reprResult } from './repr.ts';
import { PYTHON_TYPE, type PythonType } from './task-errors.ts';
import type { ExceptionInfo, TaskMeta } from './task-meta.ts';

/** An exception of a task as it is stored, logged and sent. */
export interface DescribedError {
  readonly info: ExceptionInfo;
  /** Text in Python's layout and order: causes first, the error itself last. null: there is nothing to trace. */
  readonly traceback: string | null;
  /** `ValueError('no')`: what logs and events show. */
  readonly repr: string;
}

/** Something that was thrown in another process or thread, as it was described there. */
export class RemoteError extends Error {
  readonly described: DescribedError;

  constructor(described: DescribedError) {
    const { exc_message: message } = described.info;
    super(Array.isArray(message) ? message.map((part) => textOf(part)).join(', ') : textOf(message));
    this.described = described;
    this.name = described.info.exc_type;
    this.stack = described.traceback ?? described.repr;
  }
}

const MAX_TRACEBACK = 64 * 1024;
const MAX_CAUSES = 16;
/** A module that no Python program has loaded: its reader then makes a class of the name and looks nothing up. */
const UNKNOWN_TO_PYTHON = 'lovage';
const MAX_MESSAGE = 16 * 1024;

/** Errors of this library whose like Python has. Source: kombu/exceptions.py; Python's message for wrong arguments. */
const PYTHON_TYPES: ReadonlyMap<string, { readonly name: string; readonly module: string }> = new Map([
  ['ERR_TASK_ARGUMENTS', { name: 'TypeError', module: 'builtins' }],
  ['ERR_NOT_REGISTERED', { name: 'NotRegistered', module: 'celery.exceptions' }],
  ['ERR_TIMEOUT', { name: 'TimeoutError', module: 'celery.exceptions' }],
  ['ERR_ENCODE', { name: 'EncodeError', module: 'kombu.exceptions' }],
  ['ERR_DECODE', { name: 'DecodeError', module: 'kombu.exceptions' }],
  ['ERR_CONTENT_DISALLOWED', { name: 'ContentDisallowed', module: 'kombu.exceptions' }],
]);

/**
 * Describes whatever a task has thrown, error or not. Never throws.
 *
 * An error of a class of Celery's travels under its Python name (see {@link PYTHON_TYPE}), any other under its own
 * class name and the module `lovage`: Celery then makes a class of that name and looks nothing up, so that neither a
 * `RangeError` nor a class that is called like a Python function confuses it. What is no error becomes Python's
 * `Exception` with the value shown. Source: celery/backends/base.py, prepare_exception and exception_to_python.
 */
export function describeError(thrown: unknown): DescribedError {
  try {
    if (!isError(thrown)) return described('Exception', [textOf(thrown)], 'builtins', null);
    if (thrown instanceof RemoteError) return thrown.described;
    const { name, module, args } = pythonTypeOf(thrown);
    return described(name, args, module, tracebackOf(thrown));
  } catch {
    // A proxy or a getter that throws when it is looked at.
    return described('Exception', ['A value that cannot be shown was thrown.'], 'builtins', null);
  }
}

function described(
  type: string,
  args: readonly unknown[],
  module: string | null,
  traceback: string | null,
): DescribedError {
  return {
    info: { exc_type: type, exc_message: args, exc_module: module },
    traceback,
    repr: `${type}(${args.map((arg) => reprResult(arg)).join(', ')})`,
  };
}

function isError(value: unknown): value is Error {
  // Native errors of other realms too; instanceof alone runs the traps of a proxy.
  return types.isNativeError(value) || (!types.isProxy(value) && value instanceof Error);
}

function pythonTypeOf(error: Error): { name: string; module: string | null; args: readonly unknown[] } {
  const own = (error as { [PYTHON_TYPE]?: PythonType })[PYTHON_TYPE];
  if (own !== undefined) return { name: own.name, module: own.module, args: own.args };
  if (isLovageError(error)) {
    if (error.code === 'ERR_TASK_FAILED') {
      // The failure of another task, passed on: it keeps its class.
      const { excType, excMessage, excModule } = error as TaskFailedError;
      const args = (Array.isArray(excMessage) ? excMessage : [excMessage]).map(storable);
      return { name: className(excType), module: excModule, args };
    }
    const known = PYTHON_TYPES.get(error.code);
    if (known !== undefined) return { ...known, args: [messageOf(error)] };
  }
  return { name: classNameOf(error), module: UNKNOWN_TO_PYTHON, args: [messageOf(error)] };
}

/** Node's DOMException has one class for many names. */
const NAMELESS: ReadonlySet<string> = new Set(['', 'Error', 'DOMException', 'Object']);

function classNameOf(error: Error): string {
  const type = read(() => error.constructor.name);
  const constructed = typeof type === 'string' ? type : '';
  const named = read(() => (Object.hasOwn(error, 'name') || NAMELESS.has(constructed) ? error.name : constructed));
  return className(typeof named === 'string' && named !== '' ? named : constructed);
}

/** A name that Python's `type()` takes: it refuses NUL, and a lone surrogate ends its reader. */
function className(name: unknown): string {
  return typeof name === 'string' ? name.slice(0, 200).replace(/[^\w.$]/g, '_') || 'Error' : 'Error';
}

function messageOf(error: Error): string {
  const message = read(() => error.message);
  return textOf(message === undefined ? '' : message);
}

function read(get: () => unknown): unknown {
  try {
    return get();
  } catch {
    return undefined;
  }
}

function textOf(value: unknown): string {
  const text = typeof value === 'string' ? value : reprResult(value);
  return text.length > MAX_MESSAGE ? `${text.slice(0, MAX_MESSAGE)}...` : text;
}

/** What is no plain value is shown instead, as Celery does with arguments that cannot be stored. */
function storable(value: unknown): unknown {
  return value === null || typeof value === 'string' || typeof value === 'boolean' || Number.isFinite(value)
    ? value
    : reprResult(value);
}

function tracebackOf(error: Error): string {
  const parts: string[] = [];
  const seen = new Set<unknown>();
  for (let at: unknown = error; isError(at) && !seen.has(at) && parts.length < MAX_CAUSES; ) {
    seen.add(at);
    const one: Error = at;
    parts.unshift(oneTraceback(one));
    at = read(() => one.cause);
  }
  const text = parts.join('\nThe above exception was the direct cause of the following exception:\n\n');
  return text.length > MAX_TRACEBACK ? `${text.slice(0, MAX_TRACEBACK)}...\n` : text;
}

/** A message can pose as frames, and this one is not linear. */
const LONGEST_FRAME = 1000;
const MAX_FRAMES = 100;
const FRAME = /^\s+at (?:async )?(?:(.*) \()?(?:file:\/\/)?(.*?):(\d+):\d+\)?$/;

/** Files of those who call a task's function: this library, installed, and Node. */
const CALLERS = /[\\/]@lovage[\\/](?:core|worker)[\\/](?:dist|src)[\\/]|[( ]node:/;

/** Frames in Python's layout, which monitors highlight: the innermost last, then the error. */
function oneTraceback(error: Error): string {
  const stack = read(() => error.stack);
  const lines = (typeof stack === 'string' ? stack : '')
    .split('\n')
    .filter((line) => line.startsWith('    at ') && line.length <= LONGEST_FRAME)
    .slice(0, MAX_FRAMES);
  const outermost = lines.findLastIndex((line) => !CALLERS.test(line));
  const frames = (outermost < 0 ? lines : lines.slice(0, outermost + 1))
    .map((line) => {
      const match = FRAME.exec(line);
      if (match === null) return `  ${line.trim()}`;
      const [, name = '<anonymous>', file, number] = match;
      return `  File "${file}", line ${number}, in ${name}`;
    })
    .toReversed();
  const message = messageOf(error);
  const last = message === '' ? classNameOf(error) : `${classNameOf(error)}: ${message}`;
  return `${['Traceback (most recent call last):', ...frames, last].join('\n')}\n`;
}

/**
 * A task's failure, as `get()` raises it. The class it had where it was thrown is told by {@link excType}; nothing is
 * ever imported, looked up or constructed by a name that came from outside.
 */
export class TaskFailedError extends LovageError {
  /** Class name in the worker's language: `ValueError`. */
  readonly excType: string;
  /** The constructor's arguments; a scalar from some peers. */
  readonly excMessage: unknown;
  readonly excModule: string | null;
  /** As the worker stored it. */
  readonly traceback: string | null;
  readonly taskId: string;
  /** FAILURE, REVOKED or RETRY. */
  readonly state: string;

  constructor({ status, result, traceback, task_id }: Pick<TaskMeta, 'status' | 'result' | 'traceback' | 'task_id'>) {
    const { exc_type, exc_message, exc_module } = readExceptionInfo(result);
    const args = Array.isArray(exc_message) ? (exc_message as unknown[]) : [exc_message];
    const shown = args.map((arg) => textOf(arg)).join(', ');
    super('ERR_TASK_FAILED', shown === '' ? exc_type : `${exc_type}: ${shown}`);
    this.excType = exc_type;
    this.excMessage = exc_message;
    this.excModule = exc_module;
    this.traceback = typeof traceback === 'string' ? traceback : null;
    this.taskId = task_id;
    this.state = status;
  }
  static {
    Object.defineProperty(this.prototype, 'name', { value: 'TaskFailedError', configurable: true, writable: true });
  }
}

/** The error that a FAILURE, REVOKED or RETRY state stands for. Whatever was stored, it gives one. */
export function taskFailure(meta: Pick<TaskMeta, 'status' | 'result' | 'traceback' | 'task_id'>): TaskFailedError {
  return new TaskFailedError(meta);
}

/**
 * Reads a stored exception with every tolerance: a message that is no list, no module, and anything else as the
 * message of a nameless error. Never throws.
 */
export function readExceptionInfo(value: unknown): ExceptionInfo {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    const { exc_type: type, exc_message: message, exc_module: module } = value as Record<string, unknown>;
    if (typeof type === 'string') {
      return {
        exc_type: type.slice(0, 255),
        exc_message: message ?? [],
        exc_module: typeof module === 'string' ? module.slice(0, 255) : null,
      };
    }
  }
  return { exc_type: 'Exception', exc_message: value === null || value === undefined ? [] : [value], exc_module: null };
}
