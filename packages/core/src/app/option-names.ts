import type { SignatureDict } from '../canvas/signature-dict.ts';
import { ConfigError } from '../errors.ts';
import { nearestName } from '../internal/nearest-name.ts';

/** A signature, or what one becomes when it travels. */
export type SignatureLike = SignatureDict | { toJSON(): SignatureDict };

/**
 * How often and how fast a failed publish is tried again, in seconds. What is left out comes from
 * `taskPublishRetryPolicy`. Source: kombu/utils/functional.py, retry_over_time.
 */
export interface RetryPolicy {
  /** Default 3. null: for ever; 0: not at all. */
  readonly maxRetries?: number | null;
  /** Wait before the first retry. Default 0. */
  readonly intervalStart?: number;
  /** Added with each retry. Default 0.2. */
  readonly intervalStep?: number;
  /** The most that is added to `intervalStart`. Default 1. */
  readonly intervalMax?: number;
}

/**
 * Options of one call: `applyAsync`, `sendTask`, `signature` and `set` take them. Celery's names in camelCase, with
 * Celery's meanings and units. null and undefined count as not given.
 * Source: celery/app/task.py, Task.apply_async; celery/app/base.py, send_task.
 */
export interface ApplyOptions {
  /** Default: a new uuid4. */
  readonly taskId?: string;
  /** Seconds from now until the task may run. Not together with `eta`. */
  readonly countdown?: number;
  /** When the task may run: a `Date`, or ISO 8601 text (UTC when it names no offset). */
  readonly eta?: Date | string;
  /** The task does not run after this: seconds from now, a `Date`, or ISO 8601 text. */
  readonly expires?: number | Date | string;
  /** Whether to publish again when the connection fails. Default: `taskPublishRetry`. */
  readonly retry?: boolean;
  readonly retryPolicy?: RetryPolicy;
  /** Shown in logs and monitors instead of the task's name. */
  readonly shadow?: string;
  /** Overrides `taskRoutes`. */
  readonly queue?: string;
  readonly exchange?: string;
  /** Default: that of the queue. */
  readonly exchangeType?: 'direct' | 'topic' | 'fanout' | 'headers';
  readonly routingKey?: string;
  /** 0 to 9, an integer. Which end is served first is the broker's rule: RabbitMQ the highest, Redis the lowest. */
  readonly priority?: number;
  /** A registered serializer: `json`, `yaml`, `msgpack` ... */
  readonly serializer?: string;
  /** A registered compression: `zlib`, `bzip2`, `zstd` ... */
  readonly compression?: string;
  /** 2 or `persistent`, 1 or `transient`. Default: `taskDefaultDeliveryMode`. */
  readonly deliveryMode?: 1 | 2 | 'transient' | 'persistent';
  /** Reject with `UnroutableError` when no queue is bound, where the broker can tell. Default false. */
  readonly mandatory?: boolean;
  /** Message headers of your own; they can replace those of the protocol, as in Celery. */
  readonly headers?: Readonly<Record<string, unknown>>;
  /** Run with the result when the task has succeeded. */
  readonly link?: SignatureLike | readonly SignatureLike[];
  /** Run when the task has failed. */
  readonly linkError?: SignatureLike | readonly SignatureLike[];
  /** Default: the task's own `ignoreResult`. */
  readonly ignoreResult?: boolean;
  /** Seconds; the task is killed. */
  readonly timeLimit?: number;
  /** Seconds; the task is told. Not above `timeLimit`. */
  readonly softTimeLimit?: number;
  /** Display text of the arguments, for monitors. Default: made from the arguments. */
  readonly argsrepr?: string;
  readonly kwargsrepr?: string;
  /** Queue of the RPC result store that gets the result. Default: that of this app. */
  readonly replyTo?: string;
  readonly groupId?: string;
  readonly groupIndex?: number;
  readonly rootId?: string;
  readonly parentId?: string;
  /** How many attempts came before. */
  readonly retries?: number;
  /** The body of the chord that this task is a part of. */
  readonly chord?: SignatureLike;
  /** What follows in a chain, in reverse order: the next one is the last element. */
  readonly chain?: readonly SignatureLike[];
  /** Node name of the sender. Default: that of this process. */
  readonly origin?: string;
  readonly replacedTaskNesting?: number;
  /** Names of {@link ApplyOptions.stamps}. Default: all of them. */
  readonly stampedHeaders?: readonly string[];
  /** Values by stamp name. On the wire each is an option beside `stamped_headers`. */
  readonly stamps?: Readonly<Record<string, unknown>>;
  /** Note the result as a child of the task that makes the call. Default true. */
  readonly addToParent?: boolean;
  /** The name that `taskRoutes` is asked for. Default: the task's name. */
  readonly routeName?: string;
  /** Options of a foreign signature that have no name here, as they came; they travel on and do nothing else. */
  readonly otherOptions?: Readonly<Record<string, unknown>>;
}

/** undefined when the value is right, else what is expected. */
type Check = (value: unknown) => string | undefined;

const expects =
  (expected: string, isRight: (value: unknown) => boolean): Check =>
  (value) =>
    isRight(value) ? undefined : expected;

const isText = (value: unknown): value is string => typeof value === 'string' && value !== '';
const isCount = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 0;
const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);

/** Python's dates end with year 9999; its `_verify_seconds` begins at -2^31. Source: celery/app/amqp.py. */
const LAST_INSTANT_MS = 253_402_300_799_999;
const FIRST_SECONDS = -2_147_483_648;
const isSeconds = (value: unknown): boolean =>
  typeof value === 'number' && value >= FIRST_SECONDS && value <= (LAST_INSTANT_MS - Date.now()) / 1000;

/** What dateutil's isoparse reads, week and ordinal dates excepted. */
const ISO = /^\d{4}-?\d{2}(?:-?\d{2})?(?:[T ]\d{2}(?::?\d{2}(?::?\d{2}(?:[.,]\d+)?)?)?(?:Z|[+-]\d{2}(?::?\d{2})?)?)?$/i;
const isInstant = (value: unknown): boolean =>
  value instanceof Date
    ? value.getTime() <= LAST_INSTANT_MS && value.getTime() >= -62_135_596_800_000
    : typeof value === 'string' && ISO.test(value);
const isSignature = (value: unknown): boolean =>
  isRecord(value) && (typeof value.toJSON === 'function' || typeof value.task === 'string');

const text = expects('a text that is not empty', isText);
const flag = expects('true or false', (value) => typeof value === 'boolean');
const count = expects('an integer from 0 up', isCount);
const positiveSeconds = expects(
  'a number of seconds above 0',
  (value) => typeof value === 'number' && value > 0 && value < Infinity,
);
const record = expects('an object', isRecord);
const signature = expects('a signature', isSignature);
const signatures = expects('a signature or a list of signatures', (value) =>
  Array.isArray(value) ? value.every(isSignature) : isSignature(value),
);

/** The one list of apply options. Wire names follow from it: Celery's are the same in snake_case. */
const CHECKS: { readonly [Name in keyof Required<ApplyOptions>]: Check } = {
  taskId: text,
  countdown: expects('a number of seconds', isSeconds),
  eta: expects('a valid Date or ISO 8601 text', isInstant),
  expires: expects(
    'a number of seconds, a valid Date or ISO 8601 text',
    (value) => isSeconds(value) || isInstant(value),
  ),
  retry: flag,
  retryPolicy: checkRetryPolicy,
  shadow: text,
  queue: text,
  exchange: expects('a text', (value) => typeof value === 'string'),
  exchangeType: expects('"direct", "topic", "fanout" or "headers"', (value) =>
    ['direct', 'topic', 'fanout', 'headers'].includes(value as string),
  ),
  routingKey: expects('a text', (value) => typeof value === 'string'),
  priority: expects('an integer from 0 to 9', (value) => isCount(value) && (value as number) <= 9),
  serializer: text,
  compression: text,
  deliveryMode: expects('1, 2, "transient" or "persistent"', (value) =>
    [1, 2, 'transient', 'persistent'].includes(value as number),
  ),
  mandatory: flag,
  headers: record,
  link: signatures,
  linkError: signatures,
  ignoreResult: flag,
  timeLimit: positiveSeconds,
  softTimeLimit: positiveSeconds,
  argsrepr: expects('a text', (value) => typeof value === 'string'),
  kwargsrepr: expects('a text', (value) => typeof value === 'string'),
  replyTo: text,
  groupId: text,
  groupIndex: count,
  rootId: text,
  parentId: text,
  retries: count,
  chord: signature,
  chain: expects('a list of signatures', (value) => Array.isArray(value) && value.every(isSignature)),
  origin: text,
  replacedTaskNesting: count,
  stampedHeaders: expects('a list of names', (value) => Array.isArray(value) && value.every(isText)),
  stamps: record,
  addToParent: flag,
  routeName: text,
  otherOptions: record,
};

/** The names that {@link ApplyOptions} knows. */
export const APPLY_OPTION_NAMES: readonly (keyof ApplyOptions)[] = Object.keys(CHECKS) as (keyof ApplyOptions)[];

/** `linkError` -> `link_error`: Celery's spelling of a name. */
export function toSnakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** `link_error` -> `linkError`. */
export function toCamelCase(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

const CHECK_BY_NAME: ReadonlyMap<string, Check> = new Map(Object.entries(CHECKS));

/** Options that never travel: they are for the call itself, or have a form of their own on the wire. */
const NOT_ON_THE_WIRE: ReadonlySet<string> = new Set(['stamps', 'otherOptions', 'addToParent', 'routeName']);
const WIRE_NAMES: ReadonlyMap<string, string> = new Map(
  APPLY_OPTION_NAMES.filter((name) => !NOT_ON_THE_WIRE.has(name)).map((name) => [name, toSnakeCase(name)]),
);
const NAMES_BY_WIRE: ReadonlyMap<string, string> = new Map([...WIRE_NAMES].map(([name, wire]) => [wire, name]));

const POLICY_NAMES = [
  'maxRetries',
  'intervalStart',
  'intervalStep',
  'intervalMax',
] as const satisfies readonly (keyof RetryPolicy)[];

/** undefined when this is a {@link RetryPolicy}, else what is expected. */
export function checkRetryPolicy(value: unknown): string | undefined {
  if (!isRecord(value)) return `an object with ${POLICY_NAMES.join(', ')}`;
  for (const [name, number] of Object.entries(value)) {
    if (!POLICY_NAMES.includes(name as keyof RetryPolicy)) {
      return `only ${POLICY_NAMES.join(', ')} in it, not "${name}"`;
    }
    if (
      name === 'maxRetries'
        ? number !== null && !isCount(number)
        : !(typeof number === 'number' && number >= 0 && number < Infinity)
    ) {
      return `"${name}" to be ${name === 'maxRetries' ? 'an integer from 0 up, or null' : 'a number of seconds from 0 up'}`;
    }
  }
  return undefined;
}

/**
 * Throws `ConfigError` when an option has no such name (with the nearest one), a value it cannot have, or contradicts
 * another. `what` begins the message: `Task "tasks.add"`.
 */
export function validateApplyOptions(options: ApplyOptions, what = 'The call'): void {
  for (const name in options) {
    const value = (options as Record<string, unknown>)[name];
    const check = CHECK_BY_NAME.get(name);
    if (check === undefined) {
      const near = NAMES_BY_WIRE.has(name)
        ? ` Did you mean "${NAMES_BY_WIRE.get(name)}"?`
        : nearestName(name, APPLY_OPTION_NAMES);
      throw new ConfigError(`${what} has an unknown option "${name}".${near}`, { facts: { option: name } });
    }
    if (value === undefined || value === null) continue;
    const expected = check(value);
    if (expected !== undefined) {
      throw new ConfigError(`${what} has ${name} ${show(value)}. Expected ${expected}.`, { facts: { option: name } });
    }
  }
  const { countdown, eta, timeLimit, softTimeLimit, stampedHeaders, stamps } = options;
  if (eta != null && countdown != null) {
    throw new ConfigError(`${what} has both countdown and eta. Give one: they say the same thing.`, {
      facts: { option: 'eta' },
    });
  }
  if (timeLimit != null && softTimeLimit != null && softTimeLimit > timeLimit) {
    throw new ConfigError(
      `${what} has softTimeLimit ${softTimeLimit} above timeLimit ${timeLimit}. The soft limit must come first.`,
    );
  }
  if (stampedHeaders != null || stamps != null) checkStamps(stampedHeaders ?? undefined, stamps ?? {}, what);
}

function checkStamps(
  names: readonly string[] | undefined,
  stamps: Readonly<Record<string, unknown>>,
  what: string,
): void {
  const unset = names?.find((name) => !Object.hasOwn(stamps, name));
  if (unset !== undefined) throw new ConfigError(`${what} names the stamp "${unset}" but stamps has no value for it.`);
  const taken = Object.keys(stamps).find((name) => NAMES_BY_WIRE.has(name));
  if (taken !== undefined)
    throw new ConfigError(`${what} has a stamp named "${taken}", which is an apply option. Choose another name.`);
}

function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'object' && value !== null)
    return Array.isArray(value) ? '[...]' : value instanceof Date ? String(value) : '{...}';
  return String(value);
}

/**
 * The `options` of a signature as it travels. Dates become ISO text, signatures their dicts, `link` and `linkError`
 * lists; what is not given is left out. Source: celery/canvas.py, Signature.
 */
export function toSignatureOptions(options: ApplyOptions): Record<string, unknown> {
  const wire: [string, unknown][] = Object.entries(options.otherOptions ?? {});
  for (const [name, value] of Object.entries(options)) {
    const wireName = WIRE_NAMES.get(name);
    if (wireName !== undefined && value !== undefined && value !== null)
      wire.push([wireName, toWireValue(name, value)]);
  }
  const stamps = Object.entries(options.stamps ?? {});
  if (stamps.length > 0 && options.stampedHeaders == null) wire.push(['stamped_headers', stamps.map(([name]) => name)]);
  return Object.fromEntries([...wire, ...stamps]);
}

function toWireValue(name: string, value: unknown): unknown {
  switch (name) {
    case 'eta':
    case 'expires':
      // Python's isoformat, which 4.x reads too: "+00:00" for "Z".
      return value instanceof Date ? value.toISOString().replace('Z', '+00:00') : value;
    case 'link':
    case 'linkError':
      return (Array.isArray(value) ? value : [value]).map(toSignatureDict);
    case 'chain':
      return (value as readonly SignatureLike[]).map(toSignatureDict);
    case 'chord':
      return toSignatureDict(value as SignatureLike);
    case 'retryPolicy':
      return toWirePolicy(value as RetryPolicy);
    default:
      return value;
  }
}

/** The dict of a signature, whichever of the two forms it has. */
export function toSignatureDict(signature: SignatureLike): SignatureDict {
  return typeof (signature as { toJSON?: unknown }).toJSON === 'function'
    ? (signature as { toJSON(): SignatureDict }).toJSON()
    : (signature as SignatureDict);
}

/** Under Kombu's names: `max_retries`, `interval_start`, `interval_step`, `interval_max`. */
function toWirePolicy(policy: RetryPolicy): Record<string, unknown> {
  return Object.fromEntries(Object.entries(policy).map(([name, value]) => [toSnakeCase(name), value]));
}

/** A policy under Kombu's names or ours; names that we do not have (`errback`, `retry_errors`) are left out. */
export function fromWirePolicy(policy: Readonly<Record<string, unknown>>): RetryPolicy {
  return Object.fromEntries(
    Object.entries(policy)
      .map(([name, value]) => [toCamelCase(name), value] as const)
      .filter(([name]) => POLICY_NAMES.includes(name as keyof RetryPolicy)),
  );
}

/**
 * Reads the `options` of a signature that came from outside. Never throws: an option with no name here is kept in
 * `otherOptions`, null counts as not given, and a value that cannot be is found by {@link validateApplyOptions} when
 * the call is made. As in Celery a countdown other than 0 beats an `eta`; priorities above 9, which AMQP has and we
 * do not, become 9.
 */
export function fromSignatureOptions(wire: Readonly<Record<string, unknown>>): ApplyOptions {
  const stampNames = Array.isArray(wire.stamped_headers) ? wire.stamped_headers.filter(isText) : [];
  const options: [string, unknown][] = [];
  const stamps: [string, unknown][] = [];
  const others: [string, unknown][] = [];
  for (const [wireName, value] of Object.entries(wire)) {
    const name = NAMES_BY_WIRE.get(wireName);
    if (name === 'stampedHeaders') continue;
    if (name !== undefined) {
      if (value !== null && value !== undefined) options.push([name, fromWireValue(name, value, wire)]);
    } else if (stampNames.includes(wireName)) stamps.push([wireName, value]);
    else others.push([wireName, value]);
  }
  if (stamps.length > 0)
    options.push(['stampedHeaders', stamps.map(([name]) => name)], ['stamps', Object.fromEntries(stamps)]);
  if (others.length > 0) options.push(['otherOptions', Object.fromEntries(others)]);
  return Object.fromEntries(options.filter(([, value]) => value !== undefined)) as ApplyOptions;
}

function fromWireValue(name: string, value: unknown, wire: Readonly<Record<string, unknown>>): unknown {
  switch (name) {
    case 'eta':
      return wire.countdown ? undefined : value;
    case 'countdown':
      return value === 0 && wire.eta ? undefined : value;
    case 'priority':
      return typeof value === 'number' ? Math.min(Math.max(Math.trunc(value), 0), 9) : value;
    case 'retryPolicy':
      return isRecord(value) ? fromWirePolicy(value) : value;
    default:
      return value;
  }
}
