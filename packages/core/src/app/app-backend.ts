import type { Backend, ResultBackend } from '../backend/contract.ts';
import { resolveBackend } from '../backend/resolve.ts';
import { BackendDisabledError, ClosedError } from '../errors.ts';
import { ResultWaiter } from '../result/waiter.ts';
import { BackendUrl } from '../transport/url.ts';
import type { Lovage } from './lovage.ts';

/** The result store of an app: opened on first use, shared by all who ask, closed with the app. */
export class AppBackend {
  readonly #app: Lovage;
  readonly #given: readonly Backend[];
  #opening: Promise<ResultBackend | undefined> | undefined;
  #opened: ResultBackend | undefined;
  #waiter: ResultWaiter | undefined;
  #isClosed = false;

  /** `given`: result stores by value; others are found by their package. */
  constructor(app: Lovage, given: readonly Backend[]) {
    this.#app = app;
    this.#given = given;
  }

  /** If it is open already. */
  get opened(): ResultBackend | undefined {
    return this.#opened;
  }

  /** undefined when none is configured. */
  get(): Promise<ResultBackend | undefined> {
    if (this.#isClosed) return Promise.reject(new ClosedError(`The app "${this.#app.name}" is closed.`));
    return (this.#opening ??= this.#openConfigured());
  }

  /** `BackendDisabledError` when none is configured, saying what needed it. */
  async require(purpose: string): Promise<ResultBackend> {
    const backend = (this.#isClosed ? undefined : this.#opened) ?? (await this.get());
    if (backend === undefined) {
      throw new BackendDisabledError(
        `No result store is configured, so it is not possible to ${purpose}. Give the app a "backend" URL.`,
      );
    }
    return backend;
  }

  /** Waits for results on behalf of every `get()` of the app. */
  async waiter(): Promise<ResultWaiter> {
    const backend = await this.require('wait for a result');
    return (this.#waiter ??= new ResultWaiter(backend, this.#app.logger));
  }

  /** One of its own, by URL, with the app's settings. The caller closes it. */
  async open(setting: string): Promise<ResultBackend> {
    const app = this.#app;
    const { settings, resolveFrom: from } = app;
    const url = parseBackendUrl(setting);
    const backend = await resolveBackend(url, {
      backends: this.#given,
      ...(from === undefined ? {} : { from }),
    });
    return backend.open(url, {
      expiresSeconds: settings.resultExpires ?? undefined,
      transportOptions: settings.resultBackendTransportOptions,
      settings: settings as unknown as Readonly<Record<string, unknown>>,
      codec: await app.serializers.resultCodec(
        settings.resultSerializer,
        settings.resultAcceptContent ?? settings.acceptContent,
      ),
      oid: app.oid,
      brokerConnection: () => app.producerConnection().connection({ timeoutMs: settings.publishTimeoutSeconds * 1000 }),
      logger: app.logger,
    });
  }

  /** Ends every wait with `ClosedError`, then the store. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#waiter?.close(new ClosedError(`The app "${this.#app.name}" was closed while a result was waited for.`));
    await this.#opening?.then(
      (opened) => opened?.close(),
      () => undefined, // it was never open; whoever asked for it has the error
    );
  }

  async #openConfigured(): Promise<ResultBackend | undefined> {
    const { resultBackend: setting } = this.#app.settings;
    if (setting === undefined || setting === null || setting === 'disabled' || setting === 'disabled://')
      return undefined;
    try {
      this.#opened = await this.open(setting);
      return this.#opened;
    } catch (error) {
      // The next use tries again: the store may be up by then.
      this.#opening = undefined;
      throw error;
    }
  }
}

/** Celery names the scheme of several members once: `cache+memcached://host;other`. */
function parseBackendUrl(setting: string): BackendUrl {
  const [first = '', ...members] = setting.split(';').map((part) => part.trim());
  const scheme = /^[^:]*:\/\//.exec(first)?.[0];
  return new BackendUrl(
    scheme === undefined ? `${first}://` : first,
    members.map((member) => new BackendUrl(member.includes('://') ? member : `${scheme ?? ''}${member}`)),
  );
}
