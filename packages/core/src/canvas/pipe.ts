import {
  asList,
  bodyOf,
  chainOf,
  chordOf,
  copyOf,
  isChain,
  isChord,
  isGroup,
  partsOf,
  withBody,
  withErrback,
  withLink,
  type SignatureFields,
} from './fields.ts';

/**
 * One after the other, Celery's `|`. Chains are made one; a group that something follows becomes a chord of it, and
 * what follows a chord joins its body. Source: celery/canvas.py, __or__ of each class.
 */
export function pipe(first: SignatureFields, next: SignatureFields): SignatureFields {
  if (isGroup(first)) return chordOf(partsOf(first), copyOf(next));
  if (isChord(first)) {
    if (!isGroup(next) && !isChain(next)) return withBody(first, pipe(bodyOf(first), next));
    return chainOf([first, ...(isChain(next) ? unchained(next) : [next])].map(copyOf));
  }
  if (!isChain(first)) return chainOf([copyOf(first), ...(isChain(next) ? unchained(next) : [copyOf(next)])]);
  if (isChain(next)) return unchained(next).reduce(pipe, first);
  const tasks = partsOf(first);
  const last = tasks.at(-1);
  if (last === undefined) return isGroup(next) ? next : chainOf([copyOf(next)]);
  if (isGroup(next)) {
    const own = unchained(first);
    const end = own.at(-1) as SignatureFields;
    return chainOf([...own.slice(0, -1), ...(isChord(end) ? [withBody(end, pipe(bodyOf(end), next))] : [end, next])]);
  }
  if (isGroup(last)) {
    const chord = chordOf(partsOf(last), copyOf(next));
    const before = tasks.at(-2);
    if (before !== undefined && isChord(before)) {
      const joined = withBody(before, pipe(bodyOf(before), chord));
      return chainOf([...tasks.slice(0, -2), joined], first.options);
    }
    return chainOf([...tasks.slice(0, -1), chord], first.options);
  }
  if (isChord(last) && !isChord(next)) {
    return chainOf([...tasks.slice(0, -1), withBody(last, pipe(bodyOf(last), next))], first.options);
  }
  return chainOf([...unchained(first), copyOf(next)]);
}

/** The parts of a chain with its callbacks on the last and its errbacks on each of them. */
function unchained(chain: SignatureFields): readonly SignatureFields[] {
  let tasks = partsOf(chain).map(copyOf);
  for (const callback of asList(chain.options.link)) {
    tasks = tasks.map((task, index) => (index === tasks.length - 1 ? withLink(task, callback) : task));
  }
  for (const errback of asList(chain.options.linkError)) tasks = tasks.map((task) => withErrback(task, errback));
  return tasks;
}
