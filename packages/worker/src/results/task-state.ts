import type { ResultWrite } from '@lovage/core/backend';
import { formatTime, type TaskBody, type TaskMeta, type TaskRequest } from '@lovage/core/protocol';
import type { Delivery } from '@lovage/core/transport';

export interface StateFacts {
  readonly state: string;
  readonly result: unknown;
  readonly traceback: string | null;
  readonly children: readonly unknown[];
}

/** With `resultExtended`. */
export interface ExtendedFacts {
  readonly nodeName: string;
  /** undefined: it could not be decoded, or was not yet. */
  readonly body: TaskBody | undefined;
}

/** One state of a task as the store keeps it. Source: celery/backends/base.py, _get_result_meta. */
export function describeState(
  { request, delivery }: { readonly request: TaskRequest; readonly delivery: Delivery },
  { state: status, result, traceback, children }: StateFacts,
  now: number,
  extended: ExtendedFacts | undefined,
): ResultWrite {
  const { id: task_id, group, parentId } = request;
  const date_done = status === 'SUCCESS' || status === 'FAILURE' || status === 'REVOKED' ? formatTime(now) : null;
  const meta: TaskMeta =
    group === undefined && parentId === undefined && extended === undefined
      ? { status, result, traceback, children, date_done, task_id }
      : {
          status,
          result,
          traceback,
          children,
          date_done,
          ...(group === undefined ? {} : { group_id: group }),
          ...(parentId === undefined ? {} : { parent_id: parentId }),
          ...(extended === undefined ? {} : extendedFields(request, delivery, extended)),
          task_id,
        };
  const correlationId = request.correlationId ?? task_id;
  const write =
    request.replyTo === undefined ? { meta, correlationId } : { meta, correlationId, replyTo: request.replyTo };
  return date_done === null ? { ...write, at: now } : write;
}

const OWN_FIELDS = new Set(['status', 'result', 'traceback', 'children', 'date_done', 'group_id', 'parent_id']);

function extendedFields(
  request: TaskRequest,
  delivery: Delivery,
  { nodeName, body }: ExtendedFacts,
): Record<string, unknown> {
  // Stamps lie flat beside the state; one that has the name of a field of ours must not replace it.
  const stamps = Object.entries(request.stamps).filter(([name]) => !OWN_FIELDS.has(name));
  return {
    ...(request.stampedHeaders === undefined
      ? {}
      : { ...Object.fromEntries(stamps), stamped_headers: request.stampedHeaders }),
    name: request.task,
    args: body?.args ?? null,
    kwargs: body?.kwargs ?? null,
    worker: nodeName,
    retries: request.retries,
    queue: delivery.routingKey,
  };
}
