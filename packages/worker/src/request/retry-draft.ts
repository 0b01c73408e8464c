import type { Lovage, RetryOptions } from '@lovage/core';
import type { TaskBody, TaskDraft } from '@lovage/core/protocol';
import type { Work } from './work.ts';

/** What RabbitMQ notes on messages that were dead-lettered, and what we note: not the caller's own headers. */
const FOREIGN_HEADER = /^x-(?:death|first-death|last-death|lovage-)/;

/**
 * The next attempt: a new message with the same id. Everything that is not asked for anew stays as it was, its expiry
 * too. Source: celery/app/task.py, signature_from_request.
 */
export function retryDraft(
  app: Lovage,
  { request, delivery }: Work,
  body: TaskBody,
  options: RetryOptions,
  eta: number | undefined,
  now: number,
): TaskDraft {
  const [hard, soft] = request.timeLimit;
  const { message } = delivery;
  const changed = options.args !== undefined || options.kwargs !== undefined;
  return {
    id: request.id,
    task: request.task,
    args: options.args ?? body.args,
    kwargs: options.kwargs ?? body.kwargs,
    shadow: request.shadow,
    eta,
    expires: expiry(options.expires, now) ?? request.expires,
    group: request.group,
    groupIndex: request.groupIndex,
    retries: request.retries + 1,
    timeLimit: [options.timeLimit ?? hard, options.softTimeLimit ?? soft],
    rootId: request.rootId,
    parentId: request.id,
    origin: request.origin ?? app.nodeName,
    ignoreResult: request.ignoreResult,
    replacedTaskNesting: request.replacedTaskNesting,
    stampedHeaders: request.stampedHeaders,
    stamps: request.stamps,
    replyTo: request.replyTo,
    correlationId: request.correlationId ?? request.id,
    priority: options.priority ?? message.properties.priority ?? request.priority,
    deliveryMode: message.properties.deliveryMode ?? app.settings.taskDefaultDeliveryMode,
    serializer: app.serializers.nameOf(message.contentType) ?? app.settings.taskSerializer,
    compression: compressionOf(message.headers),
    headers: Object.fromEntries(Object.entries(request.headers).filter(([name]) => !FOREIGN_HEADER.test(name))),
    argsrepr: changed ? undefined : request.argsrepr,
    kwargsrepr: changed ? undefined : request.kwargsrepr,
    callbacks: body.callbacks,
    errbacks: body.errbacks,
    chain: body.chain,
    chord: body.chord,
  };
}

function expiry(expires: number | Date | undefined, now: number): number | undefined {
  if (expires === undefined) return undefined;
  return typeof expires === 'number' ? now + expires * 1000 : expires.getTime();
}

function compressionOf(headers: Readonly<Record<string, unknown>>): string | undefined {
  const compression = headers['compression'];
  return typeof compression === 'string' ? compression : undefined;
}
