import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Lovage } from '@lovage/core';
import { memoryBackend, memoryTransport } from '@lovage/core/memory';
import { Worker } from '@lovage/worker';
import { context, propagation, SpanKind, trace } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { expect, onTestFinished, test } from 'vitest';
import { traceTasks } from './trace-tasks.ts';

context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
propagation.setGlobalPropagator(new W3CTraceContextPropagator());

async function open(options: Parameters<typeof traceTasks>[1] = {}): Promise<{
  app: Lovage;
  exporter: InMemorySpanExporter;
  readonly start: () => Promise<void>;
}> {
  const exporter = new InMemorySpanExporter();
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  const broker = `memory://${randomUUID()}`;
  const app = new Lovage('traces', {
    broker,
    backend: `cache+${broker}`,
    transports: [memoryTransport],
    backends: [memoryBackend],
  });
  traceTasks(app, { provider, ...options });
  const worker = new Worker(app, { nodeName: 'w@here', guardProcess: false });
  onTestFinished(async () => {
    await worker.stop('cold');
    await app.close();
  });
  return { app, exporter, start: () => worker.start() };
}

test('a trace goes from the call through the run into what the task calls', async () => {
  const { app, exporter, start } = await open();
  const inner = app.task('inner', () => 'end');
  const outer = app.task('outer', async () => {
    await sleep(1);
    expect(trace.getActiveSpan()).toBeDefined();
    await inner.delay();
    return 'done';
  });
  await start();
  const result = await outer.delay();
  await result.get({ timeout: 5 });
  await expect.poll(() => exporter.getFinishedSpans().length).toBe(4);
  const spans = exporter.getFinishedSpans();
  const span = (name: string) => {
    const found = spans.find((one) => one.name === name);
    if (found === undefined) throw new Error(`no span ${name}`);
    return found;
  };
  const chain = ['apply_async/outer', 'run/outer', 'apply_async/inner', 'run/inner'].map(span);
  expect(new Set(chain.map((one) => one.spanContext().traceId)).size).toBe(1);
  for (const [index, one] of chain.slice(1).entries()) {
    expect(one.parentSpanContext?.spanId).toBe(chain[index]?.spanContext().spanId);
  }
  expect(span('apply_async/outer').kind).toBe(SpanKind.PRODUCER);
  expect(span('run/outer')).toMatchObject({
    kind: SpanKind.CONSUMER,
    attributes: {
      'celery.action': 'run',
      'celery.task_name': 'outer',
      'celery.state': 'SUCCESS',
      'celery.hostname': 'w@here',
      'messaging.message.id': result.id,
    },
  });
});

test('a failure is the status of its span, a retry is none; with links a run has a trace of its own', async () => {
  const { app, exporter, start } = await open({ relation: 'link' });
  const fail = app.task('fail', () => {
    throw new RangeError('no');
  });
  const again = app.task('again', { bind: true }, (task) => {
    if (task.request.retries === 0) task.retry({ countdown: 0 });
  });
  await start();
  await (await fail.delay()).get({ timeout: 5 }).catch(() => undefined);
  await (await again.delay()).get({ timeout: 5 });
  await expect.poll(() => exporter.getFinishedSpans().filter(({ name }) => name === 'run/again').length).toBe(2);
  const spans = exporter.getFinishedSpans();
  const failed = spans.find(({ name }) => name === 'run/fail');
  expect(failed).toMatchObject({ status: { code: 2, message: 'no' }, attributes: { 'celery.state': 'FAILURE' } });
  expect(failed?.events[0]?.name).toBe('exception');
  const sent = spans.find(({ name }) => name === 'apply_async/fail');
  expect(failed?.links[0]?.context.spanId).toBe(sent?.spanContext().spanId);
  expect(failed?.spanContext().traceId).not.toBe(sent?.spanContext().traceId);
  const states = spans.filter(({ name }) => name === 'run/again').map(({ attributes }) => attributes['celery.state']);
  expect(states).toEqual(['RETRY', 'SUCCESS']);
});
