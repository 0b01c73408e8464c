import type { Lovage } from '@lovage/core';
import {
  type Binding,
  type BrokerUrl,
  type Connection,
  ConnectError,
  type Exchange,
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
    const found = await managementBindings(url as BrokerUrl, api);
    const types = new Map(exchanges.map((one) => [one.name, one]));
    for (const { exchange } of found) if (!types.has(exchange)) types.set(exchange, { name: exchange, type: 'direct' });
    return { bindings: found, exchanges: [...types.values()], from: 'broker' };
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

async function managementBindings(url: BrokerUrl, api: string | undefined): Promise<readonly Binding[]> {
  const isTls = url.scheme === 'amqps';
  if (api !== undefined && !URL.canParse(api))
    throw new CommandError(
      `"${maskUrl(api)}" is no URL. Expected for --api for example http://localhost:15672.`,
      EXIT.usage,
    );
  const base = new URL(
    api ?? `http${isTls ? 's' : ''}://${url.host || 'localhost'}:${isTls ? MANAGEMENT_TLS_PORT : MANAGEMENT_PORT}`,
  );
  const user = decodeURIComponent(base.username) || url.username || 'guest';
  const password = decodeURIComponent(base.password) || url.password || 'guest';
  const path = `/api/bindings/${encodeURIComponent(url.path || '/')}`;
  const at = `${base.origin}${base.pathname.replace(/\/(?:api\/?)?$/, '')}${path}`;
  let response: Response;
  try {
    response = await fetch(at, {
      headers: { authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}` },
      signal: AbortSignal.timeout(MANAGEMENT_MS),
    });
  } catch (cause) {
    throw new ConnectError(
      `RabbitMQ's management plugin did not answer at ${at}. Enable it, or say with --api where it is.`,
      {
        cause,
      },
    );
  }
  if (!response.ok) throw new ConnectError(`RabbitMQ's management plugin at ${at} answered ${response.status}.`);
  const rows = (await response.json()) as readonly ManagementBinding[];
  return rows
    .filter(({ source, destination_type: type }) => source !== '' && type === 'queue')
    .map(({ source, destination, routing_key: routingKey }) => ({ queue: destination, exchange: source, routingKey }));
}
