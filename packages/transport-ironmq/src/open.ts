import { type BrokerUrl, type ConnectOptions, silentLogger } from '@lovage/core/transport';
import { openHttpLink } from '@lovage/http';
import { IronDriver } from './driver.ts';
import { readIronSettings } from './options.ts';
import { IronQueues } from './queues.ts';

/** IronMQ lets no request wait longer. */
const MAX_WAIT_SECONDS = 30;

/** Opens a driver. Rejects with `ConnectError`, `AuthError` or `ConfigError`. */
export async function openIronDriver(url: BrokerUrl, options: ConnectOptions): Promise<IronDriver> {
  const { heartbeatSeconds = 20, signal, logger = silentLogger } = options;
  const settings = readIronSettings(url, options);
  const { endpoint, connectTimeoutMs } = settings;
  // A request that waits is the heartbeat: its answer, or the silence after it, tells whether the peer lives.
  const waitSeconds = Math.max(1, Math.min(MAX_WAIT_SECONDS, Math.floor(heartbeatSeconds)));
  const silenceMs = heartbeatSeconds * 1000;
  return openHttpLink(endpoint, { connectTimeoutMs, silenceMs, signal }, async (link, opening) => {
    const queues = new IronQueues(link, settings);
    await queues.check(opening);
    return new IronDriver(queues, { settings, waitSeconds, logger });
  });
}
