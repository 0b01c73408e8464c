import { createRequire } from 'node:module';
import type { Lovage, TaskContext } from '@lovage/core';
import {
  context,
  propagation,
  SpanKind,
  SpanStatusCode,
  trace,
  type Span,
  type TextMapGetter,
  type TracerProvider,
} from '@opentelemetry/api';

export interface TraceOptions {
  /** Default: the global one, which an SDK has registered. */
  readonly provider?: TracerProvider;
  /**
   * What becomes of the sender's trace: `child`, the run belongs to it, as in Python's instrumentation; `link`, the run
   * has a trace of its own that refers to it. Default `child`.
   */
  readonly relation?: 'child' | 'link';
}

const GETTER: TextMapGetter<Readonly<Record<string, unknown>>> = {
  keys: (headers) => Object.keys(headers),
  get: (headers, key) => {
    const value = headers[key];
    return typeof value === 'string' ? value : undefined;
  },
};

/**
 * Makes spans of an app's tasks: one where a task is sent (`apply_async/NAME`), one where it runs (`run/NAME`), tied
 * together by headers of the message. Names, attributes and headers are those of Python's
 * opentelemetry-instrumentation-celery, so that a trace goes through workers of both kinds. Call it once, in the module
 * of the app: workers and their child processes load it there.
 *
 * The context is active while the task's function runs, so what the function does belongs to its span.
 */
export function traceTasks(app: Lovage, { provider, relation = 'child' }: TraceOptions = {}): void {
  const tracer = (provider ?? trace).getTracer('@lovage/opentelemetry', version());
  const sending = new Map<string, Span>();

  app.on('beforeTaskPublish', ({ task, id, headers, exchange, routingKey }) => {
    const span = tracer.startSpan(`apply_async/${task}`, {
      kind: SpanKind.PRODUCER,
      attributes: {
        'celery.action': 'apply_async',
        'celery.task_name': task,
        'messaging.message.id': id,
        'messaging.destination': routingKey || exchange,
        'messaging.destination_kind': 'queue',
        'messaging.system': 'celery',
      },
    });
    propagation.inject(trace.setSpan(context.active(), span), headers);
    remember(sending, id, span);
  });
  app.on('afterTaskPublish', ({ id }) => {
    sending.get(id)?.end();
    sending.delete(id);
  });

  app.around((task, run) => {
    const { request } = task;
    const sender = propagation.extract(context.active(), request.headers, GETTER);
    const senderSpan = trace.getSpanContext(sender);
    const attributes = attributesOf(task);
    const span =
      relation === 'child'
        ? tracer.startSpan(`run/${request.task}`, { kind: SpanKind.CONSUMER, attributes }, sender)
        : tracer.startSpan(`run/${request.task}`, {
            kind: SpanKind.CONSUMER,
            attributes,
            root: true,
            links: senderSpan === undefined ? [] : [{ context: senderSpan }],
          });
    return context.with(trace.setSpan(sender, span), () => follow(span, run));
  });
}

/** The span ends with the run; what it throws is its status. */
function follow(span: Span, run: () => unknown): unknown {
  let outcome: unknown;
  try {
    outcome = run();
  } catch (error) {
    failed(span, error);
    throw error;
  }
  if (!isThenable(outcome)) {
    succeeded(span);
    return outcome;
  }
  return outcome.then(
    (value) => {
      succeeded(span);
      return value;
    },
    (error: unknown) => {
      failed(span, error);
      throw error;
    },
  );
}

function succeeded(span: Span): void {
  span.setAttribute('celery.state', 'SUCCESS');
  span.end();
}

/** What asks for another attempt, or for nothing to be kept, is no failure. */
const CONTROL: Readonly<Record<string, string>> = { ERR_RETRY: 'RETRY', ERR_IGNORE: 'IGNORED', ERR_REJECT: 'REJECTED' };

function failed(span: Span, error: unknown): void {
  const code = typeof error === 'object' && error !== null ? (error as { code?: unknown }).code : undefined;
  const state = typeof code === 'string' && Object.hasOwn(CONTROL, code) ? CONTROL[code] : undefined;
  span.setAttribute('celery.state', state ?? 'FAILURE');
  if (state === undefined) {
    const exception = error instanceof Error ? error : String(error);
    span.recordException(exception);
    span.setStatus({
      code: SpanStatusCode.ERROR,
      message: exception instanceof Error ? exception.message : exception,
    });
  }
  span.end();
}

/** Source: opentelemetry-instrumentation-celery, utils.py, set_attributes_from_context. */
function attributesOf({ request }: TaskContext): Record<string, string | number> {
  const { exchange, routingKey } = request.deliveryInfo;
  return {
    'celery.action': 'run',
    'celery.task_name': request.task,
    'celery.hostname': request.hostname ?? '',
    'celery.retries': request.retries,
    'celery.origin': request.origin ?? '',
    'messaging.conversation_id': request.correlationId ?? request.id,
    'messaging.message.id': request.id,
    'messaging.destination': routingKey || exchange,
    'messaging.destination_kind': 'queue',
    'messaging.system': 'celery',
  };
}

/** A publish that failed has no end of its own: its span ends when room is needed. */
const MOST_SENDING = 10_000;

function remember(sending: Map<string, Span>, id: string, span: Span): void {
  for (const [oldest, old] of sending) {
    if (sending.size < MOST_SENDING) break;
    old.end();
    sending.delete(oldest);
  }
  sending.set(id, span);
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function';
}

function version(): string {
  return (createRequire(import.meta.url)('@lovage/opentelemetry/package.json') as { version: string }).version;
}
