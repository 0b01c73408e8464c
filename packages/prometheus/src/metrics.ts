import type { Lovage, RunSignal } from '@lovage/core';
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** What of a worker is measured when it is asked. `Worker` of `@lovage/worker` is one. */
export interface MeasuredWorker {
  readonly nodeName: string;
  readonly isConnected: boolean;
  readonly reserved: readonly unknown[];
  readonly scheduled: readonly unknown[];
  readonly prefetchCount: number;
  readonly pool: { readonly busy: number; readonly concurrency: number };
}

export interface MetricsOptions {
  /** Where the metrics go. */
  readonly registry: Registry;
  /** Adds gauges of this worker. */
  readonly worker?: MeasuredWorker;
  /** Default `lovage_`. */
  readonly prefix?: string;
  /** Upper bounds of the histogram of run times, in seconds. */
  readonly buckets?: readonly number[];
}

/** {@link collectMetrics}' hold on the app. */
export interface TaskMetrics {
  /** Stops counting. The metrics stay in the registry. */
  stop(): void;
}

const BUCKETS = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800];

/**
 * Counts what happens to an app's tasks, in the process that publishes or runs them, by the app's signals. Labels are
 * bounded: the name of a task that the app knows, the type of an error.
 *
 * @example
 * const registry = new Registry()
 * collectMetrics(app, { registry })
 */
export function collectMetrics(app: Lovage, options: MetricsOptions): TaskMetrics {
  const { registry, worker, prefix = 'lovage_', buckets = BUCKETS } = options;
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[]): Counter<L> =>
    new Counter({ name: `${prefix}${name}`, help, labelNames: [...labelNames], registers });
  const published = counter('task_published_total', 'Task messages that the broker has taken.', ['task']);
  const received = counter('task_received_total', 'Task messages that the worker took in.', ['task']);
  const started = counter('task_started_total', 'Runs that began.', ['task']);
  const succeeded = counter('task_succeeded_total', 'Runs that succeeded.', ['task']);
  const failed = counter('task_failed_total', 'Runs that failed, by the type of the error.', ['task', 'exception']);
  const retried = counter('task_retried_total', 'Runs that led to another attempt.', ['task']);
  const revoked = counter('task_revoked_total', 'Tasks that were revoked or had expired.', ['task', 'reason']);
  const rejected = counter('task_rejected_total', 'Runs that rejected their message.', ['task']);
  const unknown = counter('task_unknown_total', 'Messages of tasks that the worker does not know.', []);
  const runtime = new Histogram({
    name: `${prefix}task_runtime_seconds`,
    help: 'How long functions ran.',
    labelNames: ['task'],
    buckets: [...buckets],
    registers,
  });
  if (worker !== undefined) measureWorker(worker, prefix, registry);
  const name = ({ task }: Pick<RunSignal, 'task'>): { task: string } => ({ task: task.name });
  const offs = [
    // Anything may be published by name; only what the app knows becomes a label.
    app.on('afterTaskPublish', ({ task }) =>
      published.inc({ task: app.tasks.get(task) === undefined ? 'other' : task }),
    ),
    app.on('taskReceived', (signal) => received.inc(name(signal))),
    app.on('taskPrerun', (signal) => started.inc(name(signal))),
    app.on('taskSuccess', (signal) => {
      succeeded.inc(name(signal));
      runtime.observe(name(signal), signal.seconds);
    }),
    app.on('taskFailure', (signal) => {
      failed.inc({ ...name(signal), exception: signal.exception.exc_type });
      runtime.observe(name(signal), signal.seconds);
    }),
    app.on('taskRetry', (signal) => retried.inc(name(signal))),
    app.on('taskRevoked', (signal) => {
      revoked.inc({
        ...name(signal),
        reason: signal.expired ? 'expired' : signal.terminated ? 'terminated' : 'revoked',
      });
    }),
    app.on('taskRejected', (signal) => rejected.inc(name(signal))),
    app.on('taskUnknown', () => unknown.inc()),
  ];
  return {
    stop: () => {
      for (const off of offs) off();
    },
  };
}

function measureWorker(worker: MeasuredWorker, prefix: string, registry: Registry): void {
  const gauge = (name: string, help: string, measure: () => number): void => {
    const made: Gauge<'worker'> = new Gauge({
      name: `${prefix}worker_${name}`,
      help,
      labelNames: ['worker'],
      registers: [registry],
      collect: () => made.set({ worker: worker.nodeName }, measure()),
    });
  };
  gauge('up', '1 while the worker is connected to its broker.', () => (worker.isConnected ? 1 : 0));
  gauge('active', 'Tasks that run.', () => worker.pool.busy);
  gauge('reserved', 'Tasks that wait for a slot.', () => worker.reserved.length);
  gauge('scheduled', 'Tasks that wait for their time.', () => worker.scheduled.length);
  gauge('concurrency', 'Tasks that may run at once.', () => worker.pool.concurrency);
  gauge('prefetch', 'Messages that the broker may hand out unsettled; 0: no limit.', () => worker.prefetchCount);
}
