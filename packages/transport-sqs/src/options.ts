import type { SQSClientConfig } from '@aws-sdk/client-sqs';
import { accessKey, type AwsCredentials } from '@lovage/aws';
import {
  boolean,
  integer,
  KOMBU_ONLY,
  nonEmptyText,
  type OptionReader,
  readOptions,
  record,
  seconds,
  text,
  withoutEffect,
} from '@lovage/core/options';
import { type BrokerUrl, ConfigError, type ConnectOptions, UnsupportedError } from '@lovage/core/transport';
import { isFifo } from './names.ts';

/** A queue that exists: nothing is listed, created or deleted then. */
export interface PredefinedQueue {
  readonly url: string;
  /** Default: those of the URL, else the default chain. Not percent-encoded. */
  readonly accessKeyId?: string;
  readonly secretAccessKey?: string;
  readonly sessionToken?: string;
  readonly region?: string;
  /** Seconds of invisibility after the delivery of that number fails: `{ 1: 10, 2: 20 }`; for `backoffTasks` only. */
  readonly backoffPolicy?: Readonly<Record<string, number>>;
  /** Names of the tasks whose messages wait so. */
  readonly backoffTasks?: readonly string[];
}

/**
 * `broker_transport_options` of the SQS transport, camelCase or snake_case: Kombu's, in Kombu's units (seconds), and
 * `leaseMs`, `clientConfig`, ours.
 */
export interface SqsTransportOptions {
  /** Default: `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile's, else `us-east-1`. */
  readonly region?: string;
  /** Put before the name of every queue. Default `''`. */
  readonly queueNamePrefix?: string;
  /** Milliseconds, in whole seconds: how long a silent worker's messages stay its own; renewed while it lives. Default 30000. */
  readonly leaseMs?: number;
  /**
   * Seconds, written to queues that are created: how long a message stays with a *Python* worker, which never renews.
   * Default 1800. What Lovage receives has its lease instead.
   */
  readonly visibilityTimeout?: number;
  /** The longest wait of one receive, 0 to 20 seconds; 0: short polls with `pollingInterval` between. Default 20. */
  readonly waitTimeSeconds?: number;
  /** Seconds between two empty short polls. Default 1. */
  readonly pollingInterval?: number;
  /** TLS for an endpoint of one's own. Default false, as in Kombu; AWS itself always has TLS. */
  readonly isSecure?: boolean;
  /** Queues by name, when no others may be used. */
  readonly predefinedQueues?: Readonly<Record<string, PredefinedQueue>>;
  /** Attributes of queues that are created, `RedrivePolicy` for one. */
  readonly sqsCreationAttributes?: Readonly<Record<string, string>>;
  /** Tags of queues that are created. */
  readonly queueTags?: Readonly<Record<string, string>>;
  /** Messages as base64, which every Kombu reads. Default true. */
  readonly sqsBase64Encoding?: boolean;
  /** Further settings of the AWS SDK's client: `credentials`, `requestHandler`, `logger` ... */
  readonly clientConfig?: SQSClientConfig;
}

const QUEUE_READERS = {
  url: httpUrl,
  accessKeyId: nonEmptyText,
  secretAccessKey: nonEmptyText,
  sessionToken: nonEmptyText,
  region: nonEmptyText,
  backoffPolicy: backoffPolicy,
  backoffTasks: names,
} as const satisfies Record<string, OptionReader<unknown>>;

const READERS = {
  region: nonEmptyText,
  queueNamePrefix: text,
  leaseMs: integer(1000, 43_200_000),
  visibilityTimeout: seconds(0, 43_200),
  waitTimeSeconds: integer(0, 20),
  pollingInterval: seconds(0, 3600),
  isSecure: boolean,
  predefinedQueues: predefinedQueues,
  sqsCreationAttributes: texts,
  queueTags: texts,
  sqsBase64Encoding: boolean,
  clientConfig: record,
  supportsFanout: supportsFanout,
  stsRoleArn: stsRoleArn,
  // What Kombu itself does not read, and what Lovage always asks for.
  port: withoutEffect,
  regioninfo: withoutEffect,
  fetchMessageAttributes: withoutEffect,
  predefinedExchanges: withoutEffect,
  stsTokenTimeout: withoutEffect,
  stsTokenBufferTime: withoutEffect,
  ...KOMBU_ONLY,
} as const satisfies Record<string, OptionReader<unknown>>;

/** All that decides how the driver behaves. */
export interface SqsSettings {
  readonly prefix: string;
  readonly leaseSeconds: number;
  readonly visibilityTimeoutSeconds: number;
  readonly waitSeconds: number;
  readonly pollingIntervalMs: number;
  readonly predefinedQueues: ReadonlyMap<string, PredefinedQueue> | undefined;
  readonly creationAttributes: Readonly<Record<string, string>>;
  readonly queueTags: Readonly<Record<string, string>>;
  readonly base64: boolean;
}

/** What decides whom the client talks to. */
export interface ClientSettings {
  readonly endpoint: string | undefined;
  readonly region: string | undefined;
  readonly credentials: AwsCredentials | undefined;
  readonly clientConfig: SQSClientConfig;
}

const FORMS =
  '"sqs://", "sqs://aws_access_key_id:aws_secret_access_key@" or "sqs://key:secret@localhost:9324", with key and secret percent-encoded ("/" is "%2F")';

/** Throws `ConfigError` for wrong values and unknown names, `UnsupportedError` for what is refused. */
export function readSqsOptions(
  url: BrokerUrl,
  { transportOptions = {}, leaseMs = 30_000 }: ConnectOptions,
): { readonly settings: SqsSettings; readonly client: ClientSettings } {
  const { 'client-config': botocore, 'sqs-creation-attributes': attributes, ...rest } = transportOptions;
  // Options of botocore, which are no options of the client here, are named with a dash in Kombu.
  void botocore;
  const given = { ...url.query, ...rest, ...(attributes === undefined ? {} : { sqsCreationAttributes: attributes }) };
  const options = readOptions(given, READERS, 'The SQS transport');
  const credentials = accessKey(url.username, url.password, { where: `The URL "${String(url)}"`, expected: FORMS });
  return {
    settings: {
      prefix: options.queueNamePrefix ?? '',
      leaseSeconds: Math.max(1, Math.ceil((options.leaseMs ?? leaseMs) / 1000)),
      visibilityTimeoutSeconds: Math.floor((options.visibilityTimeout ?? 1_800_000) / 1000),
      waitSeconds: options.waitTimeSeconds ?? 20,
      pollingIntervalMs: options.pollingInterval ?? 1000,
      predefinedQueues: options.predefinedQueues,
      creationAttributes: options.sqsCreationAttributes ?? {},
      queueTags: options.queueTags ?? {},
      base64: options.sqsBase64Encoding ?? true,
    },
    client: {
      endpoint: url.host === '' ? undefined : endpointOf(url, options.isSecure ?? false),
      region: options.region,
      credentials,
      clientConfig: (options.clientConfig ?? {}) as SQSClientConfig,
    },
  };
}

/** Source: kombu/transport/SQS.py, Channel.endpoint_url. */
function endpointOf({ host, port }: BrokerUrl, isSecure: boolean): string {
  return `${isSecure ? 'https' : 'http'}://${host.toLowerCase()}${port === undefined ? '' : `:${port}`}`;
}

function predefinedQueues(value: unknown, name: string): ReadonlyMap<string, PredefinedQueue> | undefined {
  const queues = Object.entries(record(value, name)).map(([queue, one]) => {
    const where = `The option "${name}", queue ${JSON.stringify(queue)},`;
    const read = readOptions(record(one, `${name}.${queue}`), QUEUE_READERS, where);
    if (read.url === undefined) throw new ConfigError(`${where} has no "url". Expected the URL of the queue.`);
    accessKey(read.accessKeyId, read.secretAccessKey, { where, expected: 'access_key_id and secret_access_key' });
    if (isFifo(read.url) !== isFifo(queue)) {
      throw new ConfigError(`${where} has the URL "${read.url}". FIFO queues, and no others, end with ".fifo".`);
    }
    return [queue, read as PredefinedQueue] as const;
  });
  return queues.length === 0 ? undefined : new Map(queues);
}

function httpUrl(value: unknown, name: string): string {
  if (typeof value !== 'string' || !/^https?:\/\/[^/]+\/./.test(value)) {
    throw new ConfigError(
      `The option "${name}" is ${JSON.stringify(value)}. Expected a URL such as "https://sqs.us-east-1.amazonaws.com/123456789012/name".`,
    );
  }
  return value;
}

function backoffPolicy(value: unknown, name: string): Readonly<Record<string, number>> {
  const policy = record(value, name);
  for (const [count, delay] of Object.entries(policy)) {
    if (!/^[1-9]\d*$/.test(count) || !Number.isInteger(delay) || (delay as number) < 0 || (delay as number) > 43_200) {
      throw new ConfigError(
        `The option "${name}" has ${JSON.stringify({ [count]: delay })}. Expected seconds by the number of the delivery, such as {"1": 10, "2": 20}.`,
      );
    }
  }
  return policy as Readonly<Record<string, number>>;
}

function names(value: unknown, name: string): readonly string[] {
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value;
  throw new ConfigError(`The option "${name}" is ${JSON.stringify(value)}. Expected a list of names.`);
}

function texts(value: unknown, name: string): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(record(value, name)).map(([key, item]) => [key, String(item)]));
}

function supportsFanout(value: unknown): undefined {
  if (!boolean(value, 'supports_fanout')) return undefined;
  throw new UnsupportedError(
    'The option "supports_fanout" needs topics of SNS, which Kombu has from 5.7 on and this transport has not. Remove it; for events and remote control use a broker that has fanout.',
  );
}

function stsRoleArn(): never {
  throw new UnsupportedError(
    'The option "sts_role_arn" is not read. Give "clientConfig": { credentials: fromTemporaryCredentials({ params: { RoleArn } }) } of @aws-sdk/credential-providers, or name the role in a profile of ~/.aws/config.',
  );
}
