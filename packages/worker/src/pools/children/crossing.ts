import {
  Ignore,
  isLovageError,
  LovageError,
  Reject,
  Retry,
  Signature,
  SoftTimeLimitExceeded,
  TaskRevokedError,
  WorkerLostError,
  type AnyTask,
  type ErrorCode,
  type LogFields,
  type RetryOptions,
  type SignatureDict,
} from '@lovage/core';
import { decodeOwnJson, describeError, encodeJson, safeRepr } from '@lovage/core/protocol';
import type { ContextWork, RunContext } from '../../request/context.ts';
import { ChildError, isAbort, isControl, judgeError } from '../../request/matchers.ts';
import type { ReasonText, ResultValue, Thrown, ThrownText } from './messages.ts';

/** Throws `EncodeError` for what does not cross in any form. */
export function sendResult(value: unknown): ResultValue {
  let refusal: unknown;
  try {
    return { text: encodeJson(value) };
  } catch (error) {
    refusal = error;
  }
  try {
    // Pickled rows hold maps and sets, for example.
    return { clone: structuredClone(value) };
  } catch {
    throw refusal;
  }
}

export function receiveResult(value: ResultValue): unknown {
  return 'text' in value ? decodeOwnJson(value.text) : value.clone;
}

/** What a function has thrown, for the other side. Never throws. */
export function sendThrown<W extends ContextWork>(task: AnyTask, context: RunContext<W>, thrown: unknown): Thrown {
  try {
    const reason = context.abortReason;
    if (reason !== undefined && isAbort(thrown, reason)) return { as: 'abort' };
    if (context.replacement !== undefined && context.replacement.thrown === thrown) {
      const { signature } = context.replacement;
      return { as: 'replace', signature: encodeJson(signature.toJSON()), message: (thrown as Error).message };
    }
    if (context.retryPlan !== undefined && context.retryPlan.thrown === thrown) {
      const { cause, ...options } = context.retryPlan.options;
      return { as: 'planned-retry', options: encodeJson(options), cause: sendCause(task, cause) };
    }
    if (isControl<Retry>(thrown, 'ERR_RETRY')) {
      return { as: 'retry', when: encodeJson(thrown.when ?? null), cause: sendCause(task, thrown.cause) };
    }
    if (isControl<Ignore>(thrown, 'ERR_IGNORE')) return { as: 'ignore', message: thrown.message };
    if (isControl<Reject>(thrown, 'ERR_REJECT')) {
      return { as: 'reject', message: thrown.message, requeue: thrown.requeue };
    }
    return { as: 'error', ...sendError(task, thrown) };
  } catch (error) {
    // What it asked for cannot be written down; that is the task's failure.
    return { as: 'error', ...sendError(task, error) };
  }
}

function sendCause(task: AnyTask, cause: unknown): ThrownText | undefined {
  return cause === undefined ? undefined : sendError(task, cause);
}

function sendError(task: AnyTask, error: unknown): ThrownText {
  return { described: describeError(error), verdict: judgeError(task, error) };
}

/** The error that stands for what was thrown in the child; notes on the context what the task has asked for. */
export function receiveThrown(task: AnyTask, context: RunContext, thrown: Thrown): unknown {
  switch (thrown.as) {
    case 'error':
      return receiveError(thrown, 'thrown');
    case 'abort':
      return context.abortReason;
    case 'planned-retry': {
      const cause = receiveCause(thrown.cause);
      const options = { ...(decodeOwnJson(thrown.options) as RetryOptions), ...(cause === undefined ? {} : { cause }) };
      const error = new Retry({ cause, when: options.eta ?? options.countdown });
      context.retryPlan = { thrown: error, options };
      return error;
    }
    case 'retry': {
      const when = decodeOwnJson(thrown.when) as number | Date | null;
      return new Retry({ cause: receiveCause(thrown.cause), when: when ?? undefined });
    }
    case 'replace': {
      const signature = Signature.fromJSON(task.app, decodeOwnJson(thrown.signature) as SignatureDict);
      const error = new Ignore(thrown.message);
      context.replacement = { thrown: error, signature };
      return error;
    }
    case 'ignore':
      return new Ignore(thrown.message);
    case 'reject':
      return new Reject(thrown.message, { requeue: thrown.requeue });
  }
}

function receiveCause(cause: ThrownText | undefined): ChildError | undefined {
  return cause === undefined ? undefined : receiveError(cause, 'cause');
}

function receiveError({ described, verdict }: ThrownText, role: ChildError['role']): ChildError {
  return new ChildError(described, verdict, role);
}

export function sendReason(reason: unknown): ReasonText {
  if (isLovageError(reason)) return { code: reason.code, message: reason.message };
  return { code: 'ERR_WORKER_LOST', message: String(reason) };
}

/** The reason of an abort as the task sees it, of its own class. */
export function receiveReason({ code, message }: ReasonText): Error {
  switch (code) {
    case 'ERR_TIME_LIMIT':
      return new SoftTimeLimitExceeded();
    case 'ERR_REVOKED':
      return new TaskRevokedError(message);
    case 'ERR_WORKER_LOST':
      return new WorkerLostError(message);
    default:
      return new LovageError(code as ErrorCode, message);
  }
}

/** Fields of a log line in a form that crosses: errors keep what loggers show, what cannot be cloned is described. */
export function sendFields(fields: LogFields): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, clonable(value)]));
}

function clonable(value: unknown): unknown {
  if (typeof value === 'function' || typeof value === 'symbol') return safeRepr(value);
  if (typeof value !== 'object' || value === null) return value;
  try {
    return structuredClone(value);
  } catch {
    return safeRepr(value);
  }
}
