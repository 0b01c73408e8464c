import { SQSClient } from '@aws-sdk/client-sqs';
import { clientSettings, regionOf } from '@lovage/aws';
import type { ClientSettings, PredefinedQueue } from './options.ts';

export async function openClients(settings: ClientSettings, connectTimeoutMs: number): Promise<Clients> {
  const region = await regionOf(settings.region, () => new SQSClient(settings.clientConfig));
  return new Clients(settings, region, connectTimeoutMs);
}

/** One client for each set of credentials. */
export class Clients {
  readonly #settings: ClientSettings;
  readonly #region: string;
  readonly #connectTimeoutMs: number;
  readonly #clients = new Map<string, SQSClient>();

  constructor(settings: ClientSettings, region: string, connectTimeoutMs: number) {
    this.#settings = settings;
    this.#region = region;
    this.#connectTimeoutMs = connectTimeoutMs;
  }

  /** That of the URL, or that of a predefined queue with credentials or a region of its own. */
  get(predefined?: PredefinedQueue): SQSClient {
    const { accessKeyId, secretAccessKey, sessionToken, region = this.#region } = predefined ?? {};
    const own =
      accessKeyId === undefined || secretAccessKey === undefined
        ? undefined
        : { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) };
    const key = JSON.stringify([own, region]);
    let client = this.#clients.get(key);
    if (client === undefined) {
      const { endpoint, clientConfig } = this.#settings;
      const credentials = own ?? this.#settings.credentials;
      const connectTimeoutMs = this.#connectTimeoutMs;
      client = new SQSClient(clientSettings({ region, endpoint, credentials, connectTimeoutMs }, clientConfig));
      this.#clients.set(key, client);
    }
    return client;
  }

  destroy(): void {
    for (const client of this.#clients.values()) client.destroy();
  }
}
