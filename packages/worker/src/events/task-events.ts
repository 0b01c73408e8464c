import { constants } from 'node:os';
import {
  decodeTaskBody,
  formatTime,
  reprArgs,
  reprKwargs,
  reprResult,
  type DescribedError,
  type EventSender,
  type SerializerRegistry,
  type TaskRequest,
} from '@lovage/core/protocol';
import type { Delivery } from '@lovage/core/transport';
import type { Attempt } from '../request/attempt.ts';
import type { RevokeFacts, TaskObserver } from '../request/observer.ts';
import type { Work } from '../request/work.ts';

/**
 * Turns what happens to tasks into Celery's task events. Observes only while events are on, so that they cost nothing
 * when they are off. Source: celery/worker/request.py, celery/worker/strategy.py.
 */
export class TaskEvents implements TaskObserver {
  readonly #sender: EventSender;
  readonly #serializers: SerializerRegistry;

  constructor(sender: EventSender, serializers: SerializerRegistry) {
    this.#sender = sender;
    this.#serializers = serializers;
  }

  received(work: Work): void {
    if (!work.task.options.sendEvents) return;
    const { request } = work;
    const [args, kwargs] = this.#arguments(work);
    this.#sender.sendGrouped('task-received', {
      uuid: work.id,
      name: request.shadow ?? work.task.name,
      args,
      kwargs,
      root_id: request.rootId,
      parent_id: request.parentId ?? null,
      retries: request.retries,
      eta: request.eta === undefined ? null : formatTime(request.eta),
      expires: request.expires === undefined ? null : formatTime(request.expires),
    });
  }

  started({ work }: Attempt): void {
    this.#send('task-started', work, {});
  }

  succeeded({ work }: Attempt, result: unknown, seconds: number): void {
    this.#send('task-succeeded', work, { result: reprResult(result), runtime: seconds });
  }

  failed({ work }: Attempt, _: unknown, { repr, traceback }: DescribedError): void {
    this.#send('task-failed', work, { exception: repr, traceback: traceback ?? '' });
  }

  retried({ work }: Attempt, _: unknown, described: DescribedError | undefined): void {
    this.#send('task-retried', work, {
      exception: described?.repr ?? 'None',
      traceback: described?.traceback ?? '',
    });
  }

  revoked(work: Work, { terminated, expired, signal }: RevokeFacts): void {
    this.#send('task-revoked', work, { terminated, signum: signalNumber(signal), expired });
  }

  rejected({ work }: Attempt, requeue: boolean): void {
    this.#send('task-rejected', work, { requeue });
  }

  unknown(_: Delivery, { id, task }: TaskRequest): void {
    this.#sender.sendGrouped('task-failed', { uuid: id, exception: `NotRegistered(${reprResult(task)})` });
  }

  #send(type: string, { id, task }: Work, fields: Readonly<Record<string, unknown>>): void {
    if (task.options.sendEvents) this.#sender.sendGrouped(type, { uuid: id, ...fields });
  }

  /** What the sender wrote for people; older senders and other programs may have left it out. */
  #arguments({ request, delivery }: Work): readonly [string, string] {
    if (request.argsrepr !== '' && request.kwargsrepr !== '') return [request.argsrepr, request.kwargsrepr];
    try {
      const { args, kwargs } = decodeTaskBody(delivery.message, this.#serializers);
      return [reprArgs(args), reprKwargs(kwargs)];
    } catch {
      return [request.argsrepr, request.kwargsrepr];
    }
  }
}

/** As the system counts them. null: none. */
export function signalNumber(signal: NodeJS.Signals | undefined): number | null {
  return signal === undefined ? null : constants.signals[signal];
}
