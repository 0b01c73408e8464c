import { readFileSync } from 'node:fs';
import { runInNewContext } from 'node:vm';
import { describe, expect, test } from 'vitest';
import { DecodeError, EncodeError, isLovageError, TaskArgumentsError, type LovageError } from '../errors.ts';
import { encodeJson } from '../serialization/json.ts';
import { describeError, readExceptionInfo, taskFailure, TaskFailedError } from './exception-info.ts';
import * as taskErrors from './task-errors.ts';
import type { ExceptionInfo } from './task-meta.ts';

const golden = JSON.parse(readFileSync(new URL('golden/celery-5.6.3.test.json', import.meta.url), 'utf8')) as {
  exceptions: { name: string; info: ExceptionInfo }[];
};
const pythonInfo = new Map(golden.exceptions.map(({ name, info }) => [name, info]));

function failure(result: unknown, traceback: string | null = null): TaskFailedError {
  return taskFailure({ status: 'FAILURE', result, traceback, task_id: 'the-id' });
}

describe('describeError', () => {
  test.each<[string, LovageError]>([
    ['TaskRevokedError', new taskErrors.TaskRevokedError('expired')],
    ['NotRegistered', new taskErrors.NotRegistered('proj.x')],
    ['TimeLimitExceeded', new taskErrors.TimeLimitExceeded(5)],
    ['SoftTimeLimitExceeded', new taskErrors.SoftTimeLimitExceeded()],
    ['WorkerLostError', new taskErrors.WorkerLostError('gone')],
    ['MaxRetriesExceededError', new taskErrors.MaxRetriesExceededError('no more')],
    ['Ignore', new taskErrors.Ignore('why')],
    ['Reject', new taskErrors.Reject('why', { requeue: true })],
    ['ChordError', new taskErrors.ChordError('dep')],
  ])('%s is written as Celery writes its own', (name, error) => {
    expect(describeError(error).info).toEqual(pythonInfo.get(name));
    expect([error.name, error instanceof taskErrors.TaskError]).toEqual([name, true]);
    expect(String(error)).toContain(name);
  });

  class SmtpError extends Error {}
  const named = Object.assign(new Error('x'), { name: 'Custom.Name' });
  const foreign: unknown = runInNewContext('new RangeError("far")');

  test.each<[string, unknown, string, readonly unknown[], string]>([
    ['Error', new Error('x'), 'Error', ['x'], 'lovage'],
    ['RangeError', new RangeError('x'), 'RangeError', ['x'], 'lovage'],
    ['TypeError', new TypeError('x'), 'TypeError', ['x'], 'lovage'],
    ['a class of the user', new SmtpError('no'), 'SmtpError', ['no'], 'lovage'],
    ['a class without a name', new (class extends Error {})('no'), 'Error', ['no'], 'lovage'],
    ['a name of its own', named, 'Custom.Name', ['x'], 'lovage'],
    ['an abort', AbortSignal.abort().reason, 'AbortError', ['This operation was aborted'], 'lovage'],
    ['of another realm', foreign, 'RangeError', ['far'], 'lovage'],
    [
      'wrong arguments',
      new TaskArgumentsError("f() missing 1 required positional argument: 'y'"),
      'TypeError',
      ["f() missing 1 required positional argument: 'y'"],
      'builtins',
    ],
    ['what cannot be encoded', new EncodeError('x'), 'EncodeError', ['x'], 'kombu.exceptions'],
    ['what cannot be decoded', new DecodeError('x'), 'DecodeError', ['x'], 'kombu.exceptions'],
    ['a name that Python cannot have', Object.assign(new Error('x'), { name: 'a\0b\ud800' }), 'a_b_', ['x'], 'lovage'],
    [
      'the failure of another task',
      failure({ exc_type: 'ValueError', exc_message: ['a', 1], exc_module: 'builtins' }),
      'ValueError',
      ['a', 1],
      'builtins',
    ],
  ])('%s', (_, error, type, message, module) => {
    expect(describeError(error).info).toEqual({ exc_type: type, exc_message: message, exc_module: module });
  });

  const thrower = {
    get message(): string {
      throw new Error('no');
    },
    toString(): string {
      throw new Error('no');
    },
  };

  test.each<[string, unknown, unknown]>([
    ['undefined', undefined, 'None'],
    ['null', null, 'None'],
    ['0', 0, '0'],
    ['an empty text', '', ''],
    ['a text', 'boom', 'boom'],
    ['a symbol', Symbol('x'), '<Symbol(x)>'],
    ['a bigint', 5n, '5'],
    ['a function', function fail() {}, '<function fail>'],
    [
      'a proxy that throws',
      new Proxy(
        {},
        {
          get: () => JSON.parse('{') as unknown,
          getPrototypeOf: () => JSON.parse('{') as object,
          ownKeys: () => JSON.parse('{') as string[],
        },
      ),
      '<Unrepresentable>',
    ],
    ['a frozen object', Object.freeze({ code: 1 }), "{'code': 1}"],
    ['an object whose getters throw', thrower, '<Unrepresentable>'],
    ['a list', [1, 'a'], "[1, 'a']"],
    ['a promise', Promise.resolve(), '<Promise>'],
  ])('%s, thrown', (_, thrown, text) => {
    const { info, traceback, repr } = describeError(thrown);
    expect(info).toEqual({ exc_type: 'Exception', exc_message: [text], exc_module: 'builtins' });
    expect(traceback).toBeNull();
    expect(repr).toMatch(/^Exception\('/);
    expect(JSON.parse(encodeJson(info))).toEqual(info);
  });

  test('an error whose message, stack, name and cause throw', () => {
    const error = new Error('x');
    // The stack first: it is made when it is looked at, out of the others.
    for (const key of ['stack', 'message', 'name', 'cause', 'constructor']) {
      Object.defineProperty(error, key, { get: () => JSON.parse('{') as unknown });
    }
    expect(describeError(error).info).toEqual({ exc_type: 'Error', exc_message: [''], exc_module: 'lovage' });
    expect(describeError(new Proxy(new Error('x'), { get: () => JSON.parse('{') as unknown })).info.exc_type).toBe(
      'Exception',
    );
  });

  test('what called the task, the worker and Node, is left out of the traceback', () => {
    const error = new RangeError('no');
    error.stack = [
      'RangeError: no',
      '    at price (/srv/shop/node_modules/money/index.js:7:9)',
      '    at Task.<anonymous> (/srv/shop/src/tasks.ts:13:5)',
      '    at Task.run (file:///srv/shop/node_modules/@lovage/core/dist/app/task.js:152:21)',
      '    at AsyncLocalStorage.run (node:async_hooks:346:14)',
      '    at #start (file:///srv/shop/node_modules/.pnpm/a@1/node_modules/@lovage/worker/dist/consumer/dispatcher.js:428:30)',
    ].join('\n');
    expect(describeError(error).traceback).toBe(`Traceback (most recent call last):
  File "/srv/shop/src/tasks.ts", line 13, in Task.<anonymous>
  File "/srv/shop/node_modules/money/index.js", line 7, in price
RangeError: no
`);
    // Where nothing else is there, it is all that there is to see.
    error.stack =
      'RangeError: no\n    at Task.run (file:///srv/shop/node_modules/@lovage/core/dist/app/task.js:152:21)';
    expect(describeError(error).traceback).toContain('task.js", line 152, in Task.run');
  });

  test("the traceback has Python's layout, the innermost frame last, the cause first", () => {
    const cause = new RangeError('first');
    const error = new SmtpError('second', { cause });
    const { traceback } = describeError(error);
    const lines = (traceback as string).trimEnd().split('\n');
    expect(lines[0]).toBe('Traceback (most recent call last):');
    expect(lines.at(-1)).toBe('SmtpError: second');
    expect(lines.at(-2)).toMatch(/^ {2}File "\/.*exception-info\.test\.ts", line \d+, in /);
    const text = lines.join('\n');
    expect(text.indexOf('RangeError: first')).toBeLessThan(
      text.indexOf('The above exception was the direct cause of the following exception:'),
    );
  });

  test('a circle of causes and a huge message end', () => {
    const error = new Error('x'.repeat(1_000_000));
    error.cause = error;
    expect((describeError(error).traceback as string).length).toBeLessThan(70_000);
    expect((describeError(error).info.exc_message as string[])[0]?.length).toBeLessThan(20_000);
  });
});

describe('taskFailure', () => {
  test('tells all that was stored', () => {
    const error = failure({ exc_type: 'ValueError', exc_message: ['no', 1], exc_module: 'builtins' }, 'Traceback ...');
    expect(isLovageError(error, 'ERR_TASK_FAILED')).toBe(true);
    expect(error).toMatchObject({
      message: 'ValueError: no, 1',
      excType: 'ValueError',
      excMessage: ['no', 1],
      excModule: 'builtins',
      traceback: 'Traceback ...',
      taskId: 'the-id',
      state: 'FAILURE',
    });
  });

  const HOSTILE: readonly unknown[] = [
    null,
    undefined,
    0,
    '',
    'text',
    [],
    [1],
    true,
    5n,
    Number.NaN,
    new Date(0),
    Buffer.from('x'),
    {},
    { exc_type: null },
    { exc_type: 5, exc_message: 'x' },
    { exc_type: '', exc_message: '' },
    { exc_type: 'system', exc_message: ['true'], exc_module: 'os' },
    { exc_type: 'exec', exc_message: ['process.exit(1)'], exc_module: 'child_process' },
    { exc_type: 'constructor', exc_message: ['x'], exc_module: '__proto__' },
    { exc_type: 'Function', exc_message: ['return process'], exc_module: 'builtins' },
    { exc_type: 'globalThis.process.exit', exc_message: [1], exc_module: 'node:process' },
    { exc_type: 'x'.repeat(1 << 20), exc_message: 'x'.repeat(1 << 20), exc_module: 'x'.repeat(1 << 20) },
    { exc_type: 'E', exc_message: { toString: null }, exc_module: {} },
    { exc_type: 'E', exc_message: [[[[[[]]]]]], exc_module: [] },
    { exc_type: 'E\nX: forged', exc_message: '\u001b[31m' },
    {
      exc_type: 'UnpickleableExceptionWrapper',
      exc_message: ['m', 'C', "('x',)", "C('x')"],
      exc_module: 'celery.utils.serialization',
    },
  ];

  test.each(HOSTILE.map((value, index) => [index, value] as const))(
    'stored record %i becomes an error, and nothing runs',
    (_, value) => {
      const error = failure(value);
      expect(error).toBeInstanceOf(TaskFailedError);
      expect(Object.getPrototypeOf(error)).toBe(TaskFailedError.prototype);
      expect(typeof error.message).toBe('string');
      expect(error.message.length).toBeLessThan(20_000);
      expect(error.excType.length).toBeLessThanOrEqual(255);
    },
  );

  test('a scalar message, and none', () => {
    expect(failure({ exc_type: 'E', exc_message: 'text' }).message).toBe('E: text');
    expect(failure({ exc_type: 'E' })).toMatchObject({ message: 'E', excMessage: [], excModule: null });
    expect(readExceptionInfo('lost')).toEqual({ exc_type: 'Exception', exc_message: ['lost'], exc_module: null });
  });
});
