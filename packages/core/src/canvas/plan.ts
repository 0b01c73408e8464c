import type { ApplyOptions } from '../app/option-names.ts';
import { ConfigError, TaskArgumentsError } from '../errors.ts';
import { newTaskId } from '../internal/ids.ts';
import {
  asList,
  bodyOf,
  groupOf,
  isChain,
  isChord,
  isGroup,
  mergeFields,
  mergeOptions,
  partsOf,
  writeFields,
  type Kwargs,
  type SignatureFields,
} from './fields.ts';
import { countOf, freeze, freezeSteps, headerOf, optionDict, rootOf, type Frozen, type ResultNode } from './freeze.ts';
import type { SignatureDict } from './signature-dict.ts';

/** One message to publish. */
export interface PlannedCall {
  readonly task: string;
  readonly args: readonly unknown[];
  readonly kwargs: Kwargs;
  readonly options: ApplyOptions;
}

/** A chord that the result store must know of before its header is published. */
export interface PlannedChord {
  readonly groupId: string;
  /** How many parts it waits for. */
  readonly size: number;
  readonly body: SignatureDict;
  /** Results of the header's parts. */
  readonly header: readonly ResultNode[];
}

/**
 * What applying a signature comes to: every message and every chord, all ids given. Nothing is sent while it is made,
 * so that the messages of a whole canvas go out together, and a mistake anywhere sends none of them.
 */
export class Plan {
  readonly calls: PlannedCall[] = [];
  readonly chords: PlannedChord[] = [];
  /** What the calling task notes as its children. */
  readonly trail: ResultNode[] = [];
  readonly #replyTo: string;
  readonly #errbackOnHeader: boolean;

  constructor(replyTo: string, errbackOnHeader: boolean) {
    this.#replyTo = replyTo;
    this.#errbackOnHeader = errbackOnHeader;
  }

  /** Source: celery/canvas.py, apply_async of each class. */
  add(
    fields: SignatureFields,
    args: readonly unknown[] = [],
    kwargs: Kwargs = {},
    options: ApplyOptions = {},
  ): ResultNode {
    if (isChain(fields)) return this.#chain(fields, args, kwargs, options);
    if (isGroup(fields)) return this.#group(fields, args, kwargs, options);
    if (isChord(fields)) return this.#chord(fields, args, kwargs, options);
    const call = mergeFields(fields, args, kwargs, options);
    const id = call.options.taskId ?? newTaskId();
    const routeName = call.options.routeName ?? mappedTask(call);
    this.calls.push({
      task: call.task,
      args: call.args,
      kwargs: call.kwargs,
      options: { ...call.options, taskId: id, ...(routeName === undefined ? {} : { routeName }) },
    });
    const result: ResultNode = { id, parent: undefined, children: undefined };
    if (options.addToParent !== false) this.trail.push(result);
    return result;
  }

  #freeze(
    fields: SignatureFields,
    ids: { taskId?: string; groupId?: string; groupIndex?: number; chord?: SignatureDict; rootId?: string | undefined },
  ): Frozen {
    return freeze(fields, { ...ids, replyTo: this.#replyTo, errbackOnHeader: this.#errbackOnHeader });
  }

  #chain(fields: SignatureFields, args: readonly unknown[], kwargs: Kwargs, options: ApplyOptions): ResultNode {
    const { taskId, groupId, groupIndex, chord, link, linkError, rootId, parentId, chain, ...rest } = {
      ...fields.options,
      ...options,
    };
    const { steps, results } = freezeSteps(partsOf(fields), withStored(fields, args), kwargs, {
      links: asList(link),
      errbacks: asList(linkError),
      taskId,
      groupId,
      groupIndex,
      chord: optionDict(chord),
      rootId,
      replyTo: this.#replyTo,
      errbackOnHeader: this.#errbackOnHeader,
    });
    const first = steps.pop();
    if (first === undefined) throw new ConfigError('A chain without steps cannot be sent. Give it at least one.');
    const followers = [...(chain ?? []), ...steps.map(writeFields)];
    const sent = this.add(
      first,
      [],
      {},
      {
        ...rest,
        ...(parentId === undefined ? {} : { parentId }),
        ...(followers.length === 0 ? {} : { chain: followers }),
      },
    );
    return steps.length === 0 ? sent : (results[0] as ResultNode);
  }

  #group(fields: SignatureFields, args: readonly unknown[], kwargs: Kwargs, given: ApplyOptions): ResultNode {
    if (given.link != null || given.linkError != null) {
      throw new ConfigError('A group has no callbacks of its own. Use a chord, or link its tasks.');
    }
    const { taskId, groupIndex: _, chord, ...options } = mergeOptions(fields.options, given);
    const groupId = taskId ?? newTaskId();
    const results: ResultNode[] = [];
    const inherited: ApplyOptions = { ...options, groupId, addToParent: false };
    for (const part of this.#prepared(partsOf(fields), groupId, options.rootId)) {
      const body = chord ?? part.fields.options.chord;
      this.add(part.fields, args, kwargs, body === undefined ? inherited : { ...inherited, chord: body });
      results.push(part.result);
    }
    const [only] = results;
    const result: ResultNode =
      results.length === 1 && only?.children !== undefined
        ? only
        : { id: groupId, parent: undefined, children: results };
    if (given.addToParent !== false) this.trail.push(result);
    return result;
  }

  /** Groups within a group are made part of it; each counts its own. Source: celery/canvas.py, group._prepared. */
  #prepared(tasks: readonly SignatureFields[], groupId: string, rootId: string | undefined): readonly Frozen[] {
    return tasks.flatMap((task, groupIndex) =>
      isGroup(task)
        ? this.#prepared(partsOf(task), groupId, rootId)
        : [this.#freeze(task, { groupId, rootId, groupIndex })],
    );
  }

  #chord(fields: SignatureFields, args: readonly unknown[], kwargs: Kwargs, given: ApplyOptions): ResultNode {
    const { taskId: storedId, ...stored } = fields.options;
    const { taskId: givenId, ...called } = given;
    const options = { ...stored, ...called };
    const { addToParent: _, ...forBody } = options;
    const clone = mergeFields(bodyOf(fields), [], {}, called);
    const header = headerOf(fields, { taskId: storedId ?? newTaskId() });
    const groupId = header.options.taskId ?? newTaskId();
    const { rootId } = clone.options;
    const body = this.#freeze(
      { ...clone, options: { ...clone.options, ...forBody } },
      { taskId: givenId ?? storedId ?? newTaskId(), groupId, rootId },
    );
    const parts = withStored(fields, args);
    if (partsOf(header).length === 0) {
      this.add(body.fields, [[]]);
      return body.result;
    }
    const chord = writeFields(body.fields);
    const frozen = this.#freeze(header, { groupId, chord, rootId });
    this.chords.push({
      groupId,
      size: countOf(frozen.fields),
      body: chord,
      header: frozen.result.children ?? [],
    });
    const { chain: __, chord: ___, ...forHeader } = options;
    const result = this.add(frozen.fields, parts, kwargs, { ...forHeader, taskId: groupId });
    rootOf(body.result).parent = result;
    return body.result;
  }
}

function withStored(fields: SignatureFields, args: readonly unknown[]): readonly unknown[] {
  return args.length > 0 && !fields.immutable ? [...args, ...fields.args] : fields.args;
}

/** `celery.map` and its like go where the task goes that they run. Source: celery/canvas.py, _basemap.apply_async. */
function mappedTask({ task, kwargs }: SignatureFields): string | undefined {
  if (task !== 'celery.map' && task !== 'celery.starmap' && task !== 'celery.chunks') return undefined;
  const inner = (kwargs['task'] as { task?: unknown } | undefined)?.task;
  return typeof inner === 'string' ? inner : undefined;
}

/**
 * The group of `celery.starmap` that chunks come to. Throws `TaskArgumentsError` when they cannot be made: the arguments
 * may come from a message. Source: celery/canvas.py, chunks.group.
 */
export function chunksAsGroup({ kwargs, options }: SignatureFields): SignatureFields {
  const { task, it, n } = kwargs;
  if (!Array.isArray(it)) {
    throw new TaskArgumentsError('celery.chunks: "it" is no list. Expected the argument lists to be divided.');
  }
  if (typeof n !== 'number' || !Number.isInteger(n) || n < 1) {
    throw new TaskArgumentsError(
      `celery.chunks: "n" is ${String(n)}. Expected how many a chunk holds, an integer from 1 up.`,
    );
  }
  const parts: SignatureFields[] = [];
  for (let from = 0; from < it.length; from += n) {
    parts.push({
      task: 'celery.starmap',
      args: [],
      kwargs: { task, it: it.slice(from, from + n) },
      options: {},
      immutable: true,
      subtaskType: null,
    });
  }
  return groupOf(parts, options);
}
