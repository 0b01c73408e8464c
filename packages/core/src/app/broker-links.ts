import { ClosedError } from '../errors.ts';
import type { Transport } from '../transport/contract.ts';
import { resolveTransport } from '../transport/resolve.ts';
import { ConnectionSupervisor } from '../transport/supervisor.ts';
import { parseBrokerUrls, type BrokerUrl } from '../transport/url.ts';
import type { Lovage } from './lovage.ts';

/** What a link is for: consuming or publishing. */
export type BrokerUse = 'read' | 'write';

export interface BrokerLinkOptions {
  /** See `ConnectOptions.keepsLeases`. Default false. */
  readonly keepsLeases?: boolean;
  /**
   * Another broker than the app's. Transport and TLS options of the settings hold there too if its scheme is that of the
   * app's own.
   */
  readonly url?: string;
}

/** The links of an app to its broker, and the one that everything which publishes shares. */
export class BrokerLinks {
  readonly #app: Lovage;
  readonly #given: readonly Transport[];
  #shared: ConnectionSupervisor | undefined;
  #isClosed = false;

  /** `given`: transports by value; others are found by their package. */
  constructor(app: Lovage, given: readonly Transport[]) {
    this.#app = app;
    this.#given = given;
  }

  /** Shared by every publish of the app. */
  get shared(): ConnectionSupervisor {
    return (this.#shared ??= this.open('write'));
  }

  /** One of its own. The caller closes it. */
  open(use: BrokerUse, { keepsLeases = false, url }: BrokerLinkOptions = {}): ConnectionSupervisor {
    const app = this.#app;
    if (this.#isClosed) throw new ClosedError(`The app "${app.name}" is closed.`);
    const { settings } = app;
    const own = this.#urls(use);
    const urls = url === undefined ? own : parseBrokerUrls(url);
    const isAlike = url === undefined || own[0]?.scheme === urls[0]?.scheme;
    return new ConnectionSupervisor({
      urls,
      transport: (url) => this.#transport(url),
      connect: {
        ...(isAlike ? { transportOptions: settings.brokerTransportOptions, useSsl: settings.brokerUseSsl } : {}),
        connectTimeoutMs: settings.brokerConnectionTimeout * 1000,
        heartbeatSeconds: settings.brokerHeartbeat,
        leaseMs: settings.leaseSeconds * 1000,
        keepsLeases,
        clientName: `${app.name}:${use}`,
        logger: app.logger,
      },
      // Whoever publishes has a deadline of their own.
      ...(use === 'read' && settings.brokerConnectionMaxRetries
        ? { schedule: { maxRetries: settings.brokerConnectionMaxRetries } }
        : {}),
      logger: app.logger,
    });
  }

  /** Loads what speaks with the broker and connects to nothing. */
  async loadTransports(): Promise<void> {
    const urls = [...this.#urls('read'), ...this.#urls('write')];
    await Promise.all(urls.map((url) => this.#transport(url)));
  }

  /** Nothing is opened any more. */
  refuse(): void {
    this.#isClosed = true;
  }

  async close(): Promise<void> {
    this.refuse();
    await this.#shared?.close();
  }

  #urls(use: BrokerUse): readonly BrokerUrl[] {
    const { brokerReadUrl, brokerWriteUrl, brokerUrl } = this.#app.settings;
    return parseBrokerUrls((use === 'read' ? brokerReadUrl : brokerWriteUrl) ?? brokerUrl);
  }

  #transport(url: BrokerUrl): Promise<Transport> {
    const { resolveFrom: from } = this.#app;
    return resolveTransport(url, { transports: this.#given, ...(from && { from }) });
  }
}
