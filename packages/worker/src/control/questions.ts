import { arch, platform, release } from 'node:os';
import { describeSettings, type HelloReply, type RequestReply } from '@lovage/core';
import { parseBrokerUrls } from '@lovage/core/transport';
import type { Work } from '../request/work.ts';
import { count, flag, texts, type Given } from './arguments.ts';
import {
  describeBroker,
  describeQueue,
  describeRequest,
  describeScheduled,
  describeUsage,
  type DescribeFacts,
} from './describe.ts';
import type { PanelHost } from './host.ts';
import { PythonError } from './python-errors.ts';

export type Handler = (host: PanelHost, given: Given) => unknown;

/** The `inspect` commands. Source: celery/worker/control.py. */
export const QUESTIONS: Readonly<Record<string, Handler>> = {
  ping: () => ({ ok: 'pong' }),
  clock: ({ app }) => ({ clock: app.clock.value }),
  report: (host) => ({ ok: report(host) }),
  conf: ({ app }, given) => describeSettings(app.settings, { withDefaults: flag(given, 'with_defaults') }),

  active: (host, given) => {
    const safe = flag(given, 'safe');
    return running(host).map((work) => describeRequest(work, facts(host), { safe }));
  },
  reserved: (host) => waiting(host).map((work) => describeRequest(work, facts(host))),
  scheduled: (host) => (host.dispatcher()?.scheduled ?? []).map((work) => describeScheduled(work, facts(host))),
  revoked: ({ worker }) => worker.revoked.ids(),
  active_queues: (host) => host.queues().map(describeQueue),
  query_task: queryTask,
  registered,
  stats,
  hello,

  memsample: () => sampleMemory(),
  memdump: (_, given) => dumpMemory(count(given, 'samples', 10)),
  objgraph: () => {
    throw new PythonError(
      'NotImplementedError',
      'objgraph draws the objects of a Python process. For Node start the worker with NODE_OPTIONS=--heapsnapshot-signal=SIGUSR2, send it that signal, and open the file that it writes with the Memory panel of Chrome DevTools',
    );
  },
};

function facts({ app, worker, clock }: PanelHost): DescribeFacts {
  return {
    nodeName: worker.nodeName,
    clock,
    serializers: app.serializers,
    pidOf: ({ attempt }) => (attempt === undefined ? null : worker.pool.pidOf(attempt)),
  };
}

function running(host: PanelHost): readonly Work[] {
  return [...(host.dispatcher()?.attempts ?? [])].filter(({ isOver }) => !isOver).map(({ work }) => work);
}

function waiting(host: PanelHost): readonly Work[] {
  return host.dispatcher()?.reserved ?? [];
}

/** What waits for its time is not found, as in Celery. */
function queryTask(host: PanelHost, given: Given): Readonly<Record<string, readonly [string, RequestReply]>> {
  const wanted = new Set(texts(given, 'ids'));
  const found = Object.create(null) as Record<string, readonly [string, RequestReply]>;
  const note = (works: readonly Work[], state: string): void => {
    for (const work of works) {
      if (wanted.has(work.id)) found[work.id] = [state, describeRequest(work, facts(host))];
    }
  };
  note(
    [...(host.dispatcher()?.attempts ?? [])].filter(({ isOver }) => isOver).map(({ work }) => work),
    'ready',
  );
  note(waiting(host), 'reserved');
  note(running(host), 'active');
  return found;
}

const DEFAULT_ITEMS = ['exchange', 'routing_key', 'rate_limit'];

/** Source: celery/worker/control.py, registered. */
function registered({ app, worker }: PanelHost, given: Given): readonly string[] {
  const asked = texts(given, 'taskinfoitems');
  const items = asked.length === 0 ? DEFAULT_ITEMS : asked;
  const names = app.tasks.names().filter((name) => flag(given, 'builtins') || !name.startsWith('celery.'));
  return names.toSorted().map((name) => {
    const task = app.tasks.get(name);
    const attributes: Readonly<Record<string, unknown>> = {
      ...task?.callOptions,
      ...task?.options,
      name,
      rateLimit: worker.rateLimitOf(name),
    };
    const shown = items.flatMap((item) => {
      const key = item.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
      const value = Object.hasOwn(attributes, key) ? attributes[key] : undefined;
      return value === undefined || value === null ? [] : [`${item}=${shownAttribute(value)}`];
    });
    return shown.length === 0 ? name : `${name} [${shown.join(' ')}]`;
  });
}

function shownAttribute(value: unknown): string {
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** Source: celery/worker/worker.py, WorkController.stats. */
function stats(host: PanelHost): Readonly<Record<string, unknown>> {
  const { app, worker, clock, startedAt } = host;
  const { settings } = app;
  const [url, ...alternates] = parseBrokerUrls(settings.brokerReadUrl ?? settings.brokerUrl);
  return {
    total: Object.fromEntries(host.dispatcher()?.totals ?? []),
    pid: process.pid,
    clock: String(app.clock.value),
    uptime: Math.round((clock.monotonic() - startedAt) / 1000),
    pool: worker.poolInfo,
    ...(worker.autoscaler === undefined ? {} : { autoscaler: worker.autoscaler }),
    broker:
      url === undefined
        ? {}
        : describeBroker(url, {
            connectTimeoutSeconds: settings.brokerConnectionTimeout,
            heartbeatSeconds: settings.brokerHeartbeat,
            transportOptions: describeSettings(settings, { withDefaults: true })[
              'broker_transport_options'
            ] as Readonly<Record<string, unknown>>,
            alternates,
          }),
    prefetch_count: worker.prefetchCount,
    rusage: describeUsage(),
  };
}

/** Source: celery/worker/control.py, hello. Times must be floats: a Python peer throws at whole numbers. */
function hello({ app, worker, logger, clock }: PanelHost, given: Given): HelloReply | null {
  const from = given['from_node'];
  if (from === worker.nodeName) return null;
  logger.info({ from }, `sync with ${String(from)}`);
  learnRevoked(worker.revoked, given['revoked']);
  return { revoked: toldRevoked(worker.revoked.ids(), clock.monotonic()), clock: app.clock.forward() };
}

/** Ids that another worker tells of. */
export function learnRevoked(revoked: { add(id: string): void }, told: unknown): number {
  if (typeof told !== 'object' || told === null) return 0;
  const ids = Array.isArray(told) ? (told as unknown[]) : Object.keys(told);
  const texts = ids.filter((id): id is string => typeof id === 'string' && id !== '');
  for (const id of texts) revoked.add(id);
  return texts.length;
}

/** In the form of Celery's LimitedSet: when, in seconds of a monotonic clock, and the id. */
export function toldRevoked(ids: readonly string[], nowMs: number): HelloReply['revoked'] {
  const seconds = nowMs / 1000;
  const at = Number.isInteger(seconds) ? seconds + 0.001 : seconds;
  return Object.fromEntries(ids.map((id) => [id, [at, id] as const]));
}

function report({ app, worker }: PanelHost): string {
  const settings = Object.entries(describeSettings(app.settings));
  return [
    '',
    `software -> lovage, node:${process.version}`,
    `platform -> system:${platform()} arch:${arch()} kernel version:${release()}`,
    `app      -> ${app.name}, node:${worker.nodeName}, pool:${worker.pool.name}, tasks:${app.tasks.names().length}`,
    '',
    ...settings.map(([name, value]) => `${name}: ${JSON.stringify(value)}`),
    '',
  ].join('\n');
}

const samples: string[] = [];
const MOST_SAMPLES = 1000;

function sampleMemory(): string {
  const text = `${Number((process.memoryUsage().rss / 1024 / 1024).toPrecision(5))}MB`;
  samples.push(text);
  if (samples.length > MOST_SAMPLES) samples.shift();
  return text;
}

/** Source: celery/utils/debug.py, memdump. */
function dumpMemory(most: number): string {
  const before = samples.splice(0).slice(-most);
  const now = sampleMemory();
  samples.length = 0;
  const lines = before.map((text, index) => `-    > ${index},\t${text}`);
  return ['- rss (sample):', ...lines, `- rss (end): ${now}.`, ''].join('\n');
}
