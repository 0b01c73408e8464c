import { constants } from 'node:os';
import { isLovageError, type NamedQueueOptions } from '@lovage/core';
import { markRevoked } from '@lovage/core/backend';
import { safeRepr } from '@lovage/core/protocol';
import { count, flag, number, text, texts, type Given } from './arguments.ts';
import type { PanelHost } from './host.ts';
import { PythonError, reprError } from './python-errors.ts';
import type { Handler } from './questions.ts';

interface Ok {
  readonly ok: string;
}

/** The `control` commands. Source: celery/worker/control.py. */
export const ORDERS: Readonly<Record<string, Handler>> = {
  revoke: (host, given) => revoke(host, given, flag(given, 'terminate')),
  terminate: (host, given) => revoke(host, given, true),
  revoke_by_stamped_headers: revokeByStampedHeaders,

  rate_limit: (host, given) => {
    const task = text(given, 'task_name') ?? '';
    const limit = given['rate_limit'];
    if (limit !== null && typeof limit !== 'string' && typeof limit !== 'number') {
      throw new PythonError('TypeError', 'rate_limit is neither a text nor a number');
    }
    try {
      host.worker.setRateLimit(task, limit);
    } catch (error) {
      if (isLovageError(error, 'ERR_NOT_REGISTERED')) return { error: 'unknown task' };
      const cause = new PythonError('ValueError', `could not convert string to float: ${safeRepr(String(limit))}`);
      return { error: `Invalid rate limit string: ${reprError(cause)}` };
    }
    host.logger.info({ task, limit }, `New rate limit for tasks of type ${task}: ${String(limit)}.`);
    return { ok: limit ? 'new rate limit set successfully' : 'rate limit disabled successfully' };
  },

  time_limit: ({ worker, logger }, given) => {
    const task = text(given, 'task_name') ?? '';
    const soft = number(given, 'soft') ?? null;
    const hard = number(given, 'hard') ?? null;
    try {
      worker.setTimeLimit(task, { soft, hard });
    } catch (error) {
      if (isLovageError(error, 'ERR_NOT_REGISTERED')) return { error: 'unknown task' };
      throw error;
    }
    logger.info(
      { task, soft, hard },
      `New time limits for tasks of type ${task}: soft=${String(soft)} hard=${String(hard)}`,
    );
    return { ok: 'time limits set successfully' };
  },

  pool_grow: ({ worker }, given) => {
    if (worker.autoscaler !== undefined) return notWithAutoscale('pool_grow');
    worker.grow(count(given, 'n', 1));
    return { ok: 'pool will grow' };
  },
  pool_shrink: ({ worker }, given) => {
    if (worker.autoscaler !== undefined) return notWithAutoscale('pool_shrink');
    worker.shrink(count(given, 'n', 1));
    return { ok: 'pool will shrink' };
  },
  pool_restart: ({ app, worker }) => {
    if (!app.settings.workerPoolRestarts) throw new PythonError('ValueError', 'Pool restarts not enabled');
    worker.restartPool();
    return { ok: 'reload started' };
  },
  autoscale: ({ worker }, given) => {
    if (worker.autoscaler === undefined) throw new PythonError('ValueError', 'Autoscale not enabled');
    const max = number(given, 'max');
    const min = number(given, 'min');
    const range = worker.setAutoscale({
      ...(max === undefined ? {} : { max }),
      ...(min === undefined ? {} : { min }),
    });
    return { ok: `autoscale now max=${range.max} min=${range.min}` };
  },
  shutdown: ({ worker, logger }, given) => {
    logger.warn({}, text(given, 'msg') ?? 'Got shutdown from remote');
    void worker.stop('warm');
    return NO_REPLY;
  },

  add_consumer: async (host, given) => {
    const queue = text(given, 'queue') ?? '';
    await host.addQueue(queueOptions(queue, given));
    return { ok: `add consumer ${queue}` };
  },
  cancel_consumer: async (host, given) => {
    const queue = text(given, 'queue') ?? '';
    await host.cancelQueue(queue);
    return { ok: `no longer consuming from ${queue}` };
  },

  enable_events: ({ events, logger }) => {
    if (events.sendsTaskEvents) return { ok: 'task events already enabled' };
    events.enableTaskEvents();
    logger.info({}, 'Events of group {task} enabled by remote.');
    return { ok: 'task events enabled' };
  },
  disable_events: ({ events, logger }) => {
    if (!events.sendsTaskEvents) return { ok: 'task events already disabled' };
    events.disableTaskEvents();
    logger.info({}, 'Events of group {task} disabled by remote.');
    return { ok: 'task events disabled' };
  },
  heartbeat: ({ events }) => {
    events.heartbeat();
    return null;
  },
  election: (host, given) => {
    host.elect(text(given, 'id') ?? '', text(given, 'topic') ?? '', given['action'] ?? null);
    return null;
  },
};

/** What a handler returns that gives no answer. */
export const NO_REPLY: unique symbol = Symbol('no reply');

function notWithAutoscale(command: string): { readonly error: string } {
  return { error: `${command} is not supported with autoscale. Adjust autoscale range instead.` };
}

/** Source: celery/worker/control.py, revoke and _revoke. */
async function revoke({ app, worker, logger }: PanelHost, given: Given, terminate: boolean): Promise<Ok> {
  const ids = [...new Set(texts(given, 'task_id'))];
  const ended = worker.revoke(ids, { terminate, ...signalOf(given) });
  logger.info({ ids, terminate }, `Tasks flagged as revoked: ${ids.join(', ')}`);
  try {
    const backend = await app.resultBackend();
    if (backend?.capabilities.shared === true) await markRevoked(backend, ids);
  } catch (error) {
    logger.warn({ err: error, ids }, 'Revoked tasks could not be noted in the result store.');
  }
  if (!terminate) return { ok: `tasks ${reprSet(ids)} flagged as revoked` };
  return { ok: `terminate: ${ended.length === 0 ? 'tasks unknown' : [...new Set(ended)].join(', ')}` };
}

/** As Python shows a set. */
function reprSet(items: readonly string[]): string {
  return items.length === 0 ? 'set()' : `{${items.map((item) => safeRepr(item)).join(', ')}}`;
}

function revokeByStampedHeaders({ worker, logger }: PanelHost, given: Given): Ok {
  const headers = stampsOf(given['headers']);
  const terminate = flag(given, 'terminate');
  const ended = worker.revokeByStampedHeaders(headers, { terminate, ...signalOf(given) });
  logger.info({ headers, terminate }, 'Tasks with these stamps are revoked.');
  const shown = safeRepr(headers);
  if (!terminate) return { ok: `headers ${shown} flagged as revoked, but not terminated` };
  return { ok: ended.length === 0 ? `headers ${shown} were not terminated` : `headers ${shown} revoked` };
}

/** An object, or a list of `key=value`. */
function stampsOf(given: unknown): Readonly<Record<string, unknown>> {
  if (Array.isArray(given)) {
    const stamps = Object.create(null) as Record<string, unknown>;
    for (const pair of given as unknown[]) {
      const [key, value] = typeof pair === 'string' ? pair.split('=', 2) : [];
      if (key === undefined || value === undefined)
        throw new PythonError('ValueError', 'headers are no key=value pairs');
      stamps[key] = value;
    }
    return stamps;
  }
  if (typeof given === 'object' && given !== null) return given as Readonly<Record<string, unknown>>;
  throw new PythonError('TypeError', 'headers are neither an object nor a list');
}

/** `TERM`, `SIGTERM` or a number; unknown ones are an error. */
function signalOf(given: Given): { readonly signal?: NodeJS.Signals } {
  const value = given['signal'];
  if (value === undefined || value === null || value === '') return {};
  if (typeof value !== 'string' && typeof value !== 'number') throw new PythonError('TypeError', 'signal is no name');
  const known: Readonly<Record<string, number>> = constants.signals;
  const names = Object.keys(known);
  const upper = String(value).toUpperCase();
  const name = /^\d+$/.test(upper)
    ? names.find((candidate) => known[candidate] === Number(upper))
    : names.find((candidate) => candidate === upper || candidate === `SIG${upper}`);
  if (name === undefined) throw new PythonError('KeyError', String(value));
  return { signal: name as NodeJS.Signals };
}

/** What further arguments `add_consumer` may have: Kombu's names of a queue's options. */
function queueOptions(name: string, given: Given): string | NamedQueueOptions {
  const { queue: _, exchange, exchange_type: type, routing_key: key, ...further } = given;
  if (name === '') throw new PythonError('ValueError', 'queue is empty');
  const isPlain = [exchange, key].every((value) => value === null || value === undefined || value === name);
  if (isPlain && (type ?? 'direct') === 'direct' && Object.keys(further).length === 0) return name;
  return {
    name,
    exchange: text(given, 'exchange') ?? name,
    exchangeType: (text(given, 'exchange_type') ?? 'direct') as 'direct',
    routingKey: text(given, 'routing_key') ?? name,
    ...further,
  };
}
