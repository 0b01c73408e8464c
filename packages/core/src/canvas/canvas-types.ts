import type { AsyncResult } from '../result/async-result.ts';
import type { GroupResult } from '../result/group-result.ts';
import type { Signature } from './signature.ts';

// any: these are the bounds of what is inferred, and a signature's parameters stand where they are taken
// oxlint-disable-next-line typescript/no-explicit-any
export type SomeSignature = Signature<any, any, any>;

export type SomeGroup = SomeSignature & { readonly subtaskType: 'group' };

/** One that takes nothing from its predecessor: `task.si(...)`. */
export type ImmutableSignature<R> = Signature<[], R> & { readonly immutable: true };

type TypesOf<S> = S extends { readonly '~types': infer T } ? T : never;
export type MissingOf<S> = TypesOf<S> extends { readonly missing: infer M } ? M : never;
export type ResultOf<S> = TypesOf<S> extends { readonly result: infer R } ? R : never;
export type OutOf<S> = TypesOf<S> extends { readonly out: infer O } ? O : never;

/** Several one after the other; its result is the last one's. */
export type Chain<M, R, Out = AsyncResult<R>> = Signature<M, R, Out> & { readonly subtaskType: 'chain' };

/** Several at once; its result is the list of theirs. */
export type Group<M, R extends readonly unknown[]> = Signature<M, R, GroupResult<R>> & {
  readonly subtaskType: 'group';
};

/** A group, and a task that takes the list of its results. */
export type Chord<M, R, Out = AsyncResult<R>> = Signature<M, R, Out> & { readonly subtaskType: 'chord' };

/** What a step must look like to follow one that returns `P`; the property's name is the compiler's message. */
export interface CannotTake<P> {
  readonly '~ this signature cannot take what comes before it': P;
}

/** `unknown` when `S` can be called with a result of type `P`, else something that no signature is. */
export type Accepts<S, P> = S extends { readonly immutable: true }
  ? unknown
  : unknown extends P
    ? unknown
    : unknown extends MissingOf<S>
      ? unknown
      : TakesOne<MissingOf<S>, P>;

type TakesOne<M, P> = M extends readonly unknown[] ? ([P] extends M ? unknown : CannotTake<P>) : CannotTake<P>;

/** Each step checked against the result of the one before. */
export type Steps<S extends readonly unknown[]> = S extends readonly [infer First, infer Second, ...infer Rest]
  ? readonly [unknown, Accepts<Second, ResultOf<First>>, ...TailOf<Steps<[Second, ...Rest]>>]
  : readonly unknown[];

type TailOf<T> = T extends readonly [unknown, ...infer Rest] ? Rest : T extends readonly unknown[] ? T : never;

type LastOf<S extends readonly unknown[]> = S extends readonly [...unknown[], infer Last]
  ? Last
  : S extends readonly (infer Each)[]
    ? Each
    : never;

export type ChainOf<M, N> = Chain<M, ResultOf<N>, OutOf<N>>;
export type ChainOfSteps<S extends readonly unknown[]> = S extends readonly [infer First, ...unknown[]]
  ? ChainOf<MissingOf<First>, LastOf<S>>
  : ChainOf<MissingOf<LastOf<S>>, LastOf<S>>;

/** A union as an intersection: what is asked for by all of several signatures at once. */
type All<U> = (U extends unknown ? (value: U) => void : never) extends (value: infer I) => void ? I : never;

type MissingUnlessImmutable<S> = S extends { readonly immutable: true } ? never : MissingOf<S>;
type MissingOfAll<S> = [MissingUnlessImmutable<S>] extends [never] ? [] : All<MissingUnlessImmutable<S>>;

type Results<S extends readonly unknown[]> = { -readonly [K in keyof S]: ResultOf<S[K]> };

/** Members of a group are members of the group it is in, in their order. */
type FlatInGroup<S extends readonly unknown[]> = S extends readonly [infer First, ...infer Rest]
  ? First extends { readonly subtaskType: 'group' }
    ? [...(ResultOf<First> extends readonly unknown[] ? ResultOf<First> : []), ...FlatInGroup<Rest>]
    : [ResultOf<First>, ...FlatInGroup<Rest>]
  : S extends readonly []
    ? []
    : Results<S>;

/** As Celery does it, members of a group in a chord's header come out in reverse. */
type FlatInHeader<S extends readonly unknown[]> = S extends readonly [infer First, ...infer Rest]
  ? First extends { readonly subtaskType: 'group' }
    ? [...(ResultOf<First> extends readonly unknown[] ? Reversed<ResultOf<First>> : []), ...FlatInHeader<Rest>]
    : [ResultOf<First>, ...FlatInHeader<Rest>]
  : S extends readonly []
    ? []
    : Results<S>;

type Reversed<T extends readonly unknown[]> = T extends readonly [infer First, ...infer Rest]
  ? [...Reversed<Rest>, First]
  : T;

export type GroupOf<S extends readonly unknown[]> = Group<MissingOfAll<S[number]>, FlatInGroup<S>>;

/** The list that a chord's body is given. */
export type HeaderResults<H> = H extends { readonly subtaskType: 'group' }
  ? ResultOf<H>
  : H extends readonly unknown[]
    ? FlatInHeader<H>
    : never;

export type HeaderMissing<H> = H extends { readonly subtaskType: 'group' }
  ? MissingOf<H>
  : H extends readonly unknown[]
    ? MissingOfAll<H[number]>
    : never;

export type ChordOf<H, B> = Chord<HeaderMissing<H>, ResultOf<B>, OutOf<B>>;
