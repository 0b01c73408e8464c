import { describe, expect, test } from 'vitest';
import { openApp, takeTask } from '../../test/support/app-bench.ts';
import { Lovage, Task, type TaskOptions } from '../index.ts';

function declare(options: object): Task {
  const app = new Lovage('test', { broker: 'memory://' });
  return app.task('tasks.add', options as Omit<TaskOptions, 'input' | 'bind'>, (x: number) => x) as never;
}

describe('options', () => {
  test.each<[object, RegExp]>([
    [{ priorty: 3 }, /unknown option "priorty".*"priority"/],
    [{ priority: 12 }, /Task "tasks.add" has priority 12. Expected an integer from 0 to 9/],
    [{ queue: '' }, /queue ""/],
    [{ expires: 'soon' }, /expires "soon"/],
    [{ timeLimit: 0 }, /timeLimit 0/],
    [{ timeLimit: 5, softTimeLimit: 6 }, /softTimeLimit 6 above timeLimit 5/],
    [{ maxRetries: -1 }, /maxRetries -1/],
    [{ defaultRetryDelay: 'soon' }, /defaultRetryDelay "soon"/],
    [{ acksLate: 'no' }, /acksLate "no"/],
    [{ onFailure: 'log it' }, /onFailure "log it".*function/],
    [{ params: ['x', 'x'] }, /twice/],
    [{ input: {} }, /input.*Standard Schema/],
    [{ rateLimit: 'fast' }, /rateLimit "fast". Expected a number a second or a text such as "10\/m"/],
    [{ rateLimit: '10./s' }, /rateLimit/],
    [{ retry: true }, /retry true. Expected an object/],
    [{ retry: { maxRetrys: 3 } }, /retry.*"maxRetrys".*"maxRetries"/],
    [{ base: class {} }, /does not extend Task/],
  ])('%j is refused where it is written', (options, message) => {
    expect(() => declare(options)).toThrowError(
      expect.objectContaining({ code: 'ERR_CONFIG', message: expect.stringMatching(message) }),
    );
  });

  test('null and undefined leave the default', () => {
    expect(declare({ priority: undefined, maxRetries: null }).options).toMatchObject({ maxRetries: null });
    expect(declare({ maxRetries: undefined }).options).toMatchObject({
      maxRetries: 3,
      defaultRetryDelay: 180,
      acksLate: true,
    });
  });

  test('what a task leaves out comes from the settings', () => {
    const app = new Lovage('test', {
      broker: 'memory://',
      taskTimeLimit: 30,
      taskAcksLate: false,
      taskTrackStarted: true,
    });
    const task = app.task('t', { softTimeLimit: 5 }, () => 1);
    expect(task.options).toMatchObject({ timeLimit: 30, softTimeLimit: 5, acksLate: false, trackStarted: true });
  });

  test.each(['', 'a b', 'x\ny', 'é', 'a'.repeat(256)])('the name %j is refused', (name) => {
    expect(() => new Lovage('test').task(name, () => 1)).toThrow(/task name/);
  });

  test('a name is given once, and a task has a function', () => {
    const app = new Lovage('test');
    app.task('a', () => 1);
    expect(() => app.task('a', () => 2)).toThrow(/"a" is registered already/);
    expect(() => app.task('b', {}, undefined as never)).toThrow(/has no function/);
    expect(app.tasks.names()).toEqual(['a']);
    expect(app.tasks.get('__proto__')).toBeUndefined();
  });

  test('handlers of the class are those of the task, unless its options name their own', () => {
    const said: string[] = [];
    class Audited<P, R> extends Task<P, R> {
      override onSuccess(): void {
        said.push(`class of ${this.name}`);
      }
    }
    const app = new Lovage('test');
    const plain = app.task('plain', { base: Audited }, () => 1);
    const own = app.task('own', { base: Audited, onSuccess: () => said.push('option') }, () => 1);
    plain.hooks.onSuccess?.(1, 'id', [], {});
    own.hooks.onSuccess?.(1, 'id', [], {});
    expect(said).toEqual(['class of plain', 'option']);
  });
});

describe('calls', () => {
  test('delay and applyAsync publish the same arguments', async () => {
    const app = openApp();
    const add = app.task('tasks.add', (x: number, y: number) => x + y);
    await add.delay(1, 2);
    expect(await takeTask(app.url)).toMatchObject({ args: [1, 2], kwargs: {}, headers: { task: 'tasks.add' } });
    await add.applyAsync([3, 4]);
    expect(await takeTask(app.url)).toMatchObject({ args: [3, 4] });
  });

  test('wrong arguments are refused before anything is sent', async () => {
    const app = openApp();
    const add = app.task('tasks.add', (x: number, y: number) => x + y);
    await expect(add.delay(...([1] as unknown as [number, number]))).rejects.toMatchObject({
      code: 'ERR_TASK_ARGUMENTS',
    });
    await expect(add.applyAsync('ab' as never)).rejects.toMatchObject({ code: 'ERR_TASK_ARGUMENTS' });
    await expect(app.sendTask('x', { args: 'ab' as never })).rejects.toMatchObject({ code: 'ERR_TASK_ARGUMENTS' });
    await expect(app.sendTask('x', { kwargs: [1] as never })).rejects.toMatchObject({ code: 'ERR_TASK_ARGUMENTS' });
    expect(app.producerConnection().state).toBe('idle');
  });

  test('a schema task sends keyword arguments as the caller wrote them', async () => {
    const app = openApp();
    const input = {
      '~standard': {
        version: 1 as const,
        vendor: 'test',
        validate: (value: unknown) => ({ value: { ...(value as object), added: 1 } }),
      },
    };
    const mail = app.task('mail', { input: input as never }, (given: object) => given) as unknown as Task<{
      to: string;
    }>;
    await mail.delay({ to: 'ada' });
    expect(await takeTask(app.url)).toMatchObject({ args: [], kwargs: { to: 'ada' } });
  });

  test('options of the task are those of the call, unless the call has its own', async () => {
    const app = openApp();
    const task = app.task('t', { queue: 'slow', priority: 3, expires: 60, ignoreResult: true }, () => 1);
    await task.delay();
    const first = await takeTask(app.url, 'slow');
    expect(first.properties.priority).toBe(3);
    expect(first.headers).toMatchObject({ ignore_result: true, expires: expect.any(String) });
    await task.applyAsync([], { queue: 'fast', priority: 9 });
    expect((await takeTask(app.url, 'fast')).properties.priority).toBe(9);
  });

  test('a limit of the task is on the wire, a worker in another program keeps it', async () => {
    const app = openApp();
    await app.task('t', { timeLimit: 20, softTimeLimit: 10 }, () => 1).delay();
    expect((await takeTask(app.url)).headers.timelimit).toEqual([20, 10]);
  });

  test('a task of another program is called by its name', async () => {
    const app = openApp();
    await app.remote<(path: string) => number>('img.size').delay('a.png');
    expect(await takeTask(app.url)).toMatchObject({ args: ['a.png'], headers: { task: 'img.size' } });
  });
});
