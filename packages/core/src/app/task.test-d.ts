import { expectTypeOf, test } from 'vitest';
import { z } from 'zod';
import { Lovage, Task, type AsyncResult, type ImmutableSignature, type Signature, type TaskContext } from '../index.ts';

const app = new Lovage('types', { broker: 'memory://' });

const add = app.task('add', (x: number, y: number) => x + y);
const greet = app.task('greet', async (name: string, loud?: boolean) => (loud ? name.toUpperCase() : name));
const sum = app.task('sum', (...numbers: number[]) => numbers.reduce((a, b) => a + b, 0));
const nothing = app.task('nothing', () => undefined);
const bound = app.task('bound', { bind: true, maxRetries: 2 }, (task, n: number) => {
  expectTypeOf(task).toEqualTypeOf<TaskContext>();
  return n > 0 ? 'yes' : task.retry();
});
const Mail = z.object({ to: z.string(), subject: z.string().default('hello') });
const mail = app.task('mail', { input: Mail }, ({ to, subject }) => `${to}: ${subject}`);
const boundMail = app.task('boundMail', { input: Mail, bind: true }, (task, { to }) => ({ to, id: task.request.id }));

test('delay takes what the function takes and gives what it returns', () => {
  expectTypeOf(add.delay).parameters.toEqualTypeOf<[x: number, y: number]>();
  expectTypeOf(add.delay(1, 2)).resolves.toEqualTypeOf<AsyncResult<number>>();
  expectTypeOf(greet.delay('a')).resolves.toEqualTypeOf<AsyncResult<string>>();
  expectTypeOf(sum.delay(1, 2, 3)).resolves.toEqualTypeOf<AsyncResult<number>>();
  expectTypeOf(bound.delay(1)).resolves.toEqualTypeOf<AsyncResult<string>>();
  // @ts-expect-error a text is no number
  void add.delay('1', 2);
  // @ts-expect-error one argument is missing
  void add.delay(1);
  // @ts-expect-error one argument too many
  void add.delay(1, 2, 3);
});

test('a default makes its parameter optional and gives it a type', () => {
  const price = app.task('price', (net: number, vat = 0.2, note?: string) => `${net * (1 + vat)}${note ?? ''}`);
  expectTypeOf(price.delay).parameters.toEqualTypeOf<
    [net: number, vat?: number | undefined, note?: string | undefined]
  >();
  const boundPrice = app.task('boundPrice', { bind: true }, (task, net: number, vat = 0.2) => {
    expectTypeOf(task).toEqualTypeOf<TaskContext>();
    return net * (1 + vat);
  });
  expectTypeOf(boundPrice.delay).parameters.toEqualTypeOf<[net: number, vat?: number | undefined]>();
  const named = app.task('named', { params: ['net', 'vat'] }, (net: number, vat = 0.2) => net * (1 + vat));
  expectTypeOf(named.delay).parameters.toEqualTypeOf<[net: number, vat?: number | undefined]>();
  expectTypeOf(app.task('alone', { bind: true }, (task) => task.request.id).delay).parameters.toEqualTypeOf<[]>();
  // @ts-expect-error a text is no number
  void price.delay(10, '0.2');
});

test('get gives the result', () => {
  expectTypeOf(async () => (await add.delay(1, 2)).get({ timeout: 1 })).returns.resolves.toBeNumber();
});

test('applyAsync takes a list, and none for a task without arguments', () => {
  expectTypeOf(add.applyAsync([1, 2], { countdown: 10, priority: 9 })).resolves.toEqualTypeOf<AsyncResult<number>>();
  void nothing.applyAsync();
  void nothing.applyAsync([], { queue: 'slow' });
  // @ts-expect-error the arguments are missing
  void add.applyAsync();
  // @ts-expect-error no option has this name
  void add.applyAsync([1, 2], { countDown: 10 });
});

test('a schema makes it one object, as it is before its defaults', () => {
  expectTypeOf(mail.delay).parameters.toEqualTypeOf<[input: { to: string; subject?: string | undefined }]>();
  expectTypeOf(mail.delay({ to: 'a' })).resolves.toEqualTypeOf<AsyncResult<string>>();
  expectTypeOf(boundMail.delay({ to: 'a' })).resolves.toEqualTypeOf<AsyncResult<{ to: string; id: string }>>();
  // @ts-expect-error "to" is missing
  void mail.delay({ subject: 'x' });
  // @ts-expect-error not a text
  void mail.applyAsync({ to: 1 });
});

test('a signature still asks for what it was not given; stored arguments are the last', () => {
  expectTypeOf(add.s()).toEqualTypeOf<Signature<[x: number, y: number], number>>();
  expectTypeOf(add.s(1)).toEqualTypeOf<Signature<[x: number], number>>();
  expectTypeOf(add.s(1).delay).parameters.toEqualTypeOf<[x: number]>();
  expectTypeOf(add.s(1, 2).delay).parameters.toEqualTypeOf<[]>();
  expectTypeOf(add.si(1, 2)).toEqualTypeOf<ImmutableSignature<number>>();
  // @ts-expect-error not a number
  add.s('1');
  // @ts-expect-error too many
  add.s(1, 2, 3);
  // @ts-expect-error an immutable signature must be complete
  add.si(1);
});

test('a base serves tasks of every shape', () => {
  class Audited<P, R> extends Task<P, R> {
    override onFailure(error: unknown, taskId: string): void {
      console.error(taskId, error);
    }
  }
  const audited = app.task('audited', { base: Audited }, (n: number) => n);
  expectTypeOf(audited.delay).parameters.toEqualTypeOf<[n: number]>();
});

test('a task of another program is declared by its type', () => {
  const size = app.remote<(path: string) => number>('img.size');
  expectTypeOf(size.delay('a.png')).resolves.toEqualTypeOf<AsyncResult<number>>();
  // @ts-expect-error not a text
  void size.delay(1);
});

test('a signature by name takes any arguments', () => {
  expectTypeOf(app.signature('proj.t').delay(1, 'two')).resolves.toEqualTypeOf<AsyncResult>();
  void app.signature('proj.t').delay();
});
