import type { StandardSchemaV1 } from '@standard-schema/spec';
import type { ImmutableSignature } from '../canvas/canvas-types.ts';
import type { Signature } from '../canvas/signature.ts';
import type { TaskContext } from './task-context.ts';

/** What a task takes: a tuple for a positional task, an object for one with an `input` schema. */
export type TaskParameters = readonly unknown[] | object;

/** What can be a task. `never`, because `unknown` would be the type of `y` in `(x: number, y = 0) =>`. */
export type AnyFunction = (...args: never[]) => unknown;

/** The same with `bind: true`. */
export type AnyBoundFunction = (task: TaskContext, ...args: never[]) => unknown;

/** What a function with `bind: true` takes from its caller. */
export type AfterContext<P extends readonly unknown[]> = P extends readonly [unknown, ...infer Rest] ? Rest : [];

/** The arguments of `delay`: the task's own, or its one input object; any where nothing is known of the task. */
export type CallArguments<P> = unknown extends P ? unknown[] : P extends readonly unknown[] ? P : [input: P];

/** What `applyAsync` takes first: a list for a positional task (may be left out when empty), else the input object. */
export type ApplyArguments<P> = P extends readonly unknown[] ? P : P;

/** A tuple and its endings: what `s()` may be given, because stored arguments come after those of the call. */
type Endings<P extends readonly unknown[]> = number extends P['length']
  ? P
  : P extends readonly [unknown, ...infer Rest]
    ? P | Endings<Rest>
    : P;

type DropEnd<P extends readonly unknown[], A extends readonly unknown[]> = A extends readonly [unknown, ...infer Rest]
  ? P extends readonly [...infer Head, unknown]
    ? DropEnd<Head, Rest>
    : P
  : P;

/** What a signature still asks for after `A` was given. */
export type Missing<P, A> = P extends readonly unknown[]
  ? number extends P['length']
    ? P
    : A extends readonly [unknown, ...unknown[]]
      ? DropEnd<Required<P>, A>
      : P
  : Omit<P, keyof A>;

/** `task.s(...)`: stored arguments are the last ones, those of the later call come before them, as in Celery. */
export type SignatureFactory<P, R> = P extends readonly unknown[]
  ? <A extends Endings<P>>(...args: A) => Signature<Missing<P, A>, R>
  : <A extends Partial<P>>(kwargs?: A) => Signature<Missing<P, A>, R>;

/** `task.si(...)`: a signature that takes nothing from its predecessor. */
export type ImmutableSignatureFactory<P, R> = P extends readonly unknown[]
  ? (...args: P) => ImmutableSignature<R>
  : (kwargs: P) => ImmutableSignature<R>;

export type AnySchema = StandardSchemaV1;
export type SchemaInput<S extends AnySchema> =
  StandardSchemaV1.InferInput<S> extends infer I extends object ? I : never;
export type SchemaOutput<S extends AnySchema> = StandardSchemaV1.InferOutput<S>;
