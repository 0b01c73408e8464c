import { jetstreamManager } from '@nats-io/jetstream';
import { type BrokerUrl, type ConnectOptions, silentLogger } from '@lovage/core/transport';
import { isAtLeast, openLink, toLovageError } from '@lovage/nats';
import { Bindings } from './bindings.ts';
import { NatsDriver } from './driver.ts';
import { type NatsSettings, readSettings } from './options.ts';
import { isLimited, Streams } from './streams.ts';

/** Ten years. */
const MAX_DELAY_MS = 315_360_000_000;
/** Below it a crash of the server could lose a whole stream (nats-server issue 6043 and others). */
const ADVISED_VERSION = [2, 10, 23] as const;
/** Batches of direct gets, and a time to live per message. */
const SHARED_BINDINGS_VERSION = [2, 11, 0] as const;
/** Scheduled messages. */
const SCHEDULES_VERSION = [2, 12, 0] as const;

/** Opens a driver. Rejects with `ConnectError`, `AuthError`, `ConfigError` or `UnsupportedError`. */
export async function openNatsDriver(url: BrokerUrl, options: ConnectOptions): Promise<NatsDriver> {
  const logger = options.logger ?? silentLogger;
  const settings = readSettings(url, options);
  const { signal, clientName } = options;
  const link = await openLink(settings, { clientName, logger, signal });
  try {
    const manager = await jetstreamManager(link.connection, {
      timeout: settings.connectTimeoutMs,
      ...(settings.domain === undefined ? {} : { domain: settings.domain }),
    });
    signal?.throwIfAborted();
    const { version = '0.0.0', max_payload: maxMessageBytes = 0 } = link.connection.info ?? {};
    if (!isAtLeast(version, ADVISED_VERSION)) {
      logger.warn(
        { version },
        `NATS ${version} may lose messages in a crash. Use ${ADVISED_VERSION.join('.')} or newer.`,
      );
    }
    const canSchedule = isAtLeast(version, SCHEDULES_VERSION);
    const capabilities = {
      fanout: true,
      priorityLevels: settings.prioritySteps.length,
      servesFirst: 'highest' as const,
      maxDelayMs: canSchedule && !isLimited(settings.streamConfig) ? MAX_DELAY_MS : 0,
      leaseMs: settings.leaseMs,
      maxMessageBytes,
      guarantee: describeGuarantee(version, settings),
    };
    const streams = new Streams(manager, settings, canSchedule, logger);
    const bindings = isAtLeast(version, SHARED_BINDINGS_VERSION)
      ? new Bindings(manager, link, settings, (queue) => streams.isTransient(queue))
      : undefined;
    return new NatsDriver(link, settings, streams, bindings, capabilities);
  } catch (error) {
    await link.close();
    if (signal?.aborted) throw signal.reason;
    throw toLovageError(error, 'opening', settings.url, 'JetStream');
  }
}

function describeGuarantee(version: string, { streamConfig }: NatsSettings): string {
  const { storage = 'file', num_replicas: replicas = 1 } = streamConfig;
  const where = `nats ${version}, JetStream, ${String(storage)} storage, ${String(replicas)} replica${replicas === 1 ? '' : 's'}`;
  if (storage === 'memory') return `${where}: a restart of the server loses all messages`;
  return `${where}: a crash of the server loses nothing that was confirmed; a power loss may lose what its sync_interval allows (default 2 minutes)`;
}
