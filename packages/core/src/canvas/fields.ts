import {
  fromSignatureOptions,
  toSignatureDict,
  toSignatureOptions,
  type ApplyOptions,
  type SignatureLike,
} from '../app/option-names.ts';
import type { SignatureDict } from './signature-dict.ts';

export type Kwargs = Readonly<Record<string, unknown>>;

/**
 * What a signature says. The canvas works on these: a chain or a group keeps its parts in `kwargs.tasks`, a chord in
 * `kwargs.header` and `kwargs.body`, all of them fields again. What is inside `options` is as it travels.
 */
export interface SignatureFields {
  readonly task: string;
  readonly args: readonly unknown[];
  readonly kwargs: Kwargs;
  readonly options: ApplyOptions;
  readonly immutable: boolean;
  readonly subtaskType?: SignatureDict['subtask_type'];
}

export const isChain = (fields: SignatureFields): boolean => fields.subtaskType === 'chain';
export const isGroup = (fields: SignatureFields): boolean => fields.subtaskType === 'group';
export const isChord = (fields: SignatureFields): boolean => fields.subtaskType === 'chord';

/** The parts of a chain or a group, or the header of a chord. */
export function partsOf({ kwargs, subtaskType }: SignatureFields): readonly SignatureFields[] {
  const parts = (subtaskType === 'chord' ? kwargs['header'] : kwargs['tasks']) as
    | readonly SignatureFields[]
    | SignatureFields
    | undefined;
  if (parts === undefined) return [];
  return Array.isArray(parts) ? (parts as readonly SignatureFields[]) : partsOf(parts as SignatureFields);
}

/** The body of a chord. */
export function bodyOf({ kwargs }: SignatureFields): SignatureFields {
  return kwargs['body'] as SignatureFields;
}

const PLAIN = { args: [], immutable: false } as const;

export function chainOf(tasks: readonly SignatureFields[], options: ApplyOptions = {}): SignatureFields {
  return { ...PLAIN, task: 'celery.chain', kwargs: { tasks }, options, subtaskType: 'chain' };
}

export function groupOf(tasks: readonly SignatureFields[], options: ApplyOptions = {}): SignatureFields {
  return { ...PLAIN, task: 'celery.group', kwargs: { tasks }, options, subtaskType: 'group' };
}

export function chordOf(
  header: readonly SignatureFields[] | SignatureFields,
  body: SignatureFields,
  options: ApplyOptions = {},
): SignatureFields {
  return { ...PLAIN, task: 'celery.chord', kwargs: { kwargs: {}, header, body }, options, subtaskType: 'chord' };
}

/** Reads a signature as it travels; unknown options are kept. Source: celery/canvas.py, from_dict of each class. */
export function readFields(dict: SignatureDict): SignatureFields {
  const subtaskType = dict.subtask_type ?? null;
  const kwargs = dict.kwargs ?? {};
  return {
    task: dict.task,
    args: dict.args ?? [],
    kwargs: readKwargs(kwargs, subtaskType),
    options: fromSignatureOptions(dict.options ?? {}),
    immutable: dict.immutable ?? false,
    subtaskType,
  };
}

function readKwargs(kwargs: Kwargs, subtaskType: SignatureDict['subtask_type']): Kwargs {
  if (subtaskType === 'chain' || subtaskType === 'group') return { ...kwargs, tasks: readAll(kwargs['tasks']) };
  if (subtaskType !== 'chord') return kwargs;
  const { header, body } = kwargs;
  return {
    ...kwargs,
    header: Array.isArray(header) ? readAll(header) : readFields(header as SignatureDict),
    body: readFields(body as SignatureDict),
  };
}

function readAll(dicts: unknown): readonly SignatureFields[] {
  return Array.isArray(dicts) ? dicts.map((dict) => readFields(dict as SignatureDict)) : [];
}

/** As it travels. Source: celery message protocol, signatures. */
export function writeFields(fields: SignatureFields): SignatureDict {
  return {
    task: fields.task,
    args: fields.args,
    kwargs: writeKwargs(fields),
    options: toSignatureOptions(fields.options),
    subtask_type: fields.subtaskType ?? null,
    immutable: fields.immutable,
  };
}

function writeKwargs(fields: SignatureFields): Kwargs {
  const { kwargs } = fields;
  if (isChain(fields) || isGroup(fields)) return { ...kwargs, tasks: partsOf(fields).map(writeFields) };
  if (!isChord(fields)) return kwargs;
  const header = kwargs['header'] as readonly SignatureFields[] | SignatureFields;
  return {
    ...kwargs,
    header: Array.isArray(header) ? header.map(writeFields) : writeFields(header as SignatureFields),
    body: writeFields(bodyOf(fields)),
  };
}

/** Options that a stored signature keeps against those of the call. Source: celery/canvas.py, Signature._merge. */
const KEPT_OPTIONS = ['groupId', 'stampedHeaders', 'stamps'] as const;

/** Options of a call over stored ones; null and undefined count as not given. */
export function mergeOptions(stored: ApplyOptions, given: ApplyOptions): ApplyOptions {
  const merged: Record<string, unknown> = { ...stored };
  for (const name in given) {
    const value = (given as Record<string, unknown>)[name];
    if (value !== undefined && value !== null) merged[name] = value;
  }
  // They say the same thing: the later one takes the place of the earlier one.
  if (given.countdown != null && given.eta == null) delete merged['eta'];
  if (given.eta != null && given.countdown == null) delete merged['countdown'];
  for (const key of KEPT_OPTIONS) if (stored[key] !== undefined) merged[key] = stored[key];
  return merged as ApplyOptions;
}

/** With these arguments put before, keyword arguments and options put over its own. */
export function mergeFields<F extends SignatureFields>(
  fields: F,
  args: readonly unknown[] = [],
  kwargs: Kwargs = {},
  options: ApplyOptions = {},
): SignatureFields {
  return {
    task: fields.task,
    args: fields.immutable || args.length === 0 ? fields.args : [...args, ...fields.args],
    kwargs: fields.immutable || isEmpty(kwargs) ? fields.kwargs : { ...fields.kwargs, ...kwargs },
    options: isEmpty(options) ? fields.options : mergeOptions(fields.options, options),
    immutable: fields.immutable,
    subtaskType: fields.subtaskType ?? null,
  };
}

function isEmpty(value: object): boolean {
  for (const _ in value) return false;
  return true;
}

export function withOptions(fields: SignatureFields, options: ApplyOptions): SignatureFields {
  return { ...copyOf(fields), options: { ...fields.options, ...options } };
}

/** The fields alone: what is spread of a `Signature` would bring its app along. */
export function copyOf({
  task,
  args,
  kwargs,
  options,
  immutable,
  subtaskType = null,
}: SignatureFields): SignatureFields {
  return { task, args, kwargs, options, immutable, subtaskType };
}

export function asList<T>(value: T | readonly T[] | undefined): readonly T[] {
  return value === undefined ? [] : Array.isArray(value) ? (value as readonly T[]) : [value as T];
}

function immutableDict(signature: SignatureLike): SignatureDict {
  return { ...toSignatureDict(signature), immutable: true };
}

/**
 * With one more callback. A group's goes to its first part, a chord's to its body.
 * Source: celery/canvas.py, link of each class.
 */
export function withLink(fields: SignatureFields, callback: SignatureLike): SignatureFields {
  if (isGroup(fields)) {
    const [first, ...others] = partsOf(fields);
    if (first === undefined) return fields;
    return withParts(fields, [withLink(first, immutableDict(callback)), ...others]);
  }
  if (isChord(fields)) return withBody(fields, withLink(bodyOf(fields), callback));
  return withOptions(fields, { link: [...asList(fields.options.link), callback] });
}

/**
 * With one more errback. Every part of a group gets it, of a chord the body, and the header where
 * `headerToo` (`taskAllowErrorCbOnChordHeader`) or where a part is a chord itself.
 */
export function withErrback(fields: SignatureFields, errback: SignatureLike, headerToo = false): SignatureFields {
  if (isGroup(fields)) {
    return withParts(
      fields,
      partsOf(fields).map((part) => withErrback(part, errback, headerToo)),
    );
  }
  if (isChord(fields)) {
    const parts = partsOf(fields).map((part) => {
      const own = headerToo ? withErrback(part, errback, headerToo) : part;
      return isChord(part) ? withErrback(own, errback, headerToo) : own;
    });
    return withBody(withParts(fields, parts), withErrback(bodyOf(fields), errback, headerToo));
  }
  return withOptions(fields, { linkError: [...asList(fields.options.linkError), errback] });
}

export function withParts(fields: SignatureFields, parts: readonly SignatureFields[]): SignatureFields {
  if (!isChord(fields)) return { ...copyOf(fields), kwargs: { ...fields.kwargs, tasks: parts } };
  const header = fields.kwargs['header'] as readonly SignatureFields[] | SignatureFields;
  return {
    ...copyOf(fields),
    kwargs: { ...fields.kwargs, header: Array.isArray(header) ? parts : withParts(header as SignatureFields, parts) },
  };
}

export function withBody(fields: SignatureFields, body: SignatureFields): SignatureFields {
  return { ...copyOf(fields), kwargs: { ...fields.kwargs, body } };
}
