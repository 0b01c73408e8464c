import type { SignatureDict } from '../canvas/signature-dict.ts';
import { InvalidMessageError } from '../errors.ts';
import type { SerializationLimits } from '../serialization/registry.ts';
import type { Message, MessageHeaders } from '../transport/message.ts';
import { isTaskId, isTaskName } from './names.ts';
import { markReceived } from './passed-on.ts';
import type { TaskBody, TaskRequest } from './task-message.ts';
import { FIRST_INSTANT_MS, LAST_INSTANT_MS, parseTime } from './time.ts';

export type Fields = Readonly<Record<string, unknown>>;

/** Headers that the protocol knows; others are the caller's own. */
const KNOWN_HEADERS: ReadonlySet<string> = new Set([
  'lang',
  'task',
  'id',
  'shadow',
  'eta',
  'expires',
  'group',
  'group_index',
  'retries',
  'timelimit',
  'root_id',
  'parent_id',
  'argsrepr',
  'kwargsrepr',
  'origin',
  'ignore_result',
  'replaced_task_nesting',
  'stamped_headers',
  'stamps',
  'compression',
  'meth',
  'redelivered',
  '__proto__',
]);

/** Attempts are counted in 32 bits on AMQP; nobody makes as many. */
const MAX_COUNT = 2 ** 31 - 1;
const NO_HEADERS: MessageHeaders = Object.freeze(Object.create(null) as Fields);
const NO_STAMPS: Fields = Object.freeze({});
const NO_LIMIT: readonly [undefined, undefined] = Object.freeze([undefined, undefined] as const);

/**
 * A request from the fields of protocol 2's headers, or of protocol 1's body, whose names are the same. Fields other
 * than the name and the id may be absent or null. Throws `InvalidMessageError`.
 */
export function readRequest(fields: Fields, message: Message): TaskRequest {
  const { task, id } = fields;
  if (!isTaskName(task)) {
    throw new InvalidMessageError(
      `The message names no task: its "task" is ${show(task)}. Expected 1 to 255 characters without spaces.`,
    );
  }
  if (!isTaskId(id)) {
    throw new InvalidMessageError(
      `The message for ${task} has the id ${show(id)}. Expected 1 to 255 printable characters.`,
      { facts: { task } },
    );
  }
  const { correlationId, replyTo, priority } = message.properties;
  return {
    id,
    task,
    shadow: text(fields, 'shadow'),
    eta: instant(fields, 'eta'),
    expires: instant(fields, 'expires'),
    group: reference(fields, 'group'),
    groupIndex: count(fields, 'group_index'),
    retries: count(fields, 'retries') ?? 0,
    timeLimit: timeLimit(fields['timelimit']),
    rootId: reference(fields, 'root_id') ?? id,
    parentId: reference(fields, 'parent_id'),
    argsrepr: text(fields, 'argsrepr') ?? '',
    kwargsrepr: text(fields, 'kwargsrepr') ?? '',
    origin: text(fields, 'origin'),
    ignoreResult: flag(fields, 'ignore_result'),
    replacedTaskNesting: count(fields, 'replaced_task_nesting') ?? 0,
    stampedHeaders: names(fields, 'stamped_headers'),
    stamps: record(fields, 'stamps') ?? NO_STAMPS,
    replyTo: replyTo === '' ? undefined : replyTo,
    correlationId: correlationId === '' ? undefined : correlationId,
    priority,
    headers: ownHeaders(message.headers),
  };
}

function ownHeaders(headers: MessageHeaders): MessageHeaders {
  let own: Record<string, unknown> | undefined;
  for (const name in headers) {
    if (KNOWN_HEADERS.has(name)) continue;
    own ??= Object.create(null) as Record<string, unknown>;
    own[name] = headers[name];
  }
  return own ?? NO_HEADERS;
}

function text(fields: Fields, name: string): string | undefined {
  const value = fields[name];
  if (value === null || value === undefined) return undefined;
  if (typeof value !== 'string') throw wrong(name, value, 'text or null');
  return value;
}

/** An id of another message, or of a group. Empty counts as none. */
function reference(fields: Fields, name: string): string | undefined {
  const value = fields[name];
  if (value === null || value === undefined || value === '') return undefined;
  if (!isTaskId(value)) throw wrong(name, value, '1 to 255 printable characters, or null');
  return value;
}

function count(fields: Fields, name: string): number | undefined {
  const value = fields[name];
  if (value === null || value === undefined) return undefined;
  if (!Number.isInteger(value) || (value as number) < 0 || (value as number) > MAX_COUNT) {
    throw wrong(name, value, 'an integer from 0 up, or null');
  }
  return value as number;
}

function flag(fields: Fields, name: string): boolean | undefined {
  const value = fields[name];
  if (value === null || value === undefined) return undefined;
  if (typeof value !== 'boolean' && value !== 0 && value !== 1) throw wrong(name, value, 'true, false or null');
  return Boolean(value);
}

function names(fields: Fields, name: string): readonly string[] | undefined {
  const value = fields[name];
  if (value === null || value === undefined) return undefined;
  if (!Array.isArray(value) || !value.every((item) => typeof item === 'string'))
    throw wrong(name, value, 'a list of names, or null');
  return value as string[];
}

function record(fields: Fields, name: string): Fields | undefined {
  const value = fields[name];
  if (value === null || value === undefined) return undefined;
  if (typeof value !== 'object' || Array.isArray(value)) throw wrong(name, value, 'an object, or null');
  return value as Fields;
}

function instant(fields: Fields, name: string): number | undefined {
  const value = fields[name];
  // Celery tests it for truth.
  if (value === null || value === undefined || value === '') return undefined;
  // An AMQP table has a type for it.
  if (value instanceof Date && !Number.isNaN(value.getTime())) return value.getTime();
  const time = typeof value === 'string' ? parseTime(value) : undefined;
  if (time === undefined) throw wrong(name, value, 'ISO 8601 text in the years 1 to 9999, or null');
  // An offset can lead out of the years that can be written again.
  return Math.min(LAST_INSTANT_MS, Math.max(FIRST_INSTANT_MS, time));
}

function timeLimit(value: unknown): readonly [number | undefined, number | undefined] {
  if (value === null || value === undefined) return NO_LIMIT;
  if (!Array.isArray(value) || value.length !== 2) throw wrong('timelimit', value, '[hard, soft] in seconds, or null');
  const [hard, soft] = value as [unknown, unknown];
  return hard === null && soft === null ? NO_LIMIT : [seconds(hard), seconds(soft)];
}

function seconds(value: unknown): number | undefined {
  // Celery tests it for truth: zero is no limit.
  if (value === null || value === undefined || value === 0) return undefined;
  if (typeof value !== 'number' || !(value > 0) || !Number.isFinite(value)) {
    throw wrong('timelimit', value, 'seconds above 0, or null');
  }
  return value;
}

const NO_SIGNATURES: readonly SignatureDict[] = Object.freeze([]);
const NO_EMBED: Fields = Object.freeze({});

/** Protocol 2's body: `[args, kwargs, embed]`. Throws `InvalidMessageError`. */
export function readBody(body: unknown, limits: SerializationLimits): TaskBody {
  if (!Array.isArray(body) || body.length !== 3) {
    throw new InvalidMessageError(`The body of the message is ${show(body)}. Expected [args, kwargs, embed].`);
  }
  const [args, kwargs, embed] = body as [unknown, unknown, unknown];
  return assembleBody(args, kwargs, embed, limits);
}

/** A body from its parts, whichever protocol named them. Throws `InvalidMessageError`. */
export function assembleBody(args: unknown, kwargs: unknown, embed: unknown, limits: SerializationLimits): TaskBody {
  if (!Array.isArray(args)) throw wrong('args', args, 'a list');
  if (typeof kwargs !== 'object' || kwargs === null || Array.isArray(kwargs))
    throw wrong('kwargs', kwargs, 'an object');
  if (embed !== null && embed !== undefined && (typeof embed !== 'object' || Array.isArray(embed))) {
    throw wrong('embed', embed, 'an object, or null');
  }
  const { callbacks, errbacks, chain, chord } = (embed ?? NO_EMBED) as Fields;
  const hasLinks =
    (callbacks ?? errbacks ?? chain ?? chord) !== null && (callbacks ?? errbacks ?? chain ?? chord) !== undefined;
  if (!hasLinks) {
    return {
      args,
      kwargs: kwargs as Fields,
      callbacks: NO_SIGNATURES,
      errbacks: NO_SIGNATURES,
      chain: NO_SIGNATURES,
      chord: undefined,
    };
  }
  const reader = new SignatureReader(limits);
  return {
    args,
    kwargs: kwargs as Fields,
    callbacks: reader.list(callbacks, 'callbacks', 0),
    errbacks: reader.list(errbacks, 'errbacks', 0),
    chain: reader.chain(chain),
    chord: chord === null || chord === undefined ? undefined : reader.one(chord, 'chord', 0),
  };
}

/** Checks signatures and counts them, those inside others too: a message must not make a worker publish without end. */
class SignatureReader {
  readonly #limits: SerializationLimits;
  #count = 0;

  constructor(limits: SerializationLimits) {
    this.#limits = limits;
  }

  list(value: unknown, what: string, depth: number): readonly SignatureDict[] {
    if (value === null || value === undefined) return NO_SIGNATURES;
    if (!Array.isArray(value)) throw wrong(what, value, 'a list of signatures, or null');
    return value.map((item) => this.one(item, what, depth));
  }

  chain(value: unknown): readonly SignatureDict[] {
    const chain = this.list(value, 'chain', 0);
    markReceived(chain);
    return chain;
  }

  one(value: unknown, what: string, depth: number): SignatureDict {
    const { maxSignatures, maxSignatureDepth } = this.#limits;
    if (++this.#count > maxSignatures) {
      throw new InvalidMessageError(`The message carries more than ${maxSignatures} signatures.`);
    }
    if (depth > maxSignatureDepth) {
      throw new InvalidMessageError(
        `The signatures of the message are nested deeper than ${maxSignatureDepth} levels.`,
      );
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(what, value, 'signatures');
    const given = value as Fields;
    const { task, args, kwargs, options } = given;
    if (typeof task !== 'string' || task === '') throw wrong(what, value, 'signatures with the name of a task');
    if (!(args === undefined || args === null || Array.isArray(args)) || !isRecord(kwargs) || !isRecord(options)) {
      throw wrong(what, value, 'signatures with a list of args, and objects of kwargs and options');
    }
    this.#inner((kwargs ?? {}) as Fields, (options ?? {}) as Fields, what, depth + 1);
    const isWhole =
      args && kwargs && options && given['subtask_type'] !== undefined && typeof given['immutable'] === 'boolean';
    return (isWhole ? given : completed(given)) as unknown as SignatureDict;
  }

  /** The signatures that a canvas, or the options of any, hold. */
  #inner({ tasks, header, body }: Fields, options: Fields, what: string, depth: number): void {
    for (const part of [
      tasks,
      header,
      body,
      options['link'],
      options['link_error'],
      options['chain'],
      options['chord'],
    ]) {
      for (const item of Array.isArray(part) ? (part as unknown[]) : [part]) {
        // Arguments of a plain task may have these names: what has no task is no signature.
        if (typeof item === 'object' && item !== null && typeof (item as Fields)['task'] === 'string')
          this.one(item, what, depth);
      }
    }
  }
}

function isRecord(value: unknown): boolean {
  return value === undefined || value === null || (typeof value === 'object' && !Array.isArray(value));
}

function completed(given: Fields): Fields {
  return {
    ...given,
    args: given['args'] ?? [],
    kwargs: given['kwargs'] ?? {},
    options: given['options'] ?? {},
    subtask_type: given['subtask_type'] ?? null,
    immutable: given['immutable'] === true,
  };
}

function wrong(name: string, value: unknown, expected: string): Error {
  return new InvalidMessageError(`The message has ${name} ${show(value)}. Expected ${expected}.`);
}

function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}...` : value);
  if (Array.isArray(value)) return `a list of ${value.length}`;
  return typeof value === 'object' && value !== null ? 'an object' : String(value);
}
