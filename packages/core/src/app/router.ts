import { ConfigError } from '../errors.ts';
import type { Topology } from '../transport/topology.ts';
import { fromWirePolicy, toCamelCase, validateApplyOptions, type ApplyOptions } from './option-names.ts';
import type { QueueDefinition, Queues } from './queues.ts';
import { isRecord } from './setting-kinds.ts';
import type { Settings } from './settings-table.ts';
import type { AnyTask } from './task.ts';

/** Where a task goes: the name of a queue, or call options (`queue`, `routingKey`, `priority` ...), snake_case too. */
export type RouteValue = string | ApplyOptions | Readonly<Record<string, unknown>>;

/** Decides by the call. Synchronous. null or undefined: the next router is asked. */
export type RouteFunction = (
  name: string,
  args: readonly unknown[],
  kwargs: Readonly<Record<string, unknown>>,
  options: ApplyOptions,
  context: { readonly task: AnyTask | undefined },
) => RouteValue | null | undefined;

/** Celery's older kind of router: an object. */
export interface RouteObject {
  routeForTask(
    name: string,
    args: readonly unknown[],
    kwargs: Readonly<Record<string, unknown>>,
  ): RouteValue | null | undefined;
}

/** Names, or patterns with `*`, in order. */
export type RouteMap = Readonly<Record<string, RouteValue>>;
/** The same with regular expressions, which match from the start of the name. */
export type RoutePairs = readonly (readonly [string | RegExp, RouteValue])[];

export type TaskRouter = RouteMap | RoutePairs | RouteFunction | RouteObject;
/** The setting `taskRoutes`: a router, or a list of them that are asked in order. */
export type TaskRoutes = TaskRouter | readonly TaskRouter[];

/** Where one call goes. */
export interface Route {
  /** `''`: the default exchange. */
  readonly exchange: string;
  readonly routingKey: string;
  /** The queue it was routed by; undefined when a route named only an exchange. */
  readonly queue: string | undefined;
  /** Those of the call over those of the route. */
  readonly options: ApplyOptions;
  /** Names {@link Route.topology}: equal keys, equal topology. */
  readonly topologyKey: string | undefined;
  /** What must exist before the message is sent. */
  readonly topology: Topology | undefined;
}

type Lookup = (
  name: string,
  args: readonly unknown[],
  kwargs: Readonly<Record<string, unknown>>,
  options: ApplyOptions,
  task: AnyTask | undefined,
) => ApplyOptions | undefined;

interface CompiledRouter {
  readonly lookup: Lookup;
  /** Its answer depends on nothing but the name. */
  readonly byNameOnly: boolean;
}

/** Answers that are kept, by task name. Names come from callers: the bound keeps generated ones from filling memory. */
const CACHE_LIMIT = 10_000;

/**
 * Finds where calls go. The order of precedence: options of the call (those of the task among them), then the first of
 * `taskRoutes` that knows the task, then the default queue. Source: celery/app/routes.py; celery/app/amqp.py,
 * send_task_message.
 */
export class Router {
  readonly #settings: Pick<Settings, 'taskDefaultRoutingKey'>;
  readonly #queues: Queues;
  readonly #routers: readonly CompiledRouter[];
  readonly #byNameOnly: boolean;
  readonly #answers = new Map<string, ApplyOptions | undefined>();
  readonly #routes = new Map<string, Route>();

  /** Throws `ConfigError` for what is no route, and `QueueNotFoundError` for a queue that may not be made. */
  constructor(settings: Pick<Settings, 'taskRoutes' | 'taskDefaultRoutingKey'>, queues: Queues) {
    this.#settings = settings;
    this.#queues = queues;
    this.#routers = readRoutes(settings.taskRoutes).map((router, index) =>
      compile(router, `taskRoutes[${index}]`, queues),
    );
    this.#byNameOnly = this.#routers.every(({ byNameOnly }) => byNameOnly);
  }

  /** Throws what a route function throws, `ConfigError` when it returns no route, and `QueueNotFoundError`. */
  route(
    name: string,
    args: readonly unknown[] = [],
    kwargs: Readonly<Record<string, unknown>> = {},
    options: ApplyOptions = {},
    task?: AnyTask,
  ): Route {
    const names =
      (options.queue ?? options.exchange ?? options.routingKey ?? options.exchangeType ?? undefined) !== undefined;
    if (names || !this.#byNameOnly) {
      const answer = this.#ask(name, args, kwargs, options, task);
      return this.#resolve(answer === undefined ? options : mergeOptions(answer, options), answer !== undefined);
    }
    let route = this.#routes.get(name);
    if (route === undefined) {
      const answer = this.#ask(name, args, kwargs, options, task);
      route = this.#resolve(answer ?? {}, answer !== undefined);
      if (this.#routes.size >= CACHE_LIMIT) this.#routes.clear();
      this.#routes.set(name, route);
    }
    return { ...route, options: mergeOptions(route.options, options) };
  }

  #ask(
    name: string,
    args: readonly unknown[],
    kwargs: Readonly<Record<string, unknown>>,
    options: ApplyOptions,
    task: AnyTask | undefined,
  ): ApplyOptions | undefined {
    if (!this.#byNameOnly) return this.#askAll(name, args, kwargs, options, task);
    if (this.#answers.has(name)) return this.#answers.get(name);
    const answer = this.#askAll(name, args, kwargs, options, task);
    if (this.#answers.size >= CACHE_LIMIT) this.#answers.clear();
    this.#answers.set(name, answer);
    return answer;
  }

  /** The first answer; an empty one ends the search too, and counts as none. Source: Router.lookup_route. */
  #askAll(...call: Parameters<Lookup>): ApplyOptions | undefined {
    for (const { lookup } of this.#routers) {
      const answer = lookup(...call);
      if (answer !== undefined) return Object.keys(answer).length === 0 ? undefined : answer;
    }
    return undefined;
  }

  #resolve(options: ApplyOptions, routed: boolean): Route {
    const given = options.exchange ?? undefined;
    // A route that names an exchange and no queue goes without one; everything else has the default queue.
    const queue =
      options.queue != null
        ? this.#queues.get(options.queue)
        : routed && given !== undefined
          ? undefined
          : this.#queues.default;
    const type = options.exchangeType ?? queue?.exchange.type ?? this.#typeOf(given);
    const key = options.routingKey || undefined;
    const deliveryMode = options.deliveryMode ?? queue?.deliveryMode;
    const common = {
      queue: queue?.name,
      options: deliveryMode === undefined || options.deliveryMode != null ? options : { ...options, deliveryMode },
    };
    if (type === 'direct' && (!given || key === undefined)) {
      if (queue === undefined) {
        throw new ConfigError(
          `A route names exchange "${given}" without a routingKey and without a queue. Give one of them.`,
        );
      }
      return { exchange: '', routingKey: queue.name, ...common, ...topologyOf(queue) };
    }
    return {
      exchange: given ?? (queue as QueueDefinition).exchange.name,
      // With an exchange of its own the call has a key of its own, if only the empty one. Source: send_task_message.
      routingKey: key ?? (given === undefined ? queue?.routingKey || this.#settings.taskDefaultRoutingKey : ''),
      ...common,
      ...(queue !== undefined && (given === undefined || given === queue.exchange.name)
        ? topologyOf(queue)
        : this.#topologyOfExchange(given as string, queue)),
    };
  }

  #typeOf(exchange: string | undefined): string {
    const known = exchange === undefined ? undefined : this.#queues.boundTo(exchange)[0];
    return known?.topology.exchanges?.find(({ name }) => name === exchange)?.type ?? 'direct';
  }

  /**
   * Celery declares nothing for an exchange that is named without its queue, and emulated brokers then lose the
   * message. What the settings bind to it is known, so it is declared.
   */
  #topologyOfExchange(exchange: string, queue: QueueDefinition | undefined): Pick<Route, 'topologyKey' | 'topology'> {
    const queues = this.#queues.boundTo(exchange);
    const all = queue === undefined || queues.includes(queue) ? queues : [...queues, queue];
    if (all.length === 0) return { topologyKey: undefined, topology: undefined };
    if (all.length === 1) return topologyOf(all[0] as QueueDefinition);
    return {
      topologyKey: `exchange:${exchange}:${queue?.name ?? ''}`,
      topology: {
        exchanges: distinct(all.flatMap(({ publishTopology }) => publishTopology.exchanges ?? [])),
        queues: distinct(all.flatMap(({ publishTopology }) => publishTopology.queues ?? [])),
        bindings: all.flatMap(({ publishTopology }) => publishTopology.bindings ?? []),
      },
    };
  }
}

function topologyOf({ name, publishTopology }: QueueDefinition): Pick<Route, 'topologyKey' | 'topology'> {
  return { topologyKey: `queue:${name}`, topology: publishTopology };
}

function distinct<T extends { readonly name: string }>(entities: readonly T[]): readonly T[] {
  return [...new Map(entities.map((entity) => [entity.name, entity])).values()];
}

/** `over` wins, unless it says null or undefined. Source: celery/utils/collections.py, lpmerge. */
function mergeOptions(under: ApplyOptions, over: ApplyOptions): ApplyOptions {
  for (const name in under) {
    if ((over as Record<string, unknown>)[name] == null) return mergeAll(under, over);
  }
  return over;
}

function mergeAll(under: ApplyOptions, over: ApplyOptions): ApplyOptions {
  const merged: Record<string, unknown> = { ...under, ...over };
  for (const name in over) {
    if (merged[name] == null) merged[name] = (under as Record<string, unknown>)[name];
  }
  return merged;
}

function readRoutes(routes: TaskRoutes | undefined): readonly TaskRouter[] {
  if (routes === undefined) return [];
  if (!Array.isArray(routes)) return [routes as TaskRouter];
  const list = routes as readonly unknown[];
  // Celery wants pairs inside a list of routers; a list of nothing but pairs can mean only one thing.
  return list.length > 0 && list.every(isPair) ? [list as RoutePairs] : (list as readonly TaskRouter[]);
}

function isPair(value: unknown): boolean {
  return Array.isArray(value) && value.length === 2 && (typeof value[0] === 'string' || value[0] instanceof RegExp);
}

function compile(router: TaskRouter, where: string, queues: Queues): CompiledRouter {
  if (typeof router === 'function') {
    return {
      byNameOnly: false,
      lookup: (name, args, kwargs, options, task) =>
        readAnswer(router(name, args, kwargs, options, { task }), name, where),
    };
  }
  if (typeof router !== 'object' || router === null) {
    throw new ConfigError(
      `${where} is ${JSON.stringify(router)}. Expected an object of routes, a list of pairs, a function, or an object with routeForTask.`,
    );
  }
  const ask =
    (router as { routeForTask?: unknown }).routeForTask ?? (router as { route_for_task?: unknown }).route_for_task;
  if (typeof ask === 'function') {
    return {
      byNameOnly: false,
      lookup: (name, args, kwargs) => readAnswer(ask.call(router, name, args, kwargs), name, where),
    };
  }
  return { byNameOnly: true, lookup: compileMap(router as RouteMap | RoutePairs, where, queues) };
}

function compileMap(map: RouteMap | RoutePairs, where: string, queues: Queues): Lookup {
  const exact = new Map<string, ApplyOptions>();
  const patterns: (readonly [RegExp, ApplyOptions])[] = [];
  const pairs = Array.isArray(map) ? (map as RoutePairs) : Object.entries(map as RouteMap);
  for (const pair of pairs) {
    if (!isPair(pair)) throw new ConfigError(`${where} holds something that is no pair of a name and a route.`);
    const [key, value] = pair;
    if (value === null || value === undefined) continue;
    const options = readRoute(value, `${where}, route of "${String(key)}",`);
    if (options.queue !== undefined) queues.get(options.queue);
    // Only "*" makes a pattern; "?" and "[" mean something beside it alone. Source: celery/app/routes.py, MapRoute.
    if (key instanceof RegExp) patterns.push([atStart(key), options]);
    else if (key.includes('*')) patterns.push([globPattern(key), options]);
    else exact.set(key, options);
  }
  return (name) => exact.get(name) ?? patterns.find(([pattern]) => matches(pattern, name))?.[1];
}

function readAnswer(answer: unknown, name: string, where: string): ApplyOptions | undefined {
  if (answer === null || answer === undefined) return undefined;
  if (typeof (answer as { then?: unknown }).then === 'function') {
    throw new ConfigError(`${where} returned a promise for task "${name}". A router decides at once.`);
  }
  return readRoute(answer, `${where}, asked for task "${name}",`);
}

function readRoute(value: RouteValue, where: string): ApplyOptions {
  if (typeof value === 'string') {
    if (value === '') throw new ConfigError(`${where} is empty. Expected the name of a queue or an object.`);
    return { queue: value };
  }
  if (typeof value !== 'object' || Array.isArray(value)) {
    throw new ConfigError(`${where} is ${String(value)}. Expected the name of a queue or an object.`);
  }
  const read: Record<string, unknown> = {};
  for (const [name, option] of Object.entries(value) as [string, unknown][]) {
    read[toCamelCase(name)] = name === 'retry_policy' && isRecord(option) ? fromWirePolicy(option) : option;
  }
  validateApplyOptions(read, where);
  return read;
}

/** Python's `re.match`: from the start, not to the end. */
function atStart(pattern: RegExp): RegExp {
  return new RegExp(pattern.source, `${pattern.flags.replace(/[gy]/g, '')}y`);
}

function matches(pattern: RegExp, name: string): boolean {
  pattern.lastIndex = 0;
  return pattern.test(name);
}

/**
 * A shell pattern as Python reads it, for the whole text: `*` any text, `?` one character, `[seq]` and `[!seq]` one of
 * or none of these. Source: Lib/fnmatch.py, translate.
 */
export function globPattern(glob: string): RegExp {
  let pattern = '';
  for (let index = 0; index < glob.length; index++) {
    const character = glob[index] as string;
    if (character === '*') {
      while (glob[index + 1] === '*') index++;
      pattern += '.*';
    } else if (character === '?') pattern += '.';
    else if (character === '[') {
      // A "]" that comes first stands for itself.
      const end = glob.indexOf(']', index + (glob[index + 1] === '!' ? 3 : 2));
      if (end < 0) pattern += '\\[';
      else {
        pattern += characterClass(glob.slice(index + 1, end));
        index = end;
      }
    } else pattern += escapeRegExp(character);
  }
  return new RegExp(`^${pattern}$`, 'sy');
}

function characterClass(content: string): string {
  const negated = content.startsWith('!');
  const ranges = (negated ? content.slice(1) : content)
    // A range that runs backwards is empty in Python and an error in JavaScript.
    .replace(/(.)-(.)/gs, (range, from: string, to: string) => (from > to ? '' : range))
    .replace(/[\\\]^[]/g, '\\$&');
  if (ranges === '') return negated ? '.' : '(?!)';
  return `[${negated ? '^' : ''}${ranges}]`;
}

function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}
