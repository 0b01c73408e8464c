import { toSignatureDict, type ApplyOptions, type SignatureLike } from '../app/option-names.ts';
import { newTaskId } from '../internal/ids.ts';
import {
  bodyOf,
  chordOf,
  copyOf,
  groupOf,
  isChain,
  isChord,
  isGroup,
  mergeFields,
  partsOf,
  withErrback,
  withLink,
  withOptions,
  writeFields,
  type Kwargs,
  type SignatureFields,
} from './fields.ts';
import type { SignatureDict } from './signature-dict.ts';

/** Where the result of a frozen signature will be found: `children` for a group. */
export interface ResultNode {
  readonly id: string;
  parent: ResultNode | undefined;
  readonly children: readonly ResultNode[] | undefined;
}

export interface Frozen {
  readonly fields: SignatureFields;
  readonly result: ResultNode;
}

export interface FreezeOptions {
  /** For what has no id yet. */
  readonly taskId?: string | undefined;
  readonly groupId?: string | undefined;
  readonly groupIndex?: number | undefined;
  /** The body that waits for this part. */
  readonly chord?: SignatureDict | undefined;
  readonly rootId?: string | undefined;
  readonly parentId?: string | undefined;
  /** This process's reply address. */
  readonly replyTo: string;
  readonly errbackOnHeader: boolean;
}

/**
 * Gives a signature, and all that is in it, the ids under which they will run. Ids that are there are kept.
 * Source: celery/canvas.py, freeze of each class.
 */
export function freeze(fields: SignatureFields, given: FreezeOptions): Frozen {
  if (isChain(fields)) return freezeChain(fields, given);
  if (isGroup(fields)) return freezeGroup(fields, given);
  if (isChord(fields)) return freezeChord(fields, given);
  const { options } = fields;
  const frozen: Record<string, unknown> = { ...options };
  const taskId = options.taskId ?? given.taskId ?? newTaskId();
  frozen['taskId'] = taskId;
  frozen['replyTo'] = options.replyTo ?? given.replyTo;
  if (given.rootId !== undefined) frozen['rootId'] = given.rootId;
  if (given.parentId !== undefined) frozen['parentId'] = given.parentId;
  if (given.groupId !== undefined && options.groupId === undefined) frozen['groupId'] = given.groupId;
  if (given.chord !== undefined) frozen['chord'] = given.chord;
  if (given.groupIndex !== undefined) frozen['groupIndex'] = given.groupIndex;
  return {
    fields: { ...copyOf(fields), options: frozen as ApplyOptions },
    result: { id: taskId, parent: undefined, children: undefined },
  };
}

function freezeChain(fields: SignatureFields, given: FreezeOptions): Frozen {
  const { steps, results } = freezeSteps(partsOf(fields), fields.args, {}, given);
  const last = results[0];
  const options = given.taskId === undefined ? fields.options : { ...fields.options, taskId: given.taskId };
  return {
    fields: { ...copyOf(fields), args: [], kwargs: { ...fields.kwargs, tasks: steps.toReversed() }, options },
    // Only what runs has a result; an empty chain is refused when it is sent.
    result: last ?? { id: given.taskId ?? newTaskId(), parent: undefined, children: undefined },
  };
}

export interface StepOptions extends FreezeOptions {
  /** For the last step. */
  readonly links?: readonly SignatureLike[];
  /** For every step. */
  readonly errbacks?: readonly SignatureLike[];
}

/**
 * Freezes the steps of a chain; both lists go from the last to the first. A group that a step follows becomes a chord
 * with that step as its body. Source: celery/canvas.py, _chain.prepare_steps.
 */
export function freezeSteps(
  tasks: readonly SignatureFields[],
  args: readonly unknown[],
  kwargs: Kwargs,
  { links = [], errbacks = [], taskId, groupId, groupIndex, chord, ...common }: StepOptions,
): { readonly steps: SignatureFields[]; readonly results: ResultNode[] } {
  const left = [...tasks];
  const steps: SignatureFields[] = [];
  const results: ResultNode[] = [];
  let next: Frozen | undefined;
  let isLast = true;
  while (left.length > 0) {
    let task = left.pop() as SignatureFields;
    if (isChain(task)) {
      left.push(...partsOf(task));
      continue;
    }
    if (left.length === 0) task = mergeFields(task, args, kwargs);
    if (isLast) for (const callback of links) task = withLink(task, callback);
    if (isGroup(task) && next !== undefined) {
      steps.pop();
      results.pop();
      const id = next.result.children === undefined ? { taskId: next.result.id } : {};
      task = chordOf(partsOf(task), next.fields, id);
      const [before, result] = [steps.at(-1), results.at(-1)];
      next = before === undefined || result === undefined ? undefined : { fields: before, result };
    } else {
      for (const errback of errbacks) task = withErrback(task, errback, common.errbackOnHeader);
    }
    const { parentId: _, ...own } = common;
    const frozen = freeze(task, isLast ? { ...own, taskId, groupId, groupIndex, chord } : own);
    isLast = false;
    if (next !== undefined) next.result.parent ??= frozen.result;
    steps.push(frozen.fields);
    results.push(frozen.result);
    next = isChord(task) ? { fields: frozen.fields, result: rootOf(frozen.result) } : frozen;
  }
  return { steps, results };
}

/** The first result of a line of parents. */
export function rootOf(result: ResultNode): ResultNode {
  let root = result;
  while (root.parent !== undefined) root = root.parent;
  return root;
}

/** The parts of groups within a group come out in reverse. Source: celery/canvas.py, group._freeze_unroll. */
function unrolled(tasks: readonly SignatureFields[]): readonly SignatureFields[] {
  if (!tasks.some(isGroup)) return tasks;
  return tasks.flatMap((task) => (isGroup(task) ? unrolled(partsOf(task).toReversed()) : [task]));
}

function freezeGroup(fields: SignatureFields, given: FreezeOptions): Frozen {
  const { groupId, groupIndex, chord, rootId, parentId, replyTo, errbackOnHeader } = given;
  const { options } = fields;
  const id = options.taskId ?? groupId ?? newTaskId();
  const root = options.rootId ?? rootId;
  const parent = options.parentId ?? parentId;
  const parts = unrolled(partsOf(fields)).map((task, index) =>
    freeze(task, { groupId, chord, rootId: root, parentId: parent, groupIndex: index, replyTo, errbackOnHeader }),
  );
  return {
    fields: {
      ...copyOf(fields),
      kwargs: { ...fields.kwargs, tasks: parts.map((part) => part.fields) },
      options: {
        ...options,
        taskId: id,
        ...(groupId === undefined ? {} : { groupId }),
        ...(chord === undefined ? {} : { chord }),
        ...(groupIndex === undefined ? {} : { groupIndex }),
        ...(root === undefined ? {} : { rootId: root }),
        ...(parent === undefined ? {} : { parentId: parent }),
      },
    },
    result: { id, parent: undefined, children: parts.map(({ result }) => result) },
  };
}

function freezeChord(fields: SignatureFields, given: FreezeOptions): Frozen {
  const { parentId, rootId, replyTo, errbackOnHeader } = given;
  const header = headerOf(fields);
  const body = freeze(bodyOf(fields), { ...given, parentId: undefined });
  const chord = writeFields(body.fields);
  const frozen = freezeGroup(header, { parentId, rootId, chord, replyTo, errbackOnHeader });
  rootOf(body.result).parent = frozen.result;
  const id = frozen.fields.options.taskId as string;
  return {
    fields: withOptions(chordOf(frozen.fields, body.fields, fields.options), { taskId: id }),
    result: body.result,
  };
}

/** The header of a chord as a group. */
export function headerOf(fields: SignatureFields, options: ApplyOptions = {}): SignatureFields {
  const { header } = fields.kwargs;
  return Array.isArray(header) ? groupOf(partsOf(fields), options) : copyOf(header as SignatureFields);
}

/** How many results a part brings to its chord. Source: celery/canvas.py, _chord._descend. */
export function countOf(fields: SignatureFields): number {
  if (isGroup(fields)) return partsOf(fields).reduce((sum, part) => sum + countOf(part), 0);
  if (isChain(fields)) {
    const last = partsOf(fields).findLast((part) => countOf(part) > 0);
    return last === undefined ? 0 : countOf(last);
  }
  return isChord(fields) ? countOf(bodyOf(fields)) : 1;
}

/** A part that reports to no chord. */
export function withoutChord(fields: SignatureFields): SignatureFields {
  const { chord: _, ...options } = fields.options;
  return { ...copyOf(fields), options };
}

/** The dict of a signature that an option holds. */
export function optionDict(signature: SignatureLike | undefined): SignatureDict | undefined {
  return signature === undefined ? undefined : toSignatureDict(signature);
}
