import { describe, expect, test } from 'vitest';
import type { SignatureDict } from '../canvas/signature-dict.ts';
import { isLovageError } from '../errors.ts';
import {
  APPLY_OPTION_NAMES,
  fromSignatureOptions,
  toCamelCase,
  toSignatureOptions,
  toSnakeCase,
  validateApplyOptions,
  type ApplyOptions,
} from './option-names.ts';

const SIGNATURE: SignatureDict = {
  task: 'done',
  args: [],
  kwargs: {},
  options: {},
  subtask_type: null,
  immutable: false,
};

/** Each option once. */
const ALL: Required<Omit<ApplyOptions, 'eta' | 'addToParent' | 'routeName'>> = {
  taskId: 'id',
  countdown: 1.5,
  expires: 60,
  retry: true,
  retryPolicy: { maxRetries: null, intervalStart: 0, intervalStep: 0.2, intervalMax: 1 },
  shadow: 's',
  queue: 'q',
  exchange: 'x',
  exchangeType: 'topic',
  routingKey: 'k',
  priority: 9,
  serializer: 'json',
  compression: 'zlib',
  deliveryMode: 'transient',
  mandatory: true,
  headers: { a: 1 },
  link: [SIGNATURE],
  linkError: [SIGNATURE],
  ignoreResult: true,
  timeLimit: 10,
  softTimeLimit: 5,
  argsrepr: '(...)',
  kwargsrepr: '{}',
  replyTo: 'r',
  groupId: 'g',
  groupIndex: 0,
  rootId: 'root',
  parentId: 'p',
  retries: 2,
  chord: SIGNATURE,
  chain: [SIGNATURE],
  origin: 'me@host',
  replacedTaskNesting: 1,
  stampedHeaders: ['customer'],
  stamps: { customer: 7 },
  otherOptions: { MessageGroupId: 'm' },
};

describe('names', () => {
  test('both ways', () => {
    for (const name of APPLY_OPTION_NAMES) expect(toCamelCase(toSnakeCase(name))).toBe(name);
  });
});

describe('signature options', () => {
  test("are Celery's", () => {
    expect(toSignatureOptions(ALL)).toEqual({
      MessageGroupId: 'm',
      task_id: 'id',
      countdown: 1.5,
      expires: 60,
      retry: true,
      retry_policy: { max_retries: null, interval_start: 0, interval_step: 0.2, interval_max: 1 },
      shadow: 's',
      queue: 'q',
      exchange: 'x',
      exchange_type: 'topic',
      routing_key: 'k',
      priority: 9,
      serializer: 'json',
      compression: 'zlib',
      delivery_mode: 'transient',
      mandatory: true,
      headers: { a: 1 },
      link: [SIGNATURE],
      link_error: [SIGNATURE],
      ignore_result: true,
      time_limit: 10,
      soft_time_limit: 5,
      argsrepr: '(...)',
      kwargsrepr: '{}',
      reply_to: 'r',
      group_id: 'g',
      group_index: 0,
      root_id: 'root',
      parent_id: 'p',
      retries: 2,
      chord: SIGNATURE,
      chain: [SIGNATURE],
      origin: 'me@host',
      replaced_task_nesting: 1,
      stamped_headers: ['customer'],
      customer: 7,
    });
  });

  test('come back as they went', () => {
    const travelled = JSON.parse(JSON.stringify(toSignatureOptions(ALL))) as Record<string, unknown>;
    const read = fromSignatureOptions(travelled);
    expect(read).toEqual(ALL);
    validateApplyOptions(read);
  });

  test("dates become Python's text, signatures their dicts, one link a list", () => {
    const live = { toJSON: () => SIGNATURE };
    const eta = new Date('2030-01-02T03:04:05.678Z');
    expect(toSignatureOptions({ eta, expires: eta, link: live, linkError: SIGNATURE, chord: live })).toEqual({
      eta: '2030-01-02T03:04:05.678+00:00',
      expires: '2030-01-02T03:04:05.678+00:00',
      link: [SIGNATURE],
      link_error: [SIGNATURE],
      chord: SIGNATURE,
    });
  });

  test('what is for the call alone does not travel', () => {
    const options = { addToParent: false, routeName: 'r', queue: undefined, shadow: null } as unknown as ApplyOptions;
    expect(toSignatureOptions(options)).toEqual({});
  });

  test('stamps name themselves', () => {
    expect(toSignatureOptions({ stamps: { a: 1 } })).toEqual({ stamped_headers: ['a'], a: 1 });
  });

  test('from outside: null is nothing, a countdown beats an eta, priorities have ten levels', () => {
    expect(fromSignatureOptions({ queue: null, eta: '2030-01-01', countdown: 3 })).toEqual({ countdown: 3 });
    expect(fromSignatureOptions({ eta: '2030-01-01', countdown: 0 })).toEqual({ eta: '2030-01-01' });
    expect(fromSignatureOptions({ countdown: 0 })).toEqual({ countdown: 0 });
    expect(fromSignatureOptions({ priority: 255 })).toEqual({ priority: 9 });
    expect(fromSignatureOptions({ retry_policy: { max_retries: 1, errback: null } })).toEqual({
      retryPolicy: { maxRetries: 1 },
    });
    expect(fromSignatureOptions({ stamped_headers: ['gone'] })).toEqual({});
  });

  test('from outside: nothing reaches a prototype', () => {
    const read = fromSignatureOptions(
      JSON.parse('{"__proto__": {"polluted": 1}, "constructor": 2}') as Record<string, unknown>,
    );
    expect(Object.keys(read)).toEqual(['otherOptions']);
    expect(Object.entries(read.otherOptions ?? {})).toEqual([
      ['__proto__', { polluted: 1 }],
      ['constructor', 2],
    ]);
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
    expect(Object.keys(toSignatureOptions(read))).toEqual(['__proto__', 'constructor']);
  });
});

describe('validateApplyOptions', () => {
  test.each<ApplyOptions>([
    {},
    ALL,
    { eta: new Date('2030-01-01') },
    { eta: '2030-01-01T10:00:00.123456+02:00' },
    { eta: '20300101T100000Z', expires: '2030-01-02' },
    { countdown: 0, expires: -1 },
    { expires: new Date('2030-01-01') },
    { priority: 0, deliveryMode: 1, exchange: '', routingKey: '' },
    { queue: undefined, eta: null, countdown: 3 } as unknown as ApplyOptions,
    { link: { toJSON: () => SIGNATURE } },
  ])('takes %o', (options) => {
    expect(() => validateApplyOptions(options)).not.toThrow();
  });

  test.each<[object, string]>([
    [{ countDown: 3 }, 'The call has an unknown option "countDown". Did you mean "countdown"?'],
    [{ link_error: [] }, 'unknown option "link_error". Did you mean "linkError"?'],
    [{ zzzzzzzz: 1 }, 'unknown option "zzzzzzzz".'],
    [{ countdown: '3' }, 'The call has countdown "3". Expected a number of seconds.'],
    [{ countdown: Number.NaN }, 'countdown NaN'],
    [{ countdown: Number.POSITIVE_INFINITY }, 'countdown Infinity'],
    [{ countdown: 1e15 }, 'Expected a number of seconds'],
    [{ eta: new Date('x') }, 'has eta Invalid Date. Expected a valid Date or ISO 8601 text.'],
    [{ eta: 'tomorrow' }, 'has eta "tomorrow"'],
    [{ eta: 1700000000 }, 'Expected a valid Date'],
    [{ expires: Number.NaN }, 'Expected a number of seconds, a valid Date or ISO 8601 text'],
    [{ eta: '2030-01-01', countdown: 0 }, 'both countdown and eta'],
    [{ priority: 10 }, 'Expected an integer from 0 to 9'],
    [{ priority: 1.5 }, 'Expected an integer from 0 to 9'],
    [{ priority: -1 }, 'Expected an integer from 0 to 9'],
    [{ queue: '' }, 'Expected a text that is not empty'],
    [{ queue: { name: 'q' } }, 'has queue {...}'],
    [{ deliveryMode: 3 }, 'Expected 1, 2, "transient" or "persistent"'],
    [{ exchangeType: 'Direct' }, 'Expected "direct", "topic", "fanout" or "headers"'],
    [{ headers: [] }, 'Expected an object'],
    [{ link: 'tasks.done' }, 'Expected a signature or a list of signatures'],
    [{ link: [SIGNATURE, null] }, 'Expected a signature or a list of signatures'],
    [{ timeLimit: 0 }, 'Expected a number of seconds above 0'],
    [{ timeLimit: 5, softTimeLimit: 6 }, 'The soft limit must come first'],
    [{ retryPolicy: { max_retries: 1 } }, 'not "max_retries"'],
    [{ retryPolicy: { intervalStep: -1 } }, 'Expected "intervalStep" to be a number of seconds from 0 up'],
    [{ retryPolicy: { maxRetries: 1.5 } }, 'Expected "maxRetries" to be an integer from 0 up, or null'],
    [{ stampedHeaders: ['a'] }, 'names the stamp "a" but stamps has no value'],
    [{ stamps: { queue: 1 } }, 'has a stamp named "queue", which is an apply option'],
    [JSON.parse('{"__proto__": 1}') as object, 'unknown option "__proto__"'],
  ])('refuses %o', (options, message) => {
    expect(() => validateApplyOptions(options)).toThrow(message);
    try {
      validateApplyOptions(options);
    } catch (error) {
      expect(isLovageError(error, 'ERR_CONFIG')).toBe(true);
    }
  });

  test('says what it is about', () => {
    expect(() => validateApplyOptions({ priority: 11 }, 'Task "tasks.add"')).toThrow(
      'Task "tasks.add" has priority 11.',
    );
  });
});
