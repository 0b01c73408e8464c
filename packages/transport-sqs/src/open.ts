import { ListQueuesCommand, SQSClient } from '@aws-sdk/client-sqs';
import { type BrokerUrl, ConnectError, type ConnectOptions, isLovageError, silentLogger } from '@lovage/core/transport';
import { SqsDriver } from './driver.ts';
import { SqsLink } from './link.ts';
import { type ClientSettings, type PredefinedQueue, readSqsOptions } from './options.ts';
import { Queues } from './queues.ts';

const DEFAULT_REGION = 'us-east-1';

/** Opens a driver. Rejects with `ConnectError`, `AuthError`, `ConfigError` or `UnsupportedError`. */
export async function openSqsDriver(url: BrokerUrl, options: ConnectOptions): Promise<SqsDriver> {
  const { settings, client: clientSettings } = readSqsOptions(url, options);
  const { signal, logger = silentLogger, connectTimeoutMs = 4000, heartbeatSeconds = 20 } = options;
  signal?.throwIfAborted();
  const clients = new Clients(clientSettings, await regionOf(clientSettings), connectTimeoutMs);
  const where = clientSettings.endpoint ?? 'Amazon SQS';
  try {
    const [predefined] = settings.predefinedQueues?.values() ?? [];
    await checkReached(clients.get(predefined), where, connectTimeoutMs, signal);
  } catch (error) {
    clients.destroy();
    throw error;
  }
  const link = new SqsLink({ lossMs: heartbeatSeconds * 2000, requestMs: heartbeatSeconds * 1000, where, logger });
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
      client = new SQSClient({
        requestHandler: {
          connectionTimeout: this.#connectTimeoutMs,
          httpAgent: { keepAlive: true, maxSockets: 100 },
          httpsAgent: { keepAlive: true, maxSockets: 100 },
        },
        region,
        ...(endpoint === undefined ? {} : { endpoint }),
        ...(credentials === undefined ? {} : { credentials }),
        ...clientConfig,
        // The link tries again, and knows when to give up.
        maxAttempts: 1,
      });
      this.#clients.set(key, client);
    }
    return client;
  }

  destroy(): void {
    for (const client of this.#clients.values()) client.destroy();
  }
}

/** Source: kombu/transport/SQS.py, Channel.region; boto reads AWS_DEFAULT_REGION where the SDK reads AWS_REGION. */
async function regionOf({ region, clientConfig }: ClientSettings): Promise<string> {
  const given = region ?? process.env['AWS_REGION'] ?? process.env['AWS_DEFAULT_REGION'];
  if (given !== undefined && given !== '') return given;
  const client = new SQSClient(clientConfig);
  try {
    return await client.config.region();
  } catch {
    return DEFAULT_REGION; // no profile names one
  } finally {
    client.destroy();
  }
}

/** One request that costs nothing to answer; that it is forbidden is an answer as well. */
async function checkReached(
  client: SQSClient,
  where: string,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  // Without patience: the supervisor tries again.
  const link = new SqsLink({ lossMs: 0, requestMs: timeoutMs, where, logger: silentLogger });
  try {
    await link.request((abortSignal) => client.send(new ListQueuesCommand({ MaxResults: 1 }), { abortSignal }), {
      what: `Connecting to ${where}`,
      ...(signal === undefined ? {} : { signal }),
    });
  } catch (error) {
    signal?.throwIfAborted();
    if (isLovageError(error, 'ERR_CONNECTION_LOST') || isLovageError(error, 'ERR_BLOCKED')) {
      throw new ConnectError(`${where} cannot be reached: ${describe(error.cause)}.`, { cause: error.cause });
    }
    if (isForbidden(error)) return;
    throw error;
  } finally {
    link.close();
  }
}

/** The credentials are known, and may not list queues: that is not needed. */
function isForbidden(error: unknown): boolean {
  return isLovageError(error, 'ERR_AUTH') && ((error as Error).cause as Error).name.startsWith('AccessDenied');
}

function describe(cause: unknown): string {
  const { code, name, message } = cause as Error & { readonly code?: string };
  return name === 'AbortError' ? 'no answer in time' : [code ?? name, message].filter(Boolean).join(', ');
}
