import type { SignatureDict } from '../canvas/signature-dict.ts';
import { ConfigError, InvalidMessageError } from '../errors.ts';
import { compress } from '../serialization/compression.ts';
import type { SerializerRegistry } from '../serialization/registry.ts';
import type { Message } from '../transport/message.ts';
import { reprArgs, reprKwargs } from './repr.ts';
import type { TaskBody, TaskRequest } from './task-message.ts';
import { formatTime, parseTime } from './time.ts';

/** Everything that the message of one call holds. Times are epoch milliseconds, limits seconds. */
export interface TaskDraft {
  readonly id: string;
  readonly task: string;
  readonly args: readonly unknown[];
  readonly kwargs: Readonly<Record<string, unknown>>;
  readonly shadow: string | undefined;
  readonly eta: number | undefined;
  readonly expires: number | undefined;
  readonly group: string | undefined;
  readonly groupIndex: number | undefined;
  readonly retries: number;
  /** `[hard, soft]`. */
  readonly timeLimit: readonly [number | undefined, number | undefined];
  readonly rootId: string;
  readonly parentId: string | undefined;
  readonly origin: string;
  readonly ignoreResult: boolean | undefined;
  readonly replacedTaskNesting: number;
  readonly stampedHeaders: readonly string[] | undefined;
  readonly stamps: Readonly<Record<string, unknown>>;
  readonly replyTo: string | undefined;
  readonly correlationId: string;
  readonly priority: number | undefined;
  readonly deliveryMode: 1 | 2 | 'transient' | 'persistent';
  readonly serializer: string;
  readonly compression: string | undefined;
  /** The caller's own; put over those of the protocol, as Celery does. */
  readonly headers: Readonly<Record<string, unknown>> | undefined;
  /** Default: made from the arguments. */
  readonly argsrepr: string | undefined;
  readonly kwargsrepr: string | undefined;
  readonly callbacks: readonly SignatureDict[];
  readonly errbacks: readonly SignatureDict[];
  readonly chain: readonly SignatureDict[];
  readonly chord: SignatureDict | undefined;
}

/** Headers that a caller may not replace: a wrong one ends a Python worker's process. */
const OWN_HEADERS: ReadonlySet<string> = new Set(['task', 'id', 'compression']);

/**
 * The message of a call, protocol 2. The serializer and compression must be loaded (`registry.prepare`). Throws
 * `EncodeError` and `ConfigError`. Source: celery/app/amqp.py, as_task_v2; Celery message protocol 2.
 */
export function encodeTask(draft: TaskDraft, registry: SerializerRegistry): Message {
  const { id, args, kwargs, callbacks, errbacks, chain, chord, compression } = draft;
  if (id === '' || draft.task === '') throw new ConfigError('A task message needs a name and an id.');
  const embed = {
    callbacks: callbacks.length === 0 ? null : callbacks,
    errbacks: errbacks.length === 0 ? null : errbacks,
    chain: chain.length === 0 ? null : chain,
    chord: chord ?? null,
  };
  const { body, contentType, contentEncoding } = registry.encode(draft.serializer, [args, kwargs, embed]);
  const packed = compression === undefined ? undefined : compress(compression, body);
  const [hard, soft] = draft.timeLimit;
  const headers: Record<string, unknown> = {
    // Celery's own readers ignore it, and "py" is what every peer has been tested with.
    lang: 'py',
    task: draft.task,
    id,
    shadow: draft.shadow ?? null,
    eta: draft.eta === undefined ? null : formatTime(draft.eta),
    expires: draft.expires === undefined ? null : formatTime(draft.expires),
    group: draft.group ?? null,
    group_index: draft.groupIndex ?? null,
    retries: draft.retries,
    timelimit: [hard ?? null, soft ?? null],
    root_id: draft.rootId,
    parent_id: draft.parentId ?? null,
    argsrepr: draft.argsrepr ?? reprArgs(args),
    kwargsrepr: draft.kwargsrepr ?? reprKwargs(kwargs),
    origin: draft.origin,
    ignore_result: draft.ignoreResult ?? null,
    replaced_task_nesting: draft.replacedTaskNesting,
    stamped_headers: draft.stampedHeaders ?? null,
    stamps: draft.stamps,
  };
  if (draft.headers !== undefined) addHeaders(headers, draft.headers);
  if (packed !== undefined) headers.compression = packed.contentType;
  return {
    body: packed?.body ?? body,
    contentType,
    contentEncoding,
    headers,
    properties: {
      correlationId: draft.correlationId,
      replyTo: draft.replyTo ?? '',
      deliveryMode: draft.deliveryMode === 1 || draft.deliveryMode === 'transient' ? 1 : 2,
      priority: draft.priority ?? 0,
      ...(draft.expires === undefined ? {} : { expiration: String(Math.max(0, Math.round(draft.expires - Date.now()))) }),
    },
  };
}

function addHeaders(headers: Record<string, unknown>, own: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(own)) {
    if (OWN_HEADERS.has(name)) throw new ConfigError(`The header "${name}" belongs to the protocol. Choose another name.`);
    if (name !== '__proto__') headers[name] = value;
  }
}

/** Headers that the protocol knows; others are the caller's own. */
const KNOWN_HEADERS: ReadonlySet<string> = new Set([
  'lang', 'task', 'id', 'shadow', 'eta', 'expires', 'group', 'group_index', 'retries', 'timelimit', 'root_id',
  'parent_id', 'argsrepr', 'kwargsrepr', 'origin', 'ignore_result', 'replaced_task_nesting', 'stamped_headers',
  'stamps', 'compression', 'meth', 'redelivered', 'argsrepr', 'kwargsrepr', 'clock',
]);

const TASK_NAME = /^[\w.:/@<>-]{1,255}$/;
const MAX_ID = 255;

type Fields = Readonly<Record<string, unknown>>;

/** Reads the fields of protocol 2's headers, or of protocol 1's body, which has the same names for most. */
export function readRequest(fields: Fields, message: Message): TaskRequest {
  const task = fields.task;
  if (typeof task !== 'string' || !TASK_NAME.test(task)) {
    throw new InvalidMessageError(`The message names no task that could be one: ${show(task)}.`);
  }
  const id = readId(fields.id, 'id');
  if (id === undefined) throw new InvalidMessageError(`The message for ${task} has no id.`, { facts: { task } });
  const { properties } = message;
  const stamps = fields.stamps;
  return {
    id,
    task,
    shadow: readText(fields.shadow),
    eta: fields.eta === null || fields.eta === undefined ? undefined : readInstant(fields.eta, 'eta'),
    expires: fields.expires === null || fields.expires === undefined ? undefined : readInstant(fields.expires, 'expires'),
    group: readId(fields.group, 'group'),
    groupIndex: typeof fields.group_index === 'number' ? fields.group_index : undefined,
    retries: readRetries(fields.retries),
    timeLimit: readTimeLimit(fields.timelimit),
    rootId: readId(fields.root_id, 'root_id') ?? id,
    parentId: readId(fields.parent_id, 'parent_id'),
    argsrepr: readText(fields.argsrepr) ?? '',
    kwargsrepr: readText(fields.kwargsrepr) ?? '',
    origin: readText(fields.origin),
    ignoreResult: typeof fields.ignore_result === 'boolean' ? fields.ignore_result : undefined,
    replacedTaskNesting: typeof fields.replaced_task_nesting === 'number' ? fields.replaced_task_nesting : 0,
    stampedHeaders: Array.isArray(fields.stamped_headers) ? fields.stamped_headers.filter((name) => typeof name === 'string') : undefined,
    stamps: typeof stamps === 'object' && stamps !== null && !Array.isArray(stamps) ? (stamps as Fields) : {},
    replyTo: properties.replyTo === '' ? undefined : properties.replyTo,
    correlationId: properties.correlationId,
    priority: properties.priority,
    headers: ownHeaders(message.headers),
  };
}

const NO_HEADERS: Fields = Object.freeze(Object.create(null) as Fields);

function ownHeaders(headers: Fields): Fields {
  let own: Record<string, unknown> | undefined;
  for (const name in headers) {
    if (KNOWN_HEADERS.has(name) || name === '__proto__') continue;
    own ??= Object.create(null) as Record<string, unknown>;
    own[name] = headers[name];
  }
  return own ?? NO_HEADERS;
}

function readInstant(value: unknown, what: string): number {
  const instant = typeof value === 'string' ? parseTime(value) : undefined;
  if (instant === undefined) throw new InvalidMessageError(`The ${what} of the message is ${show(value)}. Expected ISO 8601.`);
  return instant;
}

function readId(value: unknown, what: string): string | undefined {
  if (value === null || value === undefined || value === '') return undefined;
  // oxlint-disable-next-line no-control-regex
  if (typeof value !== 'string' || value.length > MAX_ID || /[\u0000-\u001F\u007F]/.test(value)) {
    throw new InvalidMessageError(`The ${what} of the message is ${show(value)}. Expected a text of at most ${MAX_ID} printable characters.`);
  }
  return value;
}

function readText(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function readRetries(value: unknown): number {
  if (value === null || value === undefined) return 0;
  if (!Number.isInteger(value) || (value as number) < 0 || (value as number) > 1_000_000) {
    throw new InvalidMessageError(`The message has retries ${show(value)}. Expected a count from 0 to 1000000.`);
  }
  return value as number;
}

function readTimeLimit(value: unknown): readonly [number | undefined, number | undefined] {
  if (value === null || value === undefined) return NO_LIMIT;
  if (!Array.isArray(value) || value.length !== 2) {
    throw new InvalidMessageError(`The message has timelimit ${show(value)}. Expected [hard, soft] in seconds.`);
  }
  const [hard, soft] = value as [unknown, unknown];
  return hard === null && soft === null ? NO_LIMIT : [readSeconds(hard), readSeconds(soft)];
}

const NO_LIMIT: readonly [undefined, undefined] = [undefined, undefined];

function readSeconds(value: unknown): number | undefined {
  if (value === null || value === undefined) return undefined;
  if (typeof value !== 'number' || !(value > 0) || !Number.isFinite(value)) {
    throw new InvalidMessageError(`The message has a time limit of ${show(value)}. Expected a number of seconds above 0.`);
  }
  return value;
}

/** Most continuations that one message may carry, and how deep signatures may nest. */
const MAX_LINKS = 1000;

/** Reads protocol 2's body: `[args, kwargs, embed]`. Throws `InvalidMessageError`. */
export function readBody(body: unknown): TaskBody {
  if (!Array.isArray(body) || body.length !== 3) {
    throw new InvalidMessageError('The body of the message is not [args, kwargs, embed].');
  }
  const [args, kwargs, embed] = body as [unknown, unknown, unknown];
  return assembleBody(args, kwargs, (embed ?? {}) as Fields);
}

/** The body out of its parts, whichever protocol named them. */
export function assembleBody(args: unknown, kwargs: unknown, embed: Fields): TaskBody {
  if (!Array.isArray(args ?? [])) throw new InvalidMessageError('The positional arguments of the message are not a list.');
  if (typeof (kwargs ?? {}) !== 'object' || Array.isArray(kwargs)) throw new InvalidMessageError('The keyword arguments of the message are not an object.');
  if (typeof embed !== 'object' || Array.isArray(embed)) throw new InvalidMessageError('The third part of the body is not an object.');
  const { callbacks, errbacks, chain, chord } = embed;
  return {
    args: (args ?? []) as readonly unknown[],
    kwargs: (kwargs ?? {}) as Fields,
    callbacks: readSignatures(callbacks, 'callbacks'),
    errbacks: readSignatures(errbacks, 'errbacks'),
    chain: readSignatures(chain, 'chain'),
    chord: chord === null || chord === undefined ? undefined : readSignature(chord, 'chord'),
  };
}

const NO_SIGNATURES: readonly SignatureDict[] = [];

function readSignatures(value: unknown, what: string): readonly SignatureDict[] {
  if (value === null || value === undefined) return NO_SIGNATURES;
  const list = Array.isArray(value) ? value : [value];
  if (list.length > MAX_LINKS) throw new InvalidMessageError(`The message has ${list.length} ${what}. At most ${MAX_LINKS} are taken.`);
  return list.map((item) => readSignature(item, what));
}

function readSignature(value: unknown, what: string): SignatureDict {
  const { task, args, kwargs, options } = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
  const isRecord = (item: unknown): boolean => item === undefined || item === null || (typeof item === 'object' && !Array.isArray(item));
  if (typeof task !== 'string' || !(args === undefined || args === null || Array.isArray(args)) || !isRecord(kwargs) || !isRecord(options)) {
    throw new InvalidMessageError(`The message has ${what} that are no signatures.`);
  }
  return value as SignatureDict;
}

function show(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}...` : value) : typeof value === 'object' ? 'an object' : String(value);
}
