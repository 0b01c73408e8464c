import type { SignatureDict } from '../canvas/signature-dict.ts';
import { ConfigError, EncodeError, isLovageError } from '../errors.ts';
import { describePath } from '../serialization/json.ts';
import type { SerializerRegistry } from '../serialization/registry.ts';
import type { Message, MessageProperties } from '../transport/message.ts';
import { isTaskId, isTaskName } from './names.ts';
import { encodeAlong, type Embed } from './passed-on.ts';
import { reprArgs, reprKwargs } from './repr.ts';
import { formatTime } from './time.ts';

/** Everything that the message of one call holds. Instants are epoch milliseconds, limits seconds. */
export interface TaskDraft {
  readonly id: string;
  readonly task: string;
  readonly args: readonly unknown[];
  readonly kwargs: Readonly<Record<string, unknown>>;
  readonly shadow?: string | undefined;
  readonly eta?: number | undefined;
  readonly expires?: number | undefined;
  readonly group?: string | undefined;
  readonly groupIndex?: number | undefined;
  /** Default 0. */
  readonly retries?: number | undefined;
  /** `[hard, soft]`. */
  readonly timeLimit?: readonly [number | undefined, number | undefined] | undefined;
  /** Default: the id. */
  readonly rootId?: string | undefined;
  readonly parentId?: string | undefined;
  /** Node name of the sender. */
  readonly origin: string;
  /** undefined: the task's own setting decides. */
  readonly ignoreResult?: boolean | undefined;
  /** Default 0. */
  readonly replacedTaskNesting?: number | undefined;
  readonly stampedHeaders?: readonly string[] | undefined;
  readonly stamps?: Readonly<Record<string, unknown>> | undefined;
  readonly replyTo?: string | undefined;
  /** Default: the id. */
  readonly correlationId?: string | undefined;
  /** Default 0. */
  readonly priority?: number | undefined;
  /** Default 2, persistent. */
  readonly deliveryMode?: 1 | 2 | 'transient' | 'persistent' | undefined;
  /** Default `json`. */
  readonly serializer?: string | undefined;
  readonly compression?: string | undefined;
  /** The caller's own; they may replace those of the protocol, except the name and the id, as in Celery. */
  readonly headers?: Readonly<Record<string, unknown>> | undefined;
  /** Default: made from the arguments. */
  readonly argsrepr?: string | undefined;
  readonly kwargsrepr?: string | undefined;
  readonly callbacks?: readonly SignatureDict[] | undefined;
  readonly errbacks?: readonly SignatureDict[] | undefined;
  /** In reverse order: the next one is the last element. */
  readonly chain?: readonly SignatureDict[] | undefined;
  /** The body of the chord that this task is a part of. */
  readonly chord?: SignatureDict | undefined;
}

const NO_EMBED = Object.freeze({ callbacks: null, errbacks: null, chain: null, chord: null });
const NO_STAMPS = Object.freeze({});

/** Bodies of these types end the process of a Python worker, or are refused by every worker. */
const NO_TASK_SERIALIZERS: ReadonlySet<string> = new Set(['raw', 'text', 'pickle']);

/**
 * The message of a call, protocol 2, with the headers in Celery's order. The serializer and compression must be loaded
 * (`registry.prepare`). `now` is needed for `expires` only.
 *
 * Throws `EncodeError` for arguments that cannot be written and for instants outside the years 1 to 9999, `ConfigError`
 * for anything else that would be refused or would end the process of a Python worker: a missing id or name, a raw
 * body, a protocol header of the wrong type. Source: celery/app/amqp.py, as_task_v2; Celery message protocol 2.
 */
export function encodeTask(draft: TaskDraft, registry: SerializerRegistry, now: number = Date.now()): Message {
  const { id, task, args, kwargs, eta, expires, timeLimit, serializer = 'json', compression } = draft;
  if (!isTaskName(task))
    throw new ConfigError(`${show(task)} is no task name. Expected 1 to 255 characters without spaces.`);
  if (!isTaskId(id)) {
    throw new ConfigError(`${show(id)} is no task id. Expected 1 to 255 printable characters.`, { facts: { task } });
  }
  if (NO_TASK_SERIALIZERS.has(serializer)) {
    throw new ConfigError(`The serializer "${serializer}" cannot carry a task. Expected json, yaml or msgpack.`, {
      facts: { task },
    });
  }
  const encoded = encodeBody(draft, args, kwargs, serializer, registry);
  const packed = compression === undefined ? undefined : registry.compress(compression, encoded.body);
  const headers: Record<string, unknown> = {
    // Python never reads it; it tells people who sent the message.
    lang: 'js',
    task,
    id,
    shadow: draft.shadow ?? null,
    eta: eta === undefined ? null : formatTime(eta),
    expires: expires === undefined ? null : formatTime(expires),
    group: draft.group ?? null,
    group_index: draft.groupIndex ?? null,
    retries: draft.retries ?? 0,
    timelimit: [timeLimit?.[0] ?? null, timeLimit?.[1] ?? null],
    root_id: draft.rootId ?? id,
    parent_id: draft.parentId ?? null,
    argsrepr: draft.argsrepr ?? reprArgs(args),
    kwargsrepr: draft.kwargsrepr ?? reprKwargs(kwargs),
    origin: draft.origin,
    ignore_result: draft.ignoreResult ?? null,
    replaced_task_nesting: draft.replacedTaskNesting ?? 0,
    stamped_headers: draft.stampedHeaders ?? null,
    stamps: draft.stamps ?? NO_STAMPS,
  };
  if (draft.headers !== undefined) addHeaders(headers, draft.headers);
  if (packed !== undefined) headers['compression'] = packed.contentType;
  return {
    body: packed === undefined ? encoded.body : packed.body,
    contentType: encoded.contentType,
    contentEncoding: encoded.contentEncoding,
    headers,
    properties: propertiesOf(draft, now),
  };
}

function encodeBody(
  { callbacks, errbacks, chain, chord, task, id }: TaskDraft,
  args: readonly unknown[],
  kwargs: Readonly<Record<string, unknown>>,
  serializer: string,
  registry: SerializerRegistry,
): ReturnType<SerializerRegistry['encode']> {
  const embed: Embed =
    chord === undefined && isEmpty(callbacks) && isEmpty(errbacks) && isEmpty(chain)
      ? NO_EMBED
      : {
          callbacks: unlessEmpty(callbacks),
          errbacks: unlessEmpty(errbacks),
          chain: unlessEmpty(chain),
          chord: chord ?? null,
        };
  try {
    if (serializer === 'json' && registry.hasOwnJson) {
      const body = encodeAlong(args, kwargs, embed, registry.limits.maxDepth);
      if (body !== undefined) return { body, contentType: 'application/json', contentEncoding: 'utf-8' };
    }
    return registry.encode(serializer, [args, kwargs, embed]);
  } catch (error) {
    throw isLovageError(error, 'ERR_ENCODE') ? namedPath(error, task, id) : error;
  }
}

function isEmpty(list: readonly unknown[] | undefined): boolean {
  return list === undefined || list.length === 0;
}

function unlessEmpty<T>(list: readonly T[] | undefined): readonly T[] | null {
  return list === undefined || list.length === 0 ? null : list;
}

const BODY_PARTS = ['args', 'kwargs', 'embed'];

/** The place in the body as the caller knows it: `args[0].when`, not `[0][0].when`. */
function namedPath(error: Error & { path?: unknown }, task: string, taskId: string): Error {
  const path = error.path as readonly (string | number)[] | undefined;
  if (path === undefined || typeof path[0] !== 'number') return error;
  const named = [BODY_PARTS[path[0]] as string, ...path.slice(1)];
  return new EncodeError(error.message.replace(describePath(path), describePath(named)), {
    facts: { path: named, task, taskId },
    ...(error.cause === undefined ? {} : { cause: error.cause }),
  });
}

function propertiesOf(
  { id, correlationId, replyTo, priority, deliveryMode, expires }: TaskDraft,
  now: number,
): MessageProperties {
  const common = {
    correlationId: correlationId ?? id,
    replyTo: replyTo ?? '',
    deliveryMode: deliveryMode === 1 || deliveryMode === 'transient' ? (1 as const) : (2 as const),
    priority: priority ?? 0,
  };
  return expires === undefined ? common : { ...common, expiration: String(Math.max(0, Math.trunc(expires - now))) };
}

const isText = (value: unknown): boolean => value === null || typeof value === 'string';
const isCount = (value: unknown): boolean => Number.isInteger(value) && (value as number) >= 0;
const isSeconds = (value: unknown): boolean =>
  value === null || (typeof value === 'number' && value > 0 && Number.isFinite(value));

/** What a header of the protocol must be when the caller replaces it; others may not be replaced. */
const REPLACEABLE: ReadonlyMap<string, (value: unknown) => boolean> = new Map([
  ['lang', isText],
  ['shadow', isText],
  ['eta', isText],
  ['expires', isText],
  ['group', isText],
  ['group_index', (value) => value === null || isCount(value)],
  ['retries', isCount],
  ['timelimit', (value) => Array.isArray(value) && value.length === 2 && value.every(isSeconds)],
  ['root_id', isText],
  ['parent_id', isText],
  ['argsrepr', isText],
  ['kwargsrepr', isText],
  ['origin', isText],
  ['ignore_result', (value) => value === null || typeof value === 'boolean'],
  ['replaced_task_nesting', isCount],
  [
    'stamped_headers',
    (value) => value === null || (Array.isArray(value) && value.every((name) => typeof name === 'string')),
  ],
  ['stamps', (value) => typeof value === 'object' && value !== null && !Array.isArray(value)],
]);
const OWN_HEADERS: ReadonlySet<string> = new Set(['task', 'id', 'compression']);

function addHeaders(headers: Record<string, unknown>, own: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(own)) {
    if (name === '__proto__' || value === undefined) continue;
    if (OWN_HEADERS.has(name))
      throw new ConfigError(`The header "${name}" belongs to the protocol. Choose another name.`);
    const isRight = REPLACEABLE.get(name);
    if (isRight !== undefined && !isRight(value)) {
      throw new ConfigError(
        `The header "${name}" belongs to the protocol, and ${show(value)} is no value that it can have.`,
      );
    }
    headers[name] = value;
  }
}

function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}...` : value);
  return typeof value === 'object' && value !== null ? 'an object' : String(value);
}
