import type { AnyTask } from '@lovage/core';
import type { TaskRequest } from '@lovage/core/protocol';
import type { Delivery } from '@lovage/core/transport';
import type { ConsumerSession } from '../consumer/session.ts';
import type { Attempt } from './attempt.ts';

/** A readable message on its way through the worker. */
export class Work {
  /** Whose tag the delivery has. Another one when the message came again while it was running. */
  session: ConsumerSession;
  delivery: Delivery;
  readonly request: TaskRequest;
  readonly task: AnyTask;
  /** Set while the task runs and what follows it is done. */
  attempt: Attempt | undefined;
  /** Acknowledged, requeued or rejected: nothing more is said to the broker. */
  settled = false;

  constructor(session: ConsumerSession, delivery: Delivery, request: TaskRequest, task: AnyTask) {
    this.session = session;
    this.delivery = delivery;
    this.request = request;
    this.task = task;
  }

  get id(): string {
    return this.request.id;
  }
}
