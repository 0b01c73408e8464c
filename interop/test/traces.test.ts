import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Lovage } from '@lovage/core';
import { traceTasks } from '@lovage/opentelemetry';
import { Worker } from '@lovage/worker';
import { context, propagation, SpanKind } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { here, type Running, start, until } from './processes.ts';

const { LOVAGE_TEST_REDIS_URL: redis, LOVAGE_TEST_TRACES_PYTHON: python } = process.env;

interface SpanFacts {
  readonly name: string;
  readonly kind: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentId: string | null;
  readonly attributes: Readonly<Record<string, unknown>>;
}

/** `@lovage/opentelemetry` and Python's opentelemetry-instrumentation-celery: one trace goes through workers of both. */
describe.skipIf(!redis?.includes('/') || !python?.includes('/'))('traces through Python and TypeScript', () => {
  const mark = randomUUID().slice(0, 8);
  const queues = { python: `py-traces-${mark}`, typescript: `ts-traces-${mark}` };
  const folder = mkdtempSync(join(tmpdir(), 'lovage-traces-'));
  const file = join(folder, 'spans');
  const env = { ...process.env, BROKER: redis, BACKEND: redis, QUEUE: queues.python, SPANS: file };
  const exporter = new InMemorySpanExporter();
  let app: Lovage;
  let worker: Worker;
  let celery: Running;

  beforeAll(async () => {
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    propagation.setGlobalPropagator(new W3CTraceContextPropagator());
    const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
    app = new Lovage('traces', {
      broker: redis as string,
      backend: redis as string,
      taskDefaultQueue: queues.typescript,
    });
    traceTasks(app, { provider });
    app.task('ts.echo', (value: unknown) => value);
    app.task('ts.forward', async (value: unknown) => {
      await app.sendTask('py.echo', { args: [value], queue: queues.python });
    });
    worker = new Worker(app, { nodeName: `ts@${mark}` });
    await worker.start();
    const args = `-m celery -A traces worker -l INFO -P threads -c 2 --without-mingle --without-gossip -Q ${queues.python}`;
    celery = await start(python as string, [...args.split(' '), '-n', `py@${mark}`], env, / ready\./);
  });

  afterAll(async () => {
    await celery?.stop();
    await worker?.stop('cold');
    await app?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Those of Python and of TypeScript. */
  function spans(): readonly SpanFacts[] {
    // What follows the last line break is a line that is being written.
    const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : [];
    const theirs = lines.map((line) => JSON.parse(line) as SpanFacts);
    const ours = exporter.getFinishedSpans().map((span): SpanFacts => {
      const { traceId, spanId } = span.spanContext();
      const parentId = span.parentSpanContext?.spanId ?? null;
      return {
        name: span.name,
        kind: SpanKind[span.kind] as string,
        traceId,
        spanId,
        parentId,
        attributes: span.attributes,
      };
    });
    return [...theirs, ...ours];
  }

  const send = async (...args: readonly string[]): Promise<string> => {
    const { stdout } = await promisify(execFile)(python as string, ['traces.py', 'send', ...args], {
      cwd: here('../python'),
      env,
    });
    return stdout.trim();
  };

  /** Each span of the trace is the child of the one before it. */
  async function traced(root: (span: SpanFacts) => boolean, names: readonly string[]): Promise<readonly SpanFacts[]> {
    const trace = await until(
      () => {
        const first = spans().find((span) => span.name === names[0] && root(span));
        const found = spans().filter(({ traceId }) => traceId === first?.traceId);
        return found.length >= names.length ? found : undefined;
      },
      () => `trace of ${names.join(', ')}: ${JSON.stringify(spans().map(({ name }) => name))}`,
    );
    const chain = names.map((name) => trace.find((span) => span.name === name));
    assert.deepEqual(trace.map(({ name }) => name).toSorted(), names.toSorted());
    for (const [index, span] of chain.entries()) {
      assert.equal(span?.parentId ?? null, chain[index - 1]?.spanId ?? null, `the parent of ${span?.name}`);
      assert.equal(span?.kind, index % 2 === 0 ? 'PRODUCER' : 'CONSUMER');
    }
    return chain as readonly SpanFacts[];
  }

  it('Python sends, TypeScript runs and sends, Python runs: one trace', async () => {
    const id = await send('ts.forward', queues.typescript, 'x');
    const chain = await traced(
      ({ attributes }) => attributes['messaging.message.id'] === id,
      ['apply_async/ts.forward', 'run/ts.forward', 'apply_async/py.echo', 'run/py.echo'],
    );
    const [sent, ours, , theirs] = chain.map(({ attributes }) => attributes);
    for (const name of ['celery.action', 'celery.state']) assert.equal(ours?.[name], theirs?.[name], name);
    assert.equal(ours?.['messaging.message.id'], id);
    assert.equal(ours?.['messaging.destination'], sent?.['messaging.destination']);
    assert.equal(theirs?.['messaging.destination'], queues.python);
  });

  it('TypeScript sends, Python runs and sends, TypeScript runs: one trace', async () => {
    const { id } = await app.sendTask('py.forward', { args: ['x', queues.typescript], queue: queues.python });
    await traced(
      ({ attributes }) => attributes['messaging.message.id'] === id,
      ['apply_async/py.forward', 'run/py.forward', 'apply_async/ts.echo', 'run/ts.echo'],
    );
  });
});
