import { LovageError, type ErrorCode, type LovageErrorOptions } from '../errors.ts';

/** How an error is written into results, so that Python reads its own class. */
export interface PythonType {
  readonly name: string;
  readonly module: string;
  /** Arguments of Python's constructor. */
  readonly args: readonly unknown[];
}

/** The key under which an error carries its {@link PythonType}; the same in every installed copy. */
export const PYTHON_TYPE: unique symbol = Symbol.for('@lovage/python-type');

/** What tasks throw and workers report, named as in Python. Recognise one by its `code`, or with `instanceof`. */
export class TaskError extends LovageError {
  declare readonly [PYTHON_TYPE]: PythonType;

  constructor(code: ErrorCode, message: string, type: PythonType, options?: LovageErrorOptions) {
    super(code, message, options);
    // Not enumerable: it is for the wire, and would only be noise in logs.
    Object.defineProperty(this, PYTHON_TYPE, { value: type, enumerable: false });
  }
  static {
    nameErrors(this, 'TaskError');
  }
}

const CELERY = 'celery.exceptions';
const BILLIARD = 'billiard.exceptions';

/** Ends an attempt and asks for another. `context.retry()` throws it; a task may throw one of its own. */
export class Retry extends TaskError {
  /** Seconds from now, or an instant. undefined: the task's `defaultRetryDelay`. */
  readonly when: number | Date | undefined;

  constructor({ cause, when }: { readonly cause?: unknown; readonly when?: number | Date | undefined } = {}) {
    const time = when === undefined ? 'later' : when instanceof Date ? `at ${when.toISOString()}` : `in ${when}s`;
    super(
      'ERR_RETRY',
      `Retry ${time}`,
      { name: 'Retry', module: CELERY, args: [] },
      cause === undefined ? {} : { cause },
    );
    this.when = when;
  }
  static {
    nameErrors(this, 'Retry');
  }
}

/** Ends the task and leaves its stored state as it is. The message is acknowledged. */
export class Ignore extends TaskError {
  constructor(message = 'The task asked to be ignored.') {
    super('ERR_IGNORE', message, { name: 'Ignore', module: CELERY, args: [message] });
  }
  static {
    nameErrors(this, 'Ignore');
  }
}

/** Refuses the message: it goes to the queue's dead letter place, or back into the queue. Needs late acknowledgement. */
export class Reject extends TaskError {
  readonly requeue: boolean;

  constructor(reason = 'The task rejected its message.', { requeue = false }: { readonly requeue?: boolean } = {}) {
    super('ERR_REJECT', reason, { name: 'Reject', module: CELERY, args: [reason, requeue] });
    this.requeue = requeue;
  }
  static {
    nameErrors(this, 'Reject');
  }
}

/** `retry()` was called and no retry is left. */
export class MaxRetriesExceededError extends TaskError {
  constructor(message: string) {
    super('ERR_MAX_RETRIES', message, { name: 'MaxRetriesExceededError', module: CELERY, args: [message] });
  }
  static {
    nameErrors(this, 'MaxRetriesExceededError');
  }
}

/** The reason of a task's abort signal when its soft time limit has passed. */
export class SoftTimeLimitExceeded extends TaskError {
  constructor() {
    const type = { name: 'SoftTimeLimitExceeded', module: BILLIARD, args: [] };
    super('ERR_TIME_LIMIT', 'The soft time limit of the task has passed.', type);
  }
  static {
    nameErrors(this, 'SoftTimeLimitExceeded');
  }
}

/** The hard time limit has passed and the task was given up. */
export class TimeLimitExceeded extends TaskError {
  readonly seconds: number;

  constructor(seconds: number) {
    const type = { name: 'TimeLimitExceeded', module: BILLIARD, args: [seconds] };
    super('ERR_TIME_LIMIT', `The time limit of ${seconds} s has passed.`, type);
    this.seconds = seconds;
  }
  static {
    nameErrors(this, 'TimeLimitExceeded');
  }
}

/** What ran the task is gone before the task ended. */
export class WorkerLostError extends TaskError {
  constructor(message: string) {
    super('ERR_WORKER_LOST', message, { name: 'WorkerLostError', module: BILLIARD, args: [message] });
  }
  static {
    nameErrors(this, 'WorkerLostError');
  }
}

/** The task was revoked or has expired: Celery's reasons are `revoked`, `terminated` and `expired`. */
export class TaskRevokedError extends TaskError {
  constructor(reason = 'revoked') {
    super('ERR_REVOKED', reason, { name: 'TaskRevokedError', module: CELERY, args: [reason] });
  }
  static {
    nameErrors(this, 'TaskRevokedError');
  }
}

/** A message asks for a task that is not registered here. */
export class NotRegistered extends TaskError {
  constructor(task: string) {
    const message = `Task ${JSON.stringify(task)} is not registered. Import the module that defines it before the worker starts.`;
    super('ERR_NOT_REGISTERED', message, { name: 'NotRegistered', module: CELERY, args: [task] }, { facts: { task } });
  }
  static {
    nameErrors(this, 'NotRegistered');
  }
}

/** Python's class for what an object does not do. */
export class NotImplemented extends TaskError {
  constructor(message: string) {
    super('ERR_UNSUPPORTED', message, { name: 'NotImplementedError', module: 'builtins', args: [message] });
  }
  static {
    nameErrors(this, 'NotImplementedError');
  }
}

/** A part of a chord failed, so its body cannot run. */
export class ChordError extends TaskError {
  constructor(message: string, options?: { readonly cause?: unknown }) {
    super('ERR_CHORD', message, { name: 'ChordError', module: CELERY, args: [message] }, options);
  }
  static {
    nameErrors(this, 'ChordError');
  }
}

function nameErrors(type: abstract new (...args: never[]) => Error, name: string): void {
  Object.defineProperty(type.prototype, 'name', { value: name, configurable: true, writable: true });
}
