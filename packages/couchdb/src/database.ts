import { AuthError, ConnectError, type LovageError, MessageTooLargeError } from '@lovage/core/transport';
import { type HttpLink, type HttpReply, openHttpLink } from '@lovage/http';
import type { CouchEndpoint } from './endpoint.ts';

/** What a document has besides its own fields. */
export interface CouchDocument {
  readonly _id: string;
  readonly _rev?: string;
  readonly _deleted?: true;
  readonly [field: string]: unknown;
}

/** What became of one document of a batch. */
export interface WriteOutcome {
  /** The new revision; undefined: it was not written. */
  readonly rev: string | undefined;
  /** `conflict`: it has another revision than the one given. Anything else is CouchDB's own word. */
  readonly error?: string;
  readonly reason?: string;
}

export interface Written {
  readonly outcomes: readonly WriteOutcome[];
  readonly isDoubtful: boolean;
}

export interface Row {
  readonly id: string;
  readonly key: unknown;
  readonly value: unknown;
  /** With `include_docs`, unless the document is gone. */
  readonly doc?: CouchDocument | null;
}

/** One line of the feed of changes. */
export interface Change {
  readonly id: string;
  readonly rev: string;
  readonly deleted: boolean;
}

export interface OpenCouchOptions {
  readonly connectTimeoutMs?: number | undefined;
  /** A server that says nothing for so long while it owes an answer is lost; the feed of changes beats twice as often. */
  readonly silenceMs?: number;
  readonly signal?: AbortSignal | undefined;
  /** A design document that has to be there. */
  readonly design?: { readonly name: string; readonly views: Readonly<Record<string, unknown>> };
}

/**
 * Opens a database, and creates it and its design document if they do not exist. Rejects with `ConnectError`, `AuthError`
 * or the signal's reason, and leaves nothing open then.
 */
export async function openCouchDatabase(
  endpoint: CouchEndpoint,
  options: OpenCouchOptions = {},
): Promise<CouchDatabase> {
  const { signal, silenceMs = 40_000, design } = options;
  const connectTimeoutMs = endpoint.connectTimeoutMs ?? options.connectTimeoutMs;
  return openHttpLink(endpoint, { connectTimeoutMs, silenceMs, signal }, async (link, opening) => {
    const server = await prepare(link, endpoint, opening);
    const database = new CouchDatabase(link, server, silenceMs);
    if (design !== undefined) await database.ensureDesign(design.name, design.views, opening);
    return database;
  });
}

/** The server's name and version, once the database is there. */
async function prepare(link: HttpLink, endpoint: CouchEndpoint, signal: AbortSignal): Promise<string> {
  const { body: welcome, status } = await link.request({ method: 'GET', path: '/', signal });
  const name = nameOf(welcome);
  if (name === undefined) {
    throw new ConnectError(`What answers at ${endpoint.url} is no CouchDB (it said ${status}).`, {
      facts: { url: endpoint.url },
      retryable: false,
    });
  }
  const path = `/${encodeURIComponent(endpoint.database)}`;
  const present = await link.request({ method: 'GET', path, signal });
  if (present.status === 200) return name;
  const created = await link.request({ method: 'PUT', path, signal });
  // Somebody else was faster.
  if (created.status === 201 || created.status === 202 || created.status === 412) return name;
  throw new AuthError(
    `The database "${endpoint.database}" of ${endpoint.url} cannot be opened (${present.status}) or created (${created.status}): ${reasonOf(created.body)} Give a user that may, or create it before.`,
    { facts: { url: endpoint.url } },
  );
}

function nameOf(welcome: unknown): string | undefined {
  const { couchdb, version, 'express-pouchdb': pouch } = (welcome ?? {}) as Readonly<Record<string, unknown>>;
  if (pouch !== undefined) return `PouchDB Server ${String(version)}`;
  return couchdb === 'Welcome' ? `CouchDB ${String(version)}` : undefined;
}

/** CouchDB's documents, views and changes, on a link with one life. */
export class CouchDatabase {
  readonly lost: Promise<never>;
  /** `CouchDB 3.4.3`. */
  readonly server: string;
  readonly #link: HttpLink;
  readonly #path: string;
  readonly #silenceMs: number;

  constructor(link: HttpLink, server: string, silenceMs: number) {
    this.#link = link;
    this.server = server;
    this.lost = link.lost;
    this.#silenceMs = silenceMs;
    this.#path = `/${encodeURIComponent((link.endpoint as CouchEndpoint).database)}`;
  }

  get url(): string {
    return this.#link.endpoint.url;
  }

  /**
   * Writes documents, each for itself: one outcome each, in their order. Where the answer to an attempt was lost by a
   * busy server, `isDoubtful` says that a conflict may be this very call's own doing.
   */
  write(documents: readonly CouchDocument[]): Promise<Written> {
    return this.writeTexts(
      documents.map(({ _id }) => _id),
      documents.map((document) => JSON.stringify(document)),
    );
  }

  /** The same for documents that are JSON already. */
  async writeTexts(ids: readonly string[], texts: readonly string[]): Promise<Written> {
    const reply = await this.#link.request({
      method: 'POST',
      path: `${this.#path}/_bulk_docs`,
      body: `{"docs":[${texts.join(',')}]}`,
    });
    if (reply.status === 413) throw this.#tooLarge(reply);
    if (reply.status > 299 || !Array.isArray(reply.body)) throw this.#unexpected(reply);
    // By their ids: PouchDB answers in whatever order it was done with them.
    const answers = new Map((reply.body as readonly { readonly id?: string }[]).map((answer) => [answer.id, answer]));
    const outcomes = ids.map((id): WriteOutcome => ({ rev: undefined, error: 'no answer', ...answers.get(id) }));
    return { outcomes, isDoubtful: reply.attempts > 1 };
  }

  /** A view's rows. `parameters` are CouchDB's, as values: keys are encoded here. */
  view(design: string, view: string, parameters: Readonly<Record<string, unknown>>): Promise<readonly Row[]> {
    return this.#rows('GET', `/_design/${encodeURIComponent(design)}/_view/${encodeURIComponent(view)}`, parameters);
  }

  /** The documents with ids from `from` on, before `to`. */
  range(from: string, to: string, parameters: Readonly<Record<string, unknown>> = {}): Promise<readonly Row[]> {
    return this.#rows('GET', '/_all_docs', { startkey: from, endkey: to, inclusive_end: false, ...parameters });
  }

  /** One by one, in the order asked; undefined where there is none. */
  async documents(ids: readonly string[]): Promise<readonly (CouchDocument | undefined)[]> {
    if (ids.length === 0) return [];
    const rows = await this.#rows('POST', '/_all_docs', { include_docs: true }, { keys: ids });
    return rows.map(({ doc }) => doc ?? undefined);
  }

  /**
   * Makes sure that the design document is as given. It is never changed where one of that name exists: a new layout
   * needs a new name, or versions of a program would undo each other's. `AuthError` where the user may not create it.
   */
  async ensureDesign(name: string, views: Readonly<Record<string, unknown>>, signal?: AbortSignal): Promise<void> {
    const path = `${this.#path}/_design/${encodeURIComponent(name)}`;
    const present = await this.#link.request({ method: 'GET', path, signal });
    if (present.status === 200) return;
    const body = { language: 'javascript', views };
    const created = await this.#link.request({ method: 'PUT', path, body, signal });
    if (created.status === 201 || created.status === 202 || created.status === 409) return;
    throw new AuthError(
      `The design document "_design/${name}" cannot be created in ${this.url} (${created.status}): ${reasonOf(created.body)} Give a user that is an admin of the database for the first start.`,
      { facts: { url: this.url } },
    );
  }

  /** A setting of the node, undefined where the user may not read it. */
  async setting(section: string, key: string, signal?: AbortSignal): Promise<string | undefined> {
    const path = `/_node/_local/_config/${section}/${key}`;
    const { status, body } = await this.#link.request({ method: 'GET', path, signal });
    return status === 200 && typeof body === 'string' ? body : undefined;
  }

  /**
   * The changes from now on; the first thing that comes is `undefined`, when the server has begun to listen. It ends
   * with the link only, or with the signal.
   */
  async *changes(signal: AbortSignal): AsyncGenerator<Change | undefined, void> {
    // What happens from here on is asked for by number: nothing falls between this answer and the feed.
    const { body } = await this.#link.request({
      method: 'GET',
      path: `${this.#path}/_changes?since=now&limit=1`,
      signal,
    });
    const since = (body as { readonly last_seq?: string | number } | undefined)?.last_seq ?? 'now';
    yield undefined;
    const query = new URLSearchParams({
      feed: 'continuous',
      since: String(since),
      heartbeat: String(Math.ceil(this.#silenceMs / 2)),
      seq_interval: '1000',
    });
    let rest = '';
    for await (const chunk of this.#link.stream(`${this.#path}/_changes?${String(query)}`, { signal })) {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const change = readChange(line);
        if (change !== undefined) yield change;
      }
    }
  }

  fail(error: unknown): LovageError {
    return this.#link.fail(error);
  }

  close(): void {
    this.#link.close();
  }

  async #rows(
    method: 'GET' | 'POST',
    path: string,
    parameters: Readonly<Record<string, unknown>>,
    body?: unknown,
  ): Promise<readonly Row[]> {
    const query = Object.entries(parameters)
      .map(([name, value]) => `${name}=${encodeURIComponent(JSON.stringify(value))}`)
      .join('&');
    const reply = await this.#link.request({ method, path: `${this.#path}${path}?${query}`, body });
    const rows = (reply.body as { readonly rows?: unknown } | undefined)?.rows;
    if (reply.status > 299 || !Array.isArray(rows)) throw this.#unexpected(reply);
    return rows as readonly Row[];
  }

  #tooLarge({ body }: HttpReply): LovageError {
    return new MessageTooLargeError(
      `CouchDB at ${this.url} does not take a document of this size: ${reasonOf(body)} Its limit is "max_document_size".`,
      { facts: { url: this.url } },
    );
  }

  /** A database that is gone, or a user that lost its rights: the next session says it in full. */
  #unexpected({ status, body }: HttpReply): LovageError {
    return this.#link.fail(this.#link.unexpected(status, body));
  }
}

function reasonOf(body: unknown): string {
  const { error, reason } = (body ?? {}) as { readonly error?: string; readonly reason?: string };
  return `${[error, reason].filter((text) => text !== undefined).join(': ') || 'no reason given'}.`.replace(
    /\.\.$/,
    '.',
  );
}

/** undefined: a heartbeat, or what is no change. */
function readChange(line: string): Change | undefined {
  if (line.length < 2) return undefined;
  const { id, changes, deleted } = JSON.parse(line) as {
    readonly id?: string;
    readonly changes?: readonly { readonly rev: string }[];
    readonly deleted?: boolean;
  };
  const rev = changes?.[0]?.rev;
  return id === undefined || rev === undefined ? undefined : { id, rev, deleted: deleted === true };
}
