import { type BrokerUrl, type ConnectOptions, type Logger, silentLogger } from '@lovage/core/transport';
import { openRedis, readEndpoint, type RedisLink, replyCode } from '@lovage/redis';
import { RedisDriver } from './driver.ts';
import { Keys } from './keys.ts';
import { readTransportOptions } from './options.ts';

/** Opens a driver. Rejects with `ConnectError`, `AuthError`, `ConfigError` or `UnsupportedError`. */
export async function openRedisDriver(url: BrokerUrl, options: ConnectOptions): Promise<RedisDriver> {
  const logger = options.logger ?? silentLogger;
  const { settings, connection } = readTransportOptions(options);
  const endpoint = readEndpoint(url, {
    options: connection,
    useSsl: options.useSsl,
    heartbeatSeconds: options.heartbeatSeconds,
    logger,
  });
  const opening = { connectTimeoutMs: options.connectTimeoutMs, clientName: options.clientName };
  const link = await openRedis(endpoint, { ...opening, signal: options.signal });
  try {
    const guarantee = await describeGuarantee(link, logger);
    options.signal?.throwIfAborted();
    return new RedisDriver({
      link,
      openSubscriber: () => openRedis(endpoint, opening),
      keys: new Keys(settings, endpoint.db),
      settings,
      guarantee,
      logger,
    });
  } catch (error) {
    link.close();
    throw error;
  }
}

/** What survives a crash of the server, in words; hosted servers often do not tell. */
async function describeGuarantee(link: RedisLink, logger: Logger): Promise<string> {
  const [appendonly, appendfsync, save, policy] = await Promise.all(
    ['appendonly', 'appendfsync', 'save', 'maxmemory-policy'].map((name) => readConfig(link, name)),
  );
  if (policy !== undefined && policy !== 'noeviction') {
    logger.warn(
      { maxmemoryPolicy: policy },
      `Redis may evict queues and messages when its memory is full (maxmemory-policy ${policy}). Set it to noeviction.`,
    );
  }
  const eviction =
    policy === undefined || policy === 'noeviction' ? '' : `; maxmemory-policy ${policy} may evict messages`;
  if (appendonly === undefined) return `redis, persistence unknown (CONFIG GET is not allowed)${eviction}`;
  if (appendonly === 'yes') {
    const loss =
      appendfsync === 'always'
        ? 'a crash of the server loses nothing that was confirmed'
        : appendfsync === 'no'
          ? 'a crash of the machine may lose what the system had not yet written'
          : 'a crash of the server may lose the last second or two';
    return `redis, appendonly yes, appendfsync ${appendfsync}: ${loss}${eviction}`;
  }
  return save === undefined || save === ''
    ? `redis without persistence: a restart of the server loses all messages${eviction}`
    : `redis, snapshots only (save ${save}): a crash of the server loses what came after the last one${eviction}`;
}

async function readConfig(link: RedisLink, name: string): Promise<string | undefined> {
  try {
    const pair = (await link.text('config', ['get', name])) as readonly string[];
    return pair[1];
  } catch (error) {
    if (replyCode((error as Error).cause) === undefined) throw error;
    return undefined;
  }
}
