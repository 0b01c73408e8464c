import {
  anySignal,
  type BrokerUrl,
  ConnectError,
  type ConnectOptions,
  isLovageError,
  silentLogger,
} from '@lovage/core/transport';
import { HttpLink } from '@lovage/http';
import { IronDriver } from './driver.ts';
import { readIronSettings } from './options.ts';
import { IronQueues } from './queues.ts';

/** IronMQ lets no request wait longer. */
const MAX_WAIT_SECONDS = 30;

/** Opens a driver. Rejects with `ConnectError`, `AuthError` or `ConfigError`. */
export async function openIronDriver(url: BrokerUrl, options: ConnectOptions): Promise<IronDriver> {
  const { heartbeatSeconds = 20, signal, logger = silentLogger } = options;
  signal?.throwIfAborted();
  const settings = readIronSettings(url, options);
  const { endpoint, connectTimeoutMs } = settings;
  // A request that waits is the heartbeat: its answer, or the silence after it, tells whether the peer lives.
  const waitSeconds = Math.max(1, Math.min(MAX_WAIT_SECONDS, Math.floor(heartbeatSeconds)));
  const link = new HttpLink(endpoint, { connectTimeoutMs, silenceMs: heartbeatSeconds * 1000 });
  const late = new AbortController();
  const timer = setTimeout(
    () =>
      late.abort(
        new ConnectError(`IronMQ at ${endpoint.url} did not answer within ${connectTimeoutMs} ms.`, {
          facts: { url: endpoint.url },
        }),
      ),
    connectTimeoutMs,
  );
  const queues = new IronQueues(link, settings);
  const opening = anySignal([late.signal, signal]);
  try {
    await queues.check(opening.signal);
    return new IronDriver(queues, { settings, waitSeconds, logger });
  } catch (error) {
    link.close();
    if (signal?.aborted) throw signal.reason;
    if (isLovageError(error) && ['ERR_BLOCKED', 'ERR_CONNECTION_LOST'].includes(error.code)) {
      throw new ConnectError(error.message, { cause: error, facts: { url: endpoint.url } });
    }
    throw error;
  } finally {
    clearTimeout(timer);
    opening.release();
  }
}
