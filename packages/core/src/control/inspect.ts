import { matchesNode } from '../protocol/pidbox.ts';
import type { BroadcastOptions, Control } from './control.ts';
import type {
  HelloReply,
  OkOrError,
  QueueReply,
  Replies,
  RequestReply,
  ScheduledReply,
  StatsReply,
} from './replies.ts';

/** Whom to ask and how long to wait for answers. */
export type InspectOptions = Omit<BroadcastOptions, 'reply' | 'arguments'>;

/**
 * Asks workers what they do: `app.control.inspect().active()`. Each method gives the answers by node name; `{}` when
 * nobody answered within the timeout. Source: celery/app/control.py, Inspect.
 */
export class Inspect {
  readonly #control: Control;
  readonly #options: InspectOptions;

  constructor(control: Control, options: InspectOptions) {
    this.#control = control;
    this.#options = options;
  }

  /** Tasks that run now. `safe`: arguments as display text. */
  active({ safe }: { readonly safe?: boolean } = {}): Promise<Replies<readonly RequestReply[]>> {
    return this.request('active', safe === undefined ? {} : { safe });
  }

  /** Tasks that could run and wait for a slot. */
  reserved(): Promise<Replies<readonly RequestReply[]>> {
    return this.request('reserved');
  }

  /** Tasks that wait for their time. */
  scheduled(): Promise<Replies<readonly ScheduledReply[]>> {
    return this.request('scheduled');
  }

  /** Ids that are revoked. */
  revoked(): Promise<Replies<readonly string[]>> {
    return this.request('revoked');
  }

  /** Names of tasks, with attributes in brackets: by default exchange, routing_key and rate_limit. */
  registered(...attributes: string[]): Promise<Replies<readonly string[]>> {
    return this.request('registered', { taskinfoitems: attributes });
  }

  stats(): Promise<Replies<StatsReply>> {
    return this.request('stats');
  }

  activeQueues(): Promise<Replies<readonly QueueReply[]>> {
    return this.request('active_queues');
  }

  /** Settings by their Celery names, secrets masked. */
  conf({
    withDefaults = false,
  }: {
    readonly withDefaults?: boolean;
  } = {}): Promise<Replies<Readonly<Record<string, unknown>>>> {
    return this.request('conf', { with_defaults: withDefaults });
  }

  report(): Promise<Replies<OkOrError>> {
    return this.request('report');
  }

  ping(): Promise<Replies<OkOrError>> {
    return this.request('ping');
  }

  clock(): Promise<Replies<{ readonly clock: number }>> {
    return this.request('clock');
  }

  /** By id: `active`, `reserved` or `ready`, and the task. Ids that a worker does not hold are left out. */
  queryTask(
    ...ids: string[]
  ): Promise<Replies<Readonly<Record<string, readonly ['active' | 'reserved' | 'ready', RequestReply]>>>> {
    return this.request('query_task', { ids });
  }

  /** Tells workers what is revoked here, and learns what is there: what a worker does when it starts. */
  hello(
    fromNode: string,
    revoked: Readonly<Record<string, readonly [number, string]>> = {},
  ): Promise<Replies<HelloReply | null>> {
    return this.request('hello', { from_node: fromNode, revoked });
  }

  /** Memory of the worker as text: `68MB`. Kept there for {@link memdump}. */
  memsample(): Promise<Replies<string | null>> {
    return this.request('memsample');
  }

  memdump({ samples = 10 }: { readonly samples?: number } = {}): Promise<Replies<string>> {
    return this.request('memdump', { samples });
  }

  /** Any command, ours or a Python worker's own. */
  async request<T>(command: string, given: Readonly<Record<string, unknown>> = {}): Promise<Replies<T>> {
    const { pattern, matcher = 'glob' } = this.#options;
    const answers = await this.#control.broadcast<T>(command, { ...this.#options, reply: true, arguments: given });
    const byNode = Object.assign(Object.create(null) as Record<string, T>, ...answers) as Record<string, T>;
    if (pattern === undefined) return byNode;
    // Nodes that know no patterns answer all.
    return Object.fromEntries(Object.entries(byNode).filter(([node]) => matchesNode(node, pattern, matcher)));
  }
}
