import { expectTypeOf, test } from 'vitest';
import { z } from 'zod';
import { Lovage, chain, chord, group, type AsyncResult, type Chain, type GroupResult } from '../index.ts';

const app = new Lovage('canvas-types', { broker: 'memory://' });

const add = app.task('add', (x: number, y: number) => x + y);
const text = app.task('text', (value: number) => String(value));
const shout = app.task('shout', (value: string, loud?: boolean) => (loud ? value.toUpperCase() : value));
const sum = app.task('sum', (numbers: number[]) => numbers.reduce((a, b) => a + b, 0));
const both = app.task('both', ([n, s]: [number, string]) => `${n}${s}`);
const all = app.task('all', (...values: number[]) => values.length);
const none = app.task('none', () => true);
const mail = app.task('mail', { input: z.object({ to: z.string() }) }, ({ to }) => to);
const size = app.remote<(path: string) => number>('img.size');

test('a chain compiles only if each takes what the one before returns', () => {
  expectTypeOf(chain(add.s(1, 2), text.s())).toExtend<Chain<[], string>>();
  expectTypeOf(chain(add.s(1, 2), text.s()).delay()).resolves.toEqualTypeOf<AsyncResult<string>>();
  expectTypeOf(chain(add.s(1, 2), add.s(3), text.s(), shout.s())).toExtend<Chain<[], string>>();
  expectTypeOf(chain(add.s(1), text.s()).delay).parameters.toEqualTypeOf<[x: number]>();
  expectTypeOf(chain(add.s(1, 2), none.si(), shout.si('a')).delay()).resolves.toEqualTypeOf<AsyncResult<string>>();
  void chain(size.s('a.png'), add.s(1), text.s());
  void chain(app.signature('py.any'), add.s(1));
  void chain(add.s(1, 2), app.signature('py.any'), shout.s());
  // @ts-expect-error shout takes no number
  chain(add.s(1, 2), shout.s());
  // @ts-expect-error the second takes none at all
  chain(add.s(1, 2), none.s());
  // @ts-expect-error there is nothing left to take
  chain(add.s(1, 2), add.s(1, 2));
  // @ts-expect-error two arguments are missing, one comes
  chain(add.s(1, 2), add.s());
  // @ts-expect-error the third takes no text
  chain(add.s(1, 2), text.s(), add.s(1));
  // @ts-expect-error a keyword task takes nothing by position
  chain(text.s(1), mail.s());
  // @ts-expect-error img.size takes no number
  chain(add.s(1, 2), size.s());
});

test('piping is the same', () => {
  expectTypeOf(add.s(1, 2).pipe(text.s()).pipe(shout.s()).delay()).resolves.toEqualTypeOf<AsyncResult<string>>();
  // @ts-expect-error shout takes no number
  add.s(1, 2).pipe(shout.s());
});

test('a group gives the list of its results', () => {
  expectTypeOf(group(add.s(1, 2), text.s(1)).delay()).resolves.toEqualTypeOf<GroupResult<[number, string]>>();
  expectTypeOf(group([add.s(1, 2), text.s(1)]).delay()).resolves.toEqualTypeOf<GroupResult<[number, string]>>();
  expectTypeOf(group([1, 2].map((n) => text.s(n))).delay()).resolves.toEqualTypeOf<GroupResult<string[]>>();
  expectTypeOf(async () => (await group(add.s(1, 2), text.s(1)).delay()).get()).returns.resolves.toEqualTypeOf<
    [number, string]
  >();
  expectTypeOf(chain(add.s(1, 2), group(text.s(), add.s(1))).delay()).resolves.toEqualTypeOf<
    GroupResult<[string, number]>
  >();
  // @ts-expect-error one of them takes no number
  chain(add.s(1, 2), group(text.s(), shout.s()));
});

test('a chord’s body takes the list', () => {
  expectTypeOf(chord([add.s(1, 2), add.s(3, 4)], sum.s()).delay()).resolves.toEqualTypeOf<AsyncResult<number>>();
  expectTypeOf(chord([add.s(1, 2), text.s(1)], both.s()).delay()).resolves.toEqualTypeOf<AsyncResult<string>>();
  void chord(group(add.s(1, 2), add.s(3, 4)), sum.s());
  void chord(
    [1, 2].map((n) => add.s(n, n)),
    sum.s(),
  );
  void chord([add.s(1, 2)], none.si());
  void group(add.s(1, 2), add.s(3, 4)).pipe(sum.s());
  void chain(group(add.s(1, 2), add.s(3, 4)), sum.s(), text.s());
  void chain(add.s(1, 2), group(add.s(1), add.s(2)), sum.s());
  void chain(add.s(1, 2), chord([add.s(1), add.s(2)], sum.s()), text.s());
  // @ts-expect-error sum takes numbers
  chord([text.s(1), text.s(2)], sum.s());
  // @ts-expect-error the list is one argument, not its items
  chord([add.s(1, 2), add.s(3, 4)], all.s());
  // @ts-expect-error the other way round
  chord([text.s(1), add.s(1, 2)], both.s());
  // @ts-expect-error the list does not fit what follows
  chain(group(text.s(1), text.s(2)), sum.s());
});

test('a group in a header comes out in reverse, as in Celery', () => {
  const three = app.task('three', ([a, b, c]: [number, string, boolean]) => `${a}${b}${c}`);
  void chord([add.s(1, 2), group(none.s(), text.s(1))], three.s());
  // @ts-expect-error not in its own order
  chord([add.s(1, 2), group(text.s(1), none.s())], three.s());
});

test('map, starmap and chunks', () => {
  expectTypeOf(text.map([1, 2]).delay()).resolves.toEqualTypeOf<AsyncResult<string[]>>();
  expectTypeOf(add.starmap([[1, 2]]).delay()).resolves.toEqualTypeOf<AsyncResult<number[]>>();
  expectTypeOf(add.chunks([[1, 2]], 10).delay()).resolves.toEqualTypeOf<GroupResult<number[][]>>();
  // @ts-expect-error not a number
  text.map(['1']);
  // @ts-expect-error an argument is missing
  add.starmap([[1]]);
});

test('what is set keeps its type', () => {
  void chain(add.s(1, 2), none.si().set({ queue: 'q' }).link(text.s()), none.si());
  void chain(add.s(1, 2), text.s().set({ countdown: 1 }).linkError(shout.s()), shout.s());
});
