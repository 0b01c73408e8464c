import { readFile } from 'node:fs/promises';
import { type BrokerUrl, ConfigError, type ConnectOptions, nearestName } from '@lovage/core/transport';

/**
 * `broker_transport_options` of RabbitMQ, in camelCase or snake_case. Unknown names are a `ConfigError`, except those
 * that Kombu itself reads for its retries.
 */
export interface AmqpTransportOptions {
  /** How long `publish` waits for the broker's confirm, the connecting of a lost channel included. Default 10000. */
  readonly publishTimeoutMs?: number;
  /**
   * How long `publish` waits while the broker refuses messages (memory or disk alarm) before it rejects with
   * `BrokerBlockedError`. Default 5000.
   */
  readonly blockedTimeoutMs?: number;
  /** How long a declaration, an inspection or a cancellation may take. Default 10000. */
  readonly requestTimeoutMs?: number;
  /** Messages on their way without a confirm; further ones wait in the process. Default 1000. */
  readonly publishWindow?: number;
  /** Larger bodies reject with `MessageTooLargeError`. Default: 128 MiB, 16 MiB from RabbitMQ 4.0, as the server's. */
  readonly maxMessageBytes?: number;
  /**
   * Delays messages in the broker by Celery's 28 queues `celery_delayed_0` to `celery_delayed_27`, which are declared
   * when first needed. Default false: workers hold messages with an ETA, as with Celery on classic queues.
   */
  readonly nativeDelayedDelivery?: boolean;
  /** The kind of those queues: Celery's `broker_native_delayed_delivery_queue_type`. Default `quorum`. */
  readonly nativeDelayedDeliveryQueueType?: 'quorum' | 'classic';
  /**
   * Count deliveries on classic queues, which have no counter, by a header: a redelivered message is published again to
   * its queue with the count, confirmed, and the old one acknowledged. Default true. False: a message delivered before
   * has a count of 2 for ever, so one that kills its workers is never recognised.
   */
  readonly countRedeliveries?: boolean;
  /** `PLAIN` (default), `AMQPLAIN` or `EXTERNAL` (with a TLS client certificate). */
  readonly loginMethod?: 'PLAIN' | 'AMQPLAIN' | 'EXTERNAL';
  /** Highest number of channels; default: the server's. */
  readonly channelMax?: number;
  /** Largest frame in bytes; default 131072, or the server's when lower. */
  readonly frameMax?: number;
  /** Default `en_US`. */
  readonly locale?: string;
  /** Further entries for the client properties that RabbitMQ's tools show. */
  readonly clientProperties?: Readonly<Record<string, unknown>>;
}

/** Everything known before connecting. */
export interface AmqpSettings
  extends Required<Omit<AmqpTransportOptions, 'maxMessageBytes' | 'clientProperties' | 'channelMax' | 'frameMax'>> {
  readonly maxMessageBytes: number | undefined;
  readonly clientProperties: Readonly<Record<string, unknown>>;
  readonly channelMax: number | undefined;
  readonly frameMax: number;
  readonly host: string;
  readonly port: number;
  readonly virtualHost: string;
  readonly username: string;
  readonly password: string;
  /** Options of `tls.connect`, or undefined without TLS. */
  readonly tls: Readonly<Record<string, unknown>> | undefined;
  readonly heartbeatSeconds: number;
  readonly connectTimeoutMs: number;
  /** For errors and logs: without the password. */
  readonly shownUrl: string;
}

const DEFAULTS = Object.freeze({
  publishTimeoutMs: 10_000,
  blockedTimeoutMs: 5000,
  requestTimeoutMs: 10_000,
  publishWindow: 1000,
  heartbeatSeconds: 20,
  connectTimeoutMs: 4000,
  frameMax: 131_072,
});

/** Lower would let less than one message header through. Source: AMQP 0-9-1, frame-min-size. */
const FRAME_MIN_BYTES = 4096;

/** Read by Kombu or its retries, answered elsewhere or always on here. Source: kombu/connection.py; amqp/connection.py. */
const IGNORED_OPTIONS = new Set([
  'confirmPublish',
  'readTimeout',
  'writeTimeout',
  'socketSettings',
  'onBlocked',
  'onUnblocked',
  'maxRetries',
  'intervalStart',
  'intervalStep',
  'intervalMax',
  'connectRetriesTimeout',
  'errback',
  'callback',
]);

type OptionKind = 'milliseconds' | 'count' | 'boolean' | 'text' | 'object' | readonly string[];

const OPTION_KINDS: Readonly<Record<keyof AmqpTransportOptions, OptionKind>> = {
  publishTimeoutMs: 'milliseconds',
  blockedTimeoutMs: 'milliseconds',
  requestTimeoutMs: 'milliseconds',
  publishWindow: 'count',
  maxMessageBytes: 'count',
  nativeDelayedDelivery: 'boolean',
  nativeDelayedDeliveryQueueType: ['quorum', 'classic'],
  countRedeliveries: 'boolean',
  loginMethod: ['PLAIN', 'AMQPLAIN', 'EXTERNAL'],
  channelMax: 'count',
  frameMax: 'count',
  locale: 'text',
  clientProperties: 'object',
};

export const OPTION_NAMES: readonly string[] = Object.keys(OPTION_KINDS);

/** Source: kombu/utils/url.py and kombu/connection.py: any other key makes Kombu raise TypeError. */
const QUERY_KEYS = ['ssl', 'heartbeat', 'connect_timeout', 'login_method', 'insist', 'credential_provider'];

/** URL and options to settings. Throws `ConfigError` for what does not exist; reads certificate files. */
export async function readSettings(url: BrokerUrl, connectOptions: ConnectOptions): Promise<AmqpSettings> {
  const options = readOptions(connectOptions.transportOptions ?? {});
  const query = readQuery(url);
  const { loginMethod = query.loginMethod ?? 'PLAIN' } = options;
  const frameMax = options.frameMax ?? DEFAULTS.frameMax;
  if (frameMax !== 0 && frameMax < FRAME_MIN_BYTES) {
    throw new ConfigError(
      `The transport option "frameMax" is ${frameMax}. Expected 0 (the server's) or at least ${FRAME_MIN_BYTES}.`,
    );
  }
  const useTls =
    url.scheme === 'amqps' || query.ssl || (connectOptions.useSsl !== undefined && connectOptions.useSsl !== false);
  const host = url.host.replace(/^\[|\]$/g, '').toLowerCase();
  // Kombu does the same: where "localhost" is ::1 first, a broker that listens on IPv4 only is not found.
  const address = host === '' || host === 'localhost' ? '127.0.0.1' : host;
  return {
    publishTimeoutMs: options.publishTimeoutMs ?? DEFAULTS.publishTimeoutMs,
    blockedTimeoutMs: options.blockedTimeoutMs ?? DEFAULTS.blockedTimeoutMs,
    requestTimeoutMs: options.requestTimeoutMs ?? DEFAULTS.requestTimeoutMs,
    publishWindow: options.publishWindow ?? DEFAULTS.publishWindow,
    maxMessageBytes: options.maxMessageBytes,
    nativeDelayedDelivery: options.nativeDelayedDelivery ?? false,
    nativeDelayedDeliveryQueueType: options.nativeDelayedDeliveryQueueType ?? 'quorum',
    countRedeliveries: options.countRedeliveries ?? true,
    loginMethod,
    channelMax: options.channelMax,
    frameMax,
    locale: options.locale ?? 'en_US',
    clientProperties: options.clientProperties ?? {},
    host: address,
    port: url.port ?? (useTls ? 5671 : 5672),
    virtualHost: url.path === '' ? '/' : url.path,
    username: url.username ?? 'guest',
    password: url.password ?? 'guest',
    tls: useTls ? await readTls(connectOptions.useSsl, query.tls, host === '' ? 'localhost' : host) : undefined,
    heartbeatSeconds: Math.round(
      connectOptions.heartbeatSeconds ?? query.heartbeatSeconds ?? DEFAULTS.heartbeatSeconds,
    ),
    connectTimeoutMs: connectOptions.connectTimeoutMs ?? query.connectTimeoutMs ?? DEFAULTS.connectTimeoutMs,
    shownUrl: String(url),
  };
}

function readOptions(given: Readonly<Record<string, unknown>>): AmqpTransportOptions {
  const options: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(given)) {
    const key = camelCase(name);
    if (IGNORED_OPTIONS.has(key) || value === undefined || value === null) continue;
    const kind = Object.hasOwn(OPTION_KINDS, key) ? OPTION_KINDS[key as keyof AmqpTransportOptions] : undefined;
    if (kind === undefined) {
      throw new ConfigError(
        `RabbitMQ has no transport option "${name}".${nearestName(key, Object.keys(OPTION_KINDS))}`,
      );
    }
    const expected = unfit(kind, value);
    if (expected !== undefined)
      throw new ConfigError(`The transport option "${name}" is ${quote(value)}. Expected ${expected}.`);
    options[key] = value;
  }
  return options;
}

/** What was expected, when `value` is not it. */
function unfit(kind: OptionKind, value: unknown): string | undefined {
  if (typeof kind !== 'string')
    return kind.includes(value as string) ? undefined : kind.map((text) => `"${text}"`).join(' or ');
  switch (kind) {
    case 'milliseconds':
      return typeof value === 'number' && value > 0 && Number.isFinite(value) ? undefined : 'milliseconds above 0';
    case 'count':
      return Number.isInteger(value) && (value as number) >= 0 ? undefined : 'a whole number';
    case 'boolean':
      return typeof value === 'boolean' ? undefined : 'true or false';
    case 'text':
      return typeof value === 'string' ? undefined : 'a text';
    case 'object':
      return typeof value === 'object' && !Array.isArray(value) ? undefined : 'an object';
    default:
      return kind satisfies never;
  }
}

interface QuerySettings {
  readonly ssl: boolean;
  readonly tls: Readonly<Record<string, string>>;
  readonly heartbeatSeconds: number | undefined;
  readonly connectTimeoutMs: number | undefined;
  readonly loginMethod: AmqpSettings['loginMethod'] | undefined;
}

function readQuery(url: BrokerUrl): QuerySettings {
  const tls: Record<string, string> = {};
  for (const [name, value] of Object.entries(url.query)) {
    if (name.startsWith('ssl_')) tls[name.slice('ssl_'.length)] = value;
    else if (!QUERY_KEYS.includes(name)) {
      throw new ConfigError(
        `The broker URL has the unknown option "${name}".${nearestName(name, QUERY_KEYS)} Expected one of: ${QUERY_KEYS.join(', ')}, or "ssl_...".`,
      );
    }
  }
  const { ssl, heartbeat, connect_timeout: connectTimeout, login_method: loginMethod } = url.query;
  if (loginMethod !== undefined && !['PLAIN', 'AMQPLAIN', 'EXTERNAL'].includes(loginMethod)) {
    throw new ConfigError(
      `The login method ${quote(loginMethod)} is unknown. Expected "PLAIN", "AMQPLAIN" or "EXTERNAL".`,
    );
  }
  return {
    ssl: ssl !== undefined && !['', '0', 'false', 'False'].includes(ssl),
    tls,
    heartbeatSeconds: seconds('heartbeat', heartbeat),
    connectTimeoutMs:
      connectTimeout === undefined ? undefined : (seconds('connect_timeout', connectTimeout) as number) * 1000,
    loginMethod: loginMethod as QuerySettings['loginMethod'],
  };
}

function seconds(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (text === '' || !Number.isFinite(value) || value < 0) {
    throw new ConfigError(`The URL option "${name}" is ${quote(text)}. Expected seconds.`);
  }
  return value;
}

/** Python's names for TLS options; what is not among them goes to Node as it is. Source: amqp/transport.py, _wrap_socket_sni. */
async function readTls(
  useSsl: ConnectOptions['useSsl'],
  fromQuery: Readonly<Record<string, string>>,
  host: string,
): Promise<Readonly<Record<string, unknown>>> {
  const given: Record<string, unknown> = { ...fromQuery, ...(typeof useSsl === 'object' ? useSsl : {}) };
  const tls: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null) continue;
    switch (camelCase(name.replace(/^ssl_/, ''))) {
      case 'keyfile':
        tls['key'] = await readPem(name, value);
        break;
      case 'certfile':
        tls['cert'] = await readPem(name, value);
        break;
      case 'caCerts':
        tls['ca'] = await readPem(name, value);
        break;
      case 'certReqs':
        tls['rejectUnauthorized'] = certificateRequired(value);
        break;
      case 'checkHostname':
        if (value === false || value === 'false') tls['checkServerIdentity'] = () => undefined;
        break;
      case 'serverHostname':
      case 'servername':
        tls['servername'] = value;
        break;
      case 'sslVersion':
      case 'version':
        throw new ConfigError(
          `The TLS option "${name}" names a Python constant. Write "minVersion": "TLSv1.2" instead.`,
        );
      default:
        tls[name] = value;
    }
  }
  tls['servername'] ??= /^[\d.]+$|:/.test(host) ? undefined : host;
  return tls;
}

async function readPem(name: string, file: unknown): Promise<Buffer> {
  try {
    return await readFile(String(file));
  } catch (cause) {
    throw new ConfigError(`The file ${quote(file)} of the TLS option "${name}" cannot be read.`, { cause });
  }
}

function certificateRequired(value: unknown): boolean {
  switch (typeof value === 'string' ? value.toLowerCase().replace(/^(ssl\.)?cert_/, '') : value) {
    case 'required':
    case 2:
    case true:
      return true;
    // Python's client side treats "optional" as "required".
    case 'optional':
    case 1:
      return true;
    case 'none':
    case 0:
    case false:
      return false;
    default:
      throw new ConfigError(
        `The TLS option "cert_reqs" is ${quote(value)}. Expected "required", "optional" or "none".`,
      );
  }
}

function camelCase(name: string): string {
  return name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function quote(value: unknown): string {
  return JSON.stringify(value) ?? String(value);
}
