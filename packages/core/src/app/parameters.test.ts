import { describe, expect, test } from 'vitest';
import { isLovageError } from '../errors.ts';
import { describeParameters } from './parameters.ts';
import type { AnySchema } from './task-types.ts';

type Fn = (...args: never[]) => unknown;

function bind(fn: Fn, args: readonly unknown[], kwargs: Record<string, unknown> = {}, declared: object = {}): unknown {
  const bound = describeParameters('tasks.add', fn, declared).bind(args, kwargs);
  return bound instanceof Promise ? bound : [...bound];
}

/** The message that Python's caller sees. */
function refusal(...call: Parameters<typeof bind>): string {
  try {
    bind(...call);
  } catch (error) {
    if (isLovageError(error, 'ERR_TASK_ARGUMENTS')) return error.message;
    throw error;
  }
  return 'accepted';
}

const two = (x: number, y: number): number => x + y;
const none = (): undefined => undefined;
const one = (x: number): number => x;
const three = (x: number, y: number, z: number): number => x + y + z;
// The text of the function says how many it takes.
const optional = function (x: number, y?: number): number {
  return x + (y ?? 0);
};
const withDefault = (x: number, y = 5): number => x + y;
const rest = (x: number, ...more: number[]): number => x + more.length;

describe('positional arguments', () => {
  test.each<[Fn, unknown[]]>([
    [two, [1, 2]],
    [none, []],
    [optional, [1, 2]],
    [withDefault, [1]],
    [withDefault, [1, 2]],
    [rest, [1, 2, 3, 4]],
    [async (x: number) => x, [1]],
    [({ x }: { x: number }) => x, [{ x: 1 }]],
  ])('%s takes %j', (fn, args) => {
    expect(bind(fn, args)).toEqual(args);
  });

  test.each<[string, Fn, unknown[]]>([
    ['add() takes 2 positional arguments but 3 were given', two, [1, 2, 3]],
    ['add() takes 0 positional arguments but 1 was given', none, [1]],
    ['add() takes 1 positional argument but 2 were given', one, [1, 2]],
    ["add() missing 1 required positional argument: 'argument 2'", two, [1]],
  ])('as Python says it: %s', (message, fn, args) => {
    expect(refusal(fn, args)).toBe(message);
  });

  test('a parameter that TypeScript calls optional is so when params says it', () => {
    const declared = { params: ['x', 'y?'] };
    expect(refusal(optional, [1])).toBe("add() missing 1 required positional argument: 'argument 2'");
    expect(bind(optional, [1], {}, declared)).toEqual([1]);
    expect(bind(optional, [], { x: 1, y: 2 }, declared)).toEqual([1, 2]);
    expect(refusal(optional, [], { y: 2 }, declared)).toBe("add() missing 1 required positional argument: 'x'");
    expect(refusal(optional, [1, 2, 3], {}, declared)).toBe(
      'add() takes from 1 to 2 positional arguments but 3 were given',
    );
    expect(() => bind(optional, [1], {}, { params: ['x?', 'y'] })).toThrow(
      'a required parameter after an optional one',
    );
  });

  test('several missing arguments are listed as Python lists them', () => {
    const params = ['x', 'y', 'z'];
    expect(refusal(two, [], {}, { params: ['x', 'y'] })).toBe(
      "add() missing 2 required positional arguments: 'x' and 'y'",
    );
    expect(refusal(three, [], {}, { params })).toBe("add() missing 3 required positional arguments: 'x', 'y', and 'z'");
  });

  test('a function with a default says from where to where', () => {
    expect(refusal(withDefault, [1, 2, 3], {}, { params: ['x', 'y'] })).toBe(
      'add() takes from 1 to 2 positional arguments but 3 were given',
    );
  });

  test('the context of a bound task does not count', () => {
    const bound = (_task: unknown, x: number): number => x;
    expect(bind(bound as Fn, [1], {}, { bind: true })).toEqual([1]);
    expect(refusal(bound as Fn, [1, 2], {}, { bind: true })).toBe('add() takes 1 positional argument but 2 were given');
  });

  test('functions whose text is hidden take what they are given', () => {
    const method = { base: 1, add: two }.add.bind(undefined);
    expect(bind(method, [1, 2])).toEqual([1, 2]);
    expect(bind(Math.pow, [2, 3])).toEqual([2, 3]);
    expect(bind(new Proxy(two, {}), [1, 2])).toEqual([1, 2]);
  });
});

describe('keyword arguments', () => {
  const params = ['x', 'y'];
  test.each<[unknown[], Record<string, unknown>, unknown[]]>([
    [[], { y: 2, x: 1 }, [1, 2]],
    [[1], { y: 2 }, [1, 2]],
  ])('%j and %j become %j', (args, kwargs, bound) => {
    expect(bind(two, args, kwargs, { params })).toEqual(bound);
  });

  test('what is left out takes its default', () => {
    const spread = (x: number, y = 5, z = 7): number => x + y + z;
    const bound = bind(spread, [1], { z: 1 }, { params: ['x', 'y', 'z'] }) as [number, number, number];
    expect(spread(...bound)).toBe(7);
  });

  test('names from outside reach no prototype', () => {
    const hostile = JSON.parse('{"__proto__": 1}') as Record<string, unknown>;
    expect(refusal(two, [1, 2], hostile, { params })).toBe("add() got an unexpected keyword argument '__proto__'");
    expect(refusal(two, [1, 2], { length: 0 }, { params })).toBe("add() got an unexpected keyword argument 'length'");
  });

  test.each<[string, unknown[], Record<string, unknown>]>([
    ["add() got an unexpected keyword argument 'z'", [1, 2], { z: 3 }],
    ["add() got multiple values for argument 'x'", [1], { x: 1 }],
    ["add() missing 1 required positional argument: 'x'", [], { y: 1 }],
    ["add() got an unexpected keyword argument 'z'", [1, 2, 3], { z: 3 }],
    ["add() got multiple values for argument 'x'", [1, 2, 3], { x: 3 }],
  ])('as Python says it: %s', (message, args, kwargs) => {
    expect(refusal(two, args, kwargs, { params })).toBe(message);
  });

  test('without params the error says what to declare', () => {
    expect(refusal(two, [1], { y: 2 })).toMatch(/^add\(\) got an unexpected keyword argument 'y'\. Declare params/);
  });

  test('params that contradict the function are refused', () => {
    expect(() => describeParameters('add', two, { params: ['x'] })).toThrow(/takes 2 arguments but params names 1/);
    expect(() => describeParameters('add', two, { params: ['x', 'x'] })).toThrow(/twice/);
  });
});

describe('a schema', () => {
  function schema(validate: (value: { n?: unknown }) => unknown, isAsync = false): AnySchema {
    const answer = (value: unknown): { value: unknown } | { issues: { message: string; path: string[] }[] } => {
      const result = validate(value as object);
      return result instanceof Error ? { issues: [{ message: result.message, path: ['n'] }] } : { value: result };
    };
    return {
      '~standard': {
        version: 1,
        vendor: 'test',
        validate: (value) => (isAsync ? Promise.resolve(answer(value)) : answer(value)) as never,
      },
    };
  }
  const numeric = ({ n }: { n?: unknown }): unknown =>
    typeof n === 'number' ? { n: n + 1 } : new Error('expected a number');

  test('gives the function what it makes of the keyword arguments', async () => {
    expect(bind(one, [], { n: 1 }, { input: schema(numeric) })).toEqual([{ n: 2 }]);
    expect(await bind(one, [], { n: 1 }, { input: schema(numeric, true) })).toEqual([{ n: 2 }]);
  });

  test('says which argument does not fit, sync or not', async () => {
    const message = 'add() got arguments that do not fit its input schema: n: expected a number';
    expect(refusal(one, [], { n: 'x' }, { input: schema(numeric) })).toBe(message);
    await expect(bind(one, [], { n: 'x' }, { input: schema(numeric, true) })).rejects.toMatchObject({
      code: 'ERR_TASK_ARGUMENTS',
      message,
    });
  });

  test('takes positional arguments where params name them', () => {
    const input = schema(numeric);
    expect(bind(one, [1], {}, { input, params: ['n'] })).toEqual([{ n: 2 }]);
    expect(refusal(one, [1], { n: 1 }, { input, params: ['n'] })).toBe("add() got multiple values for argument 'n'");
    expect(refusal(one, [1], {}, { input })).toMatch(/takes keyword arguments but 1 positional argument was given/);
  });
});
