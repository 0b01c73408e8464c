import { describe, expect, test } from 'vitest';
import { openApp, takeTask } from '../../test/support/app-bench.ts';
import { Lovage, Signature } from '../index.ts';

const app = new Lovage('signatures', { broker: 'memory://' });
const add = app.task('add', (x: number, y: number) => x + y);

describe('merge, as Celery does it', () => {
  test('arguments of the call come first, keyword arguments and options win', () => {
    const stored = app.signature('t', { args: [3], kwargs: { a: 1, b: 1 }, countdown: 5, queue: 'q' });
    expect(stored.merge([1, 2], { b: 2 }, { countdown: 9 })).toMatchObject({
      args: [1, 2, 3],
      kwargs: { a: 1, b: 2 },
      options: { countdown: 9, queue: 'q' },
    });
    expect(stored).toMatchObject({ args: [3], kwargs: { a: 1, b: 1 }, options: { countdown: 5, queue: 'q' } });
  });

  test('an immutable signature takes options only', () => {
    expect(add.si(1, 2).merge([9], { z: 1 }, { priority: 3 })).toMatchObject({
      args: [1, 2],
      kwargs: {},
      options: { priority: 3 },
      immutable: true,
    });
  });

  test('group and stamps that are there stay', () => {
    const stored = app.signature('t', { groupId: 'g1', stamps: { a: 1 }, stampedHeaders: ['a'], taskId: 'one' });
    const options = { groupId: 'g2', stamps: { b: 1 }, stampedHeaders: ['b'], taskId: 'two' };
    expect(stored.set(options).options).toEqual({
      groupId: 'g1',
      stamps: { a: 1 },
      stampedHeaders: ['a'],
      taskId: 'two',
    });
    expect(app.signature('t').set({ groupId: 'g2' }).options).toEqual({ groupId: 'g2' });
  });

  test('null and undefined override nothing', () => {
    const set = app.signature('t', { queue: 'q', priority: 3 }).set({ queue: undefined, priority: null } as never);
    expect(set.options).toEqual({ queue: 'q', priority: 3 });
  });

  test('a countdown takes the place of an eta, and an eta that of a countdown', () => {
    const eta = new Date('2030-01-01T00:00:00Z');
    expect(app.signature('t', { eta }).set({ countdown: 5 }).options).toEqual({ countdown: 5 });
    expect(app.signature('t', { countdown: 5 }).set({ eta }).options).toEqual({ eta });
  });
});

describe('link', () => {
  test('adds to what is linked already, and changes nothing that exists', () => {
    const first = add.s(1).link(add.s(2));
    const second = first.link(add.si(3, 4)).linkError(add.s(5));
    expect(first.toJSON().options.link).toHaveLength(1);
    expect(second.toJSON().options.link).toMatchObject([{ args: [2] }, { args: [3, 4], immutable: true }]);
    expect(second.toJSON().options.link_error).toMatchObject([{ args: [5] }]);
  });

  test('a single one given as an option is kept', () => {
    const linked = app.signature('t', { link: add.s(1) }).link(add.s(2));
    expect(linked.toJSON().options.link).toMatchObject([{ args: [1] }, { args: [2] }]);
  });
});

describe('freeze', () => {
  test('names the task and who is answered; what is there is kept', () => {
    const frozen = add.s(1).freeze();
    expect(frozen.options).toEqual({ taskId: expect.stringMatching(/^[\da-f-]{36}$/), replyTo: app.oid });
    expect(frozen.freeze('other').options).toEqual(frozen.options);
    expect(add.s(1).freeze('mine').options.taskId).toBe('mine');
    expect(add.s(1).set({ replyTo: 'they' }).freeze().options.replyTo).toBe('they');
  });
});

describe('JSON', () => {
  test('is the dict of Celery', () => {
    expect(
      JSON.parse(
        JSON.stringify(add.s(1).set({ countdown: 3, softTimeLimit: 2, expires: new Date('2030-01-01T00:00:00Z') })),
      ),
    ).toEqual({
      task: 'add',
      args: [1],
      kwargs: {},
      options: { countdown: 3, soft_time_limit: 2, expires: '2030-01-01T00:00:00.000+00:00' },
      subtask_type: null,
      immutable: false,
    });
  });

  test('comes back as it went, options of other libraries included', () => {
    const dict = {
      task: 'proj.t',
      args: [1, [2]],
      kwargs: { a: null },
      options: {
        task_id: 'x',
        link_error: [add.s(1).toJSON()],
        stamped_headers: ['who'],
        who: 'ada',
        kept_for: 'python',
      },
      subtask_type: null,
      immutable: true,
    };
    expect(JSON.parse(JSON.stringify(Signature.fromJSON(app, dict as never)))).toEqual(
      JSON.parse(JSON.stringify(dict)),
    );
  });

  test('what is left out has its default', () => {
    expect(Signature.fromJSON(app, { task: 't' } as never).toJSON()).toEqual({
      task: 't',
      args: [],
      kwargs: {},
      options: {},
      subtask_type: null,
      immutable: false,
    });
  });
});

describe('sending', () => {
  test('delay puts its arguments before the stored ones', async () => {
    const own = openApp();
    const join = own.task('join', (a: string, b: string) => a + b);
    await join.s('b').delay('a');
    expect(await takeTask(own.url)).toMatchObject({ args: ['a', 'b'], headers: { task: 'join' } });
    await join.si('x', 'y').delay();
    expect(await takeTask(own.url)).toMatchObject({ args: ['x', 'y'] });
  });

  test('a keyword signature is given what it lacks', async () => {
    const own = openApp();
    const input = { '~standard': { version: 1 as const, vendor: 'test', validate: (value: unknown) => ({ value }) } };
    const mail = own.task('mail', { input: input as never }, () => 1);
    await (mail.s as (kwargs: object) => Signature<object>)({ to: 'ada' }).delay({ subject: 'hi' } as never);
    expect(await takeTask(own.url)).toMatchObject({ args: [], kwargs: { to: 'ada', subject: 'hi' } });
  });

  test('options of the call win over those of the signature, those over the task’s', async () => {
    const own = openApp();
    const task = own.task('t', { priority: 1, queue: 'a' }, (x: number) => x);
    await task.signature([1], { priority: 2, queue: 'b' }).applyAsync([], { priority: 3 });
    expect((await takeTask(own.url, 'b')).properties.priority).toBe(3);
  });

  test('the id of a frozen signature is the message’s, a stored one is sent by the app', async () => {
    const own = openApp();
    const frozen = own.signature('t', { args: [2] }).freeze('the-id');
    expect((await own.applySignature(frozen.toJSON(), { args: [1], parentId: 'p' })).id).toBe('the-id');
    const { headers, args } = await takeTask(own.url);
    expect({ id: headers.id, parent: headers.parent_id, args }).toEqual({ id: 'the-id', parent: 'p', args: [1, 2] });
  });

  test('a hostile name in kwargs stays a name', async () => {
    const own = openApp();
    const dict = JSON.parse('{"task":"t","args":[],"kwargs":{"__proto__":{"x":1}},"options":{}}') as never;
    await Signature.fromJSON(own, dict).delay();
    const { kwargs } = await takeTask(own.url);
    expect(Object.keys(kwargs as object)).toEqual(['__proto__']);
  });
});
