import { type BackendOptions, type BackendUrl, ConfigError } from '@lovage/core/backend';
import { type OptionReader, readOptions, record, text } from '@lovage/core/options';
import { CONNECTION_OPTIONS, type NatsConnectionOptions, type NatsEndpoint, readEndpoint } from '@lovage/nats';

/** Options in `result_backend_transport_options`, camelCase or snake_case. */
export interface NatsBackendOptions extends NatsConnectionOptions {
  /** Put before every key, with a `_` unless it ends in one of `: _ - .`. Default `''`. */
  readonly globalKeyprefix?: string;
  /** More settings for a bucket that is made, in JetStream's own names: `num_replicas`, `storage`, `max_bytes`, `placement` ... */
  readonly streamConfig?: Readonly<Record<string, unknown>>;
}

const OPTIONS = {
  ...CONNECTION_OPTIONS,
  globalKeyprefix: text,
  streamConfig: streamConfig,
} as const satisfies Record<string, OptionReader<unknown>>;

export interface BucketSettings {
  readonly name: string;
  readonly streamConfig: Readonly<Record<string, unknown>>;
}

const DEFAULT_BUCKET = 'celery';
/** No call may take longer than ten seconds, so two heartbeats may not either. */
const HEARTBEAT_MS = 4000;

/** URL and options to settings. Throws `ConfigError`. */
export function readSettings(
  url: BackendUrl,
  { transportOptions = {} }: Pick<BackendOptions, 'transportOptions'>,
): { readonly endpoint: NatsEndpoint; readonly bucket: BucketSettings } {
  const {
    globalKeyprefix: _,
    streamConfig = {},
    ...options
  } = readOptions(transportOptions, OPTIONS, 'The NATS result backend');
  const name = url.path.replace(/\/$/, '') || DEFAULT_BUCKET;
  if (!/^[A-Za-z0-9_-]+$/.test(name)) {
    throw new ConfigError(
      `The bucket ${JSON.stringify(name)} in "${String(url)}" cannot be. Expected letters, digits, "_" and "-": "nats://localhost:4222/results".`,
    );
  }
  return { endpoint: readEndpoint(url, { options, heartbeatMs: HEARTBEAT_MS }), bucket: { name, streamConfig } };
}

/** What the layout rests on is not for choice. */
const FIXED = [
  'name',
  'subjects',
  'retention',
  'discard',
  'max_msgs_per_subject',
  'allow_direct',
  'allow_msg_ttl',
  'allow_rollup_hdrs',
  'republish',
  'mirror',
  'sources',
  'sealed',
];

function streamConfig(value: unknown, name: string): Readonly<Record<string, unknown>> {
  const config = record(value, name);
  const wrong = Object.keys(config).find((key) => FIXED.includes(key));
  if (wrong === undefined) return config;
  throw new ConfigError(`The option "${name}" sets "${wrong}", which Lovage sets itself. Remove it.`);
}
