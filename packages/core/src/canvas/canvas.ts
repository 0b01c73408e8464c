import { isLovageApp, type Lovage } from '../app/lovage.ts';
import { ConfigError } from '../errors.ts';
import type {
  Accepts,
  ChainOfSteps,
  ChordOf,
  Group,
  GroupOf,
  HeaderResults,
  SomeGroup,
  SomeSignature,
  Steps,
} from './canvas-types.ts';
import { chainOf, chordOf, copyOf, groupOf, isGroup, partsOf, type SignatureFields } from './fields.ts';
import { pipe } from './pipe.ts';
import { Signature } from './signature.ts';

/**
 * Tasks one after the other, each given the result of the one before. It compiles only if each takes what the one
 * before returns. A group that a step follows becomes a chord. Source: celery/canvas.py, chain.
 *
 * @example
 * await chain(add.s(2, 2), double.s(), print.s('total')).delay()
 */
export function chain<S extends readonly SomeSignature[]>(...steps: S & Steps<S>): ChainOfSteps<S> {
  const app = appOf(steps, 'chain');
  const fields = (steps as readonly SignatureFields[]).reduce(pipe, chainOf([]));
  return new Signature(app, fields) as unknown as ChainOfSteps<S>;
}

/**
 * Tasks that run at the same time. Its result is a {@link GroupResult}: the list of theirs, in their order. Takes a
 * list or the members one by one. Source: celery/canvas.py, group.
 *
 * @example
 * const result = await group(urls.map((url) => fetchPage.s(url))).delay()
 * const pages = await result.get()
 */
export function group<const S extends readonly SomeSignature[]>(members: S): GroupOf<S>;
export function group<const S extends readonly SomeSignature[]>(...members: S): GroupOf<S>;
export function group(...given: readonly (SomeSignature | readonly SomeSignature[])[]): Group<unknown, unknown[]> {
  const members = given.flat() as readonly Signature[];
  const only = members.length === 1 ? members[0] : undefined;
  const parts = only !== undefined && isGroup(only) ? partsOf(only) : members.map(copyOf);
  return new Signature(appOf(members, 'group'), groupOf(parts)) as unknown as Group<unknown, unknown[]>;
}

/**
 * A group, and a body that is given the list of its results when all of them are there. If a part fails the body does
 * not run: it ends as FAILURE with a `ChordError`, and its errbacks are called. Needs a result store that any worker can read.
 * Source: celery/canvas.py, chord.
 *
 * @example
 * await chord([add.s(1, 1), add.s(2, 2)], sum.s()).delay()
 */
export function chord<const H extends readonly SomeSignature[] | SomeGroup, B extends SomeSignature>(
  header: H,
  body: B & Accepts<B, HeaderResults<H>>,
): ChordOf<H, B> {
  const parts = Array.isArray(header) ? (header as readonly Signature[]).map(copyOf) : partsOf(header as SomeSignature);
  return new Signature(
    (body as SomeSignature).app,
    chordOf(parts, copyOf(body as SomeSignature)),
  ) as unknown as ChordOf<H, B>;
}

function appOf(members: readonly unknown[], what: string): Lovage {
  const app = (members[0] as Partial<Signature> | undefined)?.app;
  if (!isLovageApp(app)) {
    throw new ConfigError(`A ${what} needs at least one signature: ${what}(task.s(1), other.s()).`);
  }
  return app;
}
