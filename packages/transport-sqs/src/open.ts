import { ListQueuesCommand, SQSClient } from '@aws-sdk/client-sqs';
import { AwsLink, clientSettings, reach, regionOf } from '@lovage/aws';
import { type BrokerUrl, type ConnectOptions, silentLogger } from '@lovage/core/transport';
import { SqsDriver } from './driver.ts';
import { type ClientSettings, type PredefinedQueue, readSqsOptions } from './options.ts';
import { Queues } from './queues.ts';
import { SQS } from './service.ts';

/** Opens a driver. Rejects with `ConnectError`, `AuthError`, `ConfigError` or `UnsupportedError`. */
export async function openSqsDriver(url: BrokerUrl, options: ConnectOptions): Promise<SqsDriver> {
  const { settings, client: own } = readSqsOptions(url, options);
  const { signal, logger = silentLogger, connectTimeoutMs = 4000, heartbeatSeconds = 20 } = options;
  signal?.throwIfAborted();
  const region = await regionOf(own.region, () => new SQSClient(own.clientConfig));
  const clients = new Clients(own, region, connectTimeoutMs);
  const where = own.endpoint ?? 'Amazon SQS';
  try {
    const [predefined] = settings.predefinedQueues?.values() ?? [];
    // Costs nothing to answer; that it is forbidden is an answer as well.
    const hello = new ListQueuesCommand({ MaxResults: 1 });
    const client = clients.get(predefined);
    await reach((abortSignal) => client.send(hello, { abortSignal }), {
      service: SQS,
      where,
      timeoutMs: connectTimeoutMs,
      signal,
    });
  } catch (error) {
    clients.destroy();
    throw error;
  }
  const link = new AwsLink({
    service: SQS,
    lossMs: heartbeatSeconds * 2000,
    requestMs: heartbeatSeconds * 1000,
    where,
    logger,
  });
  const queues = new Queues({ link, settings, clientFor: (predefined) => clients.get(predefined) });
  return new SqsDriver({
    link,
    queues,
    settings,
    // So that a silent peer is noticed after two heartbeats.
    mostWaitSeconds: Math.min(settings.waitSeconds, Math.max(1, Math.floor(heartbeatSeconds))),
    logger,
    destroyClients: () => clients.destroy(),
  });
}

/** One client for each set of credentials. */
class Clients {
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
