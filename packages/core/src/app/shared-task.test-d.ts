import { expectTypeOf, test } from 'vitest';
import { z } from 'zod';
import { chain, Lovage, sharedTask, type AsyncResult, type TaskContext } from '../index.ts';

const app = new Lovage('types', { broker: 'memory://' });

test('is typed as app.task types its tasks', () => {
  expectTypeOf<typeof sharedTask>().toEqualTypeOf<typeof app.task>();
  const add = sharedTask('add', (x: number, y: number) => x + y);
  expectTypeOf(add).toEqualTypeOf(app.task('add', (x: number, y: number) => x + y));
  expectTypeOf(add.delay(1, 2)).resolves.toEqualTypeOf<AsyncResult<number>>();
  const show = sharedTask('show', { bind: true }, (task, n: number) => {
    expectTypeOf(task).toEqualTypeOf<TaskContext>();
    return String(n);
  });
  chain(add.s(1, 2), show.s());
  const mail = sharedTask('mail', { input: z.object({ to: z.string() }) }, ({ to }) => to);
  expectTypeOf(mail.delay).parameters.toEqualTypeOf<[input: { to: string }]>();
  // @ts-expect-error a text is no number
  void add.delay('1', 2);
  // @ts-expect-error show gives a text
  chain(show.s(1), add.s(1));
});
