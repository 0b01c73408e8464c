import { ClosedError, isLovageError } from '@lovage/core/backend';
import { MemcachedLink, openLink } from './link.ts';
import type { MemcachedSettings } from './options.ts';
import { placement } from './placement.ts';
import type { Item } from './replies.ts';

/** So long a server that could not be reached is not asked again. */
const REST_MS = 1000;

/**
 * The servers of a cluster, each with a link that is opened when it is needed. A server that is away takes along its own
 * keys only, and no other one takes them over: a result that comes back elsewhere would not be found.
 */
export class Servers {
  readonly #settings: MemcachedSettings;
  readonly #placeOf: (key: string) => number;
  readonly #links = new Map<number, Promise<MemcachedLink>>();
  readonly #failures = new Map<number, { readonly error: unknown; readonly at: number }>();
  #isClosed = false;

  constructor(settings: MemcachedSettings) {
    this.#settings = settings;
    this.#placeOf = placement(settings.servers, settings.distribution, settings.hash);
  }

  /** Opens all links. Resolves when one server is there, unless another refuses the credentials. */
  async open(signal: AbortSignal): Promise<void> {
    const opened = await Promise.allSettled(this.#settings.servers.map((_, server) => this.#link(server, signal)));
    const failed = opened.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason as unknown] : []));
    const fatal = failed.find((error) => !isLovageError(error, 'ERR_CONNECT'));
    if (fatal === undefined && failed.length < opened.length) return;
    this.close();
    throw fatal ?? failed[0];
  }

  /** The link to the server that keeps this key. Rejects with `ConnectError` or `AuthError`. */
  of(key: string): Promise<MemcachedLink> {
    return this.#link(this.#placeOf(key));
  }

  /** What exists of these keys. Rejects when one of their servers is away. */
  async items(keys: readonly string[]): Promise<ReadonlyMap<string, Item>> {
    const byServer = new Map<number, string[]>();
    for (const key of keys) {
      const server = this.#placeOf(key);
      const own = byServer.get(server);
      if (own === undefined) byServer.set(server, [key]);
      else own.push(key);
    }
    const parts = await Promise.all([...byServer].map(async ([server, own]) => (await this.#link(server)).items(own)));
    return parts.length === 1 ? (parts[0] as ReadonlyMap<string, Item>) : new Map(parts.flatMap((part) => [...part]));
  }

  close(): void {
    this.#isClosed = true;
    for (const link of this.#links.values()) {
      link.then(
        (open) => open.close(),
        () => undefined,
      );
    }
  }

  #link(server: number, signal?: AbortSignal): Promise<MemcachedLink> {
    if (this.#isClosed) return Promise.reject(new ClosedError('The connections to memcached are closed.'));
    const present = this.#links.get(server);
    if (present !== undefined) return present;
    const failure = this.#failures.get(server);
    if (failure !== undefined && performance.now() - failure.at < REST_MS)
      return Promise.reject(failure.error as Error);
    const { servers } = this.#settings;
    const opening = openLink(servers[server] as (typeof servers)[number], this.#settings, signal);
    this.#links.set(server, opening);
    const gone = (): void => {
      if (this.#links.get(server) === opening) this.#links.delete(server);
    };
    opening.then(
      (link) => {
        this.#failures.delete(server);
        link.lost.catch(gone);
        if (this.#isClosed) link.close();
      },
      (error: unknown) => {
        gone();
        if (isLovageError(error, 'ERR_CONNECT')) this.#failures.set(server, { error, at: performance.now() });
      },
    );
    return opening;
  }
}
