import { toSignatureDict, type ApplyOptions } from '../app/option-names.ts';
import {
  asList,
  bodyOf,
  isChain,
  isChord,
  isGroup,
  partsOf,
  withBody,
  withErrback,
  withLink,
  withOptions,
  withParts,
  type SignatureFields,
} from './fields.ts';
import { pipe } from './pipe.ts';

/**
 * What runs in place of a task: the signature given, with the task's callbacks and errbacks, followed by what was left
 * of its chain. A group gets a body that gathers its results. Source: celery/app/task.py, Task.replace.
 */
export function accumulated(
  given: SignatureFields,
  {
    link,
    linkError,
    chain,
    replyTo,
    replacedTaskNesting,
  }: {
    readonly [K in 'link' | 'linkError' | 'chain' | 'replyTo' | 'replacedTaskNesting']?: ApplyOptions[K] | undefined;
  },
): SignatureFields {
  let fields = isGroup(given)
    ? pipe(given, {
        task: 'celery.accumulate',
        args: [],
        kwargs: { index: 0 },
        options: {},
        immutable: false,
        subtaskType: null,
      })
    : given;
  for (const callback of asList(link)) fields = withLink(fields, callback);
  for (const errback of asList(linkError)) fields = withErrback(fields, errback);
  if (replacedTaskNesting !== undefined) {
    fields = withOptions(fields, { replacedTaskNesting });
    if (isChain(fields)) {
      fields = withParts(
        fields,
        partsOf(fields).map((part) => withOptions(part, { replacedTaskNesting })),
      );
    }
  }
  if (replyTo !== undefined) fields = answeringTo(fields, replyTo);
  if (chain === undefined || chain.length === 0) return fields;
  const rest = chain.map((step) => {
    const dict = toSignatureDict(step);
    return replacedTaskNesting === undefined
      ? dict
      : { ...dict, options: { ...dict.options, replaced_task_nesting: replacedTaskNesting } };
  });
  return withOptions(fields, { chain: rest });
}

/** The last of it answers whoever waits for the task that it stands for. */
function answeringTo(fields: SignatureFields, replyTo: string): SignatureFields {
  if (isChord(fields)) return withBody(fields, answeringTo(bodyOf(fields), replyTo));
  if (!isChain(fields)) return withOptions(fields, { replyTo });
  const parts = partsOf(fields);
  return withParts(
    fields,
    parts.map((part, index) => (index === parts.length - 1 ? answeringTo(part, replyTo) : part)),
  );
}
