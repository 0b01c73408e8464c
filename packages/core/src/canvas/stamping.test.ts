import { expect, test } from 'vitest';
import { chain, chord, Lovage, type Signature, type SomeSignature, type StampingVisitor } from '../index.ts';

const app = new Lovage('stamps', { broker: 'memory://' });
const add = app.task('add', (x: number, y: number) => x + y);
const sum = app.task('sum', (numbers: number[]) => numbers.length);

const stampsOf = (signature: Signature | SomeSignature | undefined): unknown => signature?.options.stamps;

test('a visitor chooses stamps part by part', () => {
  const visitor: StampingVisitor = {
    onSignature: ({ task }) => ({ name: task }),
    onChainStart: () => ({ in: 'chain' }),
    onGroupStart: () => ({ in: 'header' }),
    onChordBody: () => ({ part: 'body' }),
    onErrback: () => ({ is: 'errback' }),
  };
  const chained = chain(add.s(1, 2), add.s(3)).stamp(visitor);
  expect(chained.tasks.map(stampsOf)).toEqual([
    { name: 'add', in: 'chain' },
    { name: 'add', in: 'chain' },
  ]);
  const joined = chord([add.s(1, 2).linkError(add.si(1, 1))], sum.s()).stamp(visitor);
  expect(stampsOf(joined.tasks[0])).toEqual({ in: 'header', name: 'add' });
  expect(stampsOf(joined.body)).toEqual({ in: 'header', part: 'body', name: 'sum' });
  const { options } = joined.toJSON().kwargs['header'] as never;
  expect(options).toBeUndefined();
  expect(joined.tasks[0]?.toJSON().options.link_error).toMatchObject([
    { options: { in: 'header', is: 'errback', name: 'add', stamped_headers: ['name', 'is', 'in'] } },
  ]);
});

test('where two stamps have one name the outer one stays, or both with appendStamps', () => {
  const twice = add.s(1, 2).stamp({ a: 1 }).stamp({ a: 2, b: 3 });
  expect(stampsOf(twice)).toEqual({ a: 2, b: 3 });
  expect(stampsOf(add.s(1, 2).stamp({ a: 1 }).stamp({ a: 2 }, { appendStamps: true }))).toEqual({ a: [2, 1] });
});
