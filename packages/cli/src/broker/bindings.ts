import type { Lovage } from '@lovage/core';
import {
  AuthError,
  type Binding,
  type BrokerUrl,
  ConfigError,
  type Connection,
  ConnectError,
  type Exchange,
  type ExchangeType,
  maskUrl,
  parseBrokerUrls,
} from '@lovage/core/transport';
import { CommandError, EXIT } from '../exit-codes.ts';

export interface KnownBindings {
  readonly bindings: readonly Binding[];
  readonly exchanges: readonly Exchange[];
  /** `app`: the broker cannot tell; these are those that the app declares. */
  readonly from: 'broker' | 'app';
  /** Why the broker could not tell. */
  readonly reason?: string;
}

const MANAGEMENT_PORT = 15_672;
const MANAGEMENT_TLS_PORT = 15_671;
const MANAGEMENT_MS = 5000;

/**
 * What is bound in the broker, after the app's own queues were declared, as Celery does. RabbitMQ tells it by its
 * management plugin only, at `api` or at its usual port. Source: celery/bin/list.py; kombu/transport/pyamqp.py, get_manager.
 */
export async function knownBindings(
  app: Lovage,
  connection: Connection,
  api: string | undefined,
): Promise<KnownBindings> {
  const definitions = app.queues.all();
  for (const { publishTopology } of definitions) await connection.declare(publishTopology);
  const exchanges = [
    ...new Map(
      definitions.flatMap(({ publishTopology }) => publishTopology.exchanges ?? []).map((one) => [one.name, one]),
    ).values(),
  ];
  const own = definitions.flatMap(({ topology }) => topology.bindings ?? []);
  if (connection.bindings !== undefined) {
    if (connection.capabilities.sharesBindings === false) {
      return { bindings: own, exchanges, from: 'app', reason: 'This broker keeps no bindings that others could see.' };
    }
    const found = await Promise.all(
      exchanges.map(({ name }) => (connection.bindings as NonNullable<Connection['bindings']>)(name)),
    );
    return { bindings: found.flat(), exchanges, from: 'broker' };
  }
  const [url] = parseBrokerUrls(app.settings.brokerReadUrl ?? app.settings.brokerUrl);
  try {
    const found = await askManagement(url as BrokerUrl, api);
    const bound = new Set(found.exchanges.map(({ name }) => name));
    return {
      bindings: found.bindings,
      exchanges: [...found.exchanges, ...exchanges.filter(({ name }) => !bound.has(name))],
      from: 'broker',
    };
  } catch (error) {
    if (api !== undefined) throw error;
    return { bindings: own, exchanges, from: 'app', reason: (error as Error).message };
  }
}

interface ManagementBinding {
  readonly source: string;
  readonly destination: string;
  readonly destination_type: string;
  readonly routing_key: string;
}

interface ManagementExchange {
  readonly name: string;
  readonly type: string;
}

/** Source: RabbitMQ, management HTTP API, /api/bindings/vhost and /api/exchanges/vhost. */
async function askManagement(url: BrokerUrl, api: string | undefined): Promise<Omit<KnownBindings, 'from'>> {
  const isTls = url.scheme === 'amqps';
  if (api !== undefined && !(URL.canParse(api) && /^https?:$/.test(new URL(api).protocol)))
    throw new CommandError(
      `"${maskUrl(api)}" is no URL. Expected for --api for example http://localhost:15672.`,
      EXIT.usage,
    );
  const base = new URL(
    api ?? `http${isTls ? 's' : ''}://${url.host || 'localhost'}:${isTls ? MANAGEMENT_TLS_PORT : MANAGEMENT_PORT}`,
  );
  const user = decodeURIComponent(base.username) || url.username || 'guest';
  const password = decodeURIComponent(base.password) || url.password || 'guest';
  const at = `${base.origin}${base.pathname.replace(/\/(?:api\/?)?$/, '')}`;
  const authorization = `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`;
  const virtualHost = url.path || '/';
  const get = async <T>(kind: string): Promise<readonly T[]> => {
    const response = await fetch(`${at}/api/${kind}/${encodeURIComponent(virtualHost)}`, {
      headers: { authorization },
      signal: AbortSignal.timeout(MANAGEMENT_MS),
    }).catch((cause: unknown) => {
      throw new ConnectError(
        `RabbitMQ's management plugin did not answer at ${at}. Enable it, or say with --api where it is.`,
        { cause },
      );
    });
    if (response.status === 401 || response.status === 403) {
      throw new AuthError(
        `RabbitMQ's management plugin at ${at} refused the user "${user}". Expected one with the tag "management" and access to the virtual host "${virtualHost}".`,
      );
    }
    if (response.status === 404) {
      throw new ConfigError(`RabbitMQ's management plugin at ${at} knows no virtual host "${virtualHost}".`);
    }
    const rows: unknown = response.ok ? await response.json().catch(() => undefined) : undefined;
    if (Array.isArray(rows)) return rows as readonly T[];
    throw new ConnectError(
      `What answers at ${at} is not RabbitMQ's management plugin (status ${response.status}). Say with --api where it is.`,
    );
  };
  const [bindings, exchanges] = await Promise.all([
    get<ManagementBinding>('bindings'),
    get<ManagementExchange>('exchanges'),
  ]);
  const types = new Map(exchanges.map(({ name, type }) => [name, type as ExchangeType]));
  const found = bindings
    .filter(({ source, destination_type: type }) => source !== '' && type === 'queue')
    .map(({ source, destination, routing_key: routingKey }) => ({ queue: destination, exchange: source, routingKey }));
  const names = new Set(found.map(({ exchange }) => exchange));
  return { bindings: found, exchanges: [...names].map((name) => ({ name, type: types.get(name) ?? 'direct' })) };
}
