import type { RunSignal, SignalName, Signals } from '@lovage/core';
import type { DescribedError, TaskRequest } from '@lovage/core/protocol';
import type { Delivery } from '@lovage/core/transport';
import type { Attempt } from '../request/attempt.ts';
import type { RevokeFacts, TaskObserver, TaskObservers } from '../request/observer.ts';
import type { Work } from '../request/work.ts';
import { signalNumber } from './task-events.ts';

/** What {@link TaskSignals} emits. */
const TASK_SIGNALS: readonly SignalName[] = [
  'taskReceived',
  'taskPrerun',
  'taskSuccess',
  'taskFailure',
  'taskRetry',
  'taskRevoked',
  'taskRejected',
  'taskPostrun',
  'taskUnknown',
  'taskInternalError',
];

/** Observes for the app's signals while somebody listens to one of them; until the returned function is called. */
export function tellSignals(signals: Signals, observers: TaskObservers): () => void {
  const teller = new TaskSignals(signals);
  const look = (): void => {
    if (TASK_SIGNALS.some((name) => signals.has(name))) observers.add(teller);
    else observers.remove(teller);
  };
  look();
  return signals.watch(look);
}

/** Passes what happens to tasks on to the app's signals. Source: celery/app/trace.py, celery/worker/request.py. */
class TaskSignals implements TaskObserver {
  readonly #signals: Signals;

  constructor(signals: Signals) {
    this.#signals = signals;
  }

  received({ id: taskId, task, request }: Work): void {
    this.#signals.emit('taskReceived', () => ({ task, taskId, request }));
  }

  started(attempt: Attempt): void {
    this.#signals.emit('taskPrerun', () => run(attempt));
  }

  succeeded(attempt: Attempt, result: unknown, seconds: number): void {
    this.#signals.emit('taskSuccess', () => ({ ...run(attempt), result, seconds }));
  }

  failed(attempt: Attempt, error: unknown, { info: exception, traceback }: DescribedError, seconds: number): void {
    this.#signals.emit('taskFailure', () => ({ ...run(attempt), error, exception, traceback, seconds }));
  }

  retried(attempt: Attempt, cause: unknown): void {
    this.#signals.emit('taskRetry', () => ({ ...run(attempt), cause }));
  }

  revoked({ id: taskId, task, request }: Work, { terminated, expired, signal }: RevokeFacts): void {
    const signum = signalNumber(signal);
    this.#signals.emit('taskRevoked', () => ({ task, taskId, request, terminated, expired, signum }));
  }

  rejected(attempt: Attempt, requeue: boolean): void {
    this.#signals.emit('taskRejected', () => ({ ...run(attempt), requeue }));
  }

  ended(attempt: Attempt, state: string, value: unknown): void {
    this.#signals.emit('taskPostrun', () => ({ ...run(attempt), state, value }));
  }

  unknown(_: Delivery, { task: name, id: taskId }: TaskRequest, error: Error): void {
    this.#signals.emit('taskUnknown', () => ({ name, taskId, error }));
  }

  internalError(attempt: Attempt, error: unknown): void {
    this.#signals.emit('taskInternalError', () => ({ ...run(attempt), error }));
  }
}

function run({ task, work, args, kwargs }: Attempt): RunSignal {
  return { task, taskId: work.id, request: work.request, args, kwargs };
}
