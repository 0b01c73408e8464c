import { describe, expect, test } from 'vitest';
import { isLovageError } from '../errors.ts';
import { broadcastQueue, Queues, workerDirectQueue, type QueueDefinition } from './queues.ts';
import { readSettings } from './settings.ts';
import type { SettingsInput } from './settings-table.ts';

function queuesOf(values: SettingsInput): Queues {
  return new Queues(readSettings([{ from: 'the test', values }], {}));
}

function names(queues: readonly QueueDefinition[]): string[] {
  return queues.map(({ name }) => name);
}

/** In the form in which celery 5.6.3 with kombu 5.7.0 printed them. */
function factsOf({ queue, topology, routingKey, exchange, deliveryMode }: QueueDefinition): unknown {
  const { name, durable, autoDelete = false, exclusive = false, arguments: args = {} } = queue;
  expect(topology.queues).toEqual([queue]);
  expect(topology.bindings?.[0]).toMatchObject({ queue: name, exchange: exchange.name, routingKey });
  return {
    name,
    exchange: [
      exchange.name,
      exchange.type,
      exchange.durable,
      exchange.autoDelete ?? false,
      exchange.arguments ?? null,
    ],
    key: routingKey,
    durable,
    auto_delete: autoDelete,
    exclusive,
    args,
    mode: deliveryMode ?? null,
  };
}

const PLAIN = { durable: true, auto_delete: false, exclusive: false, args: {}, mode: null };
const CELERY = ['celery', 'direct', true, false, null];

describe('declares what Celery declares', () => {
  const cases: readonly (readonly [
    title: string,
    settings: SettingsInput,
    names: readonly string[],
    expected: unknown[],
  ])[] = [
    ['the default queue', {}, ['celery'], [{ name: 'celery', exchange: CELERY, key: 'celery', ...PLAIN }]],
    [
      'a quorum default queue with priorities',
      { taskDefaultQueueType: 'quorum', taskQueueMaxPriority: 10 },
      ['celery'],
      [
        {
          name: 'celery',
          exchange: CELERY,
          key: 'celery',
          ...PLAIN,
          args: { 'x-queue-type': 'quorum', 'x-max-priority': 10 },
        },
      ],
    ],
    [
      'a default queue with names of its own',
      {
        taskDefaultQueue: 'd',
        taskDefaultExchange: 'dx',
        taskDefaultExchangeType: 'topic',
        taskDefaultRoutingKey: 'd.k',
      },
      ['d'],
      [{ name: 'd', exchange: ['dx', 'topic', true, false, null], key: 'd.k', ...PLAIN }],
    ],
    [
      'a missing queue',
      {},
      ['foo'],
      [{ name: 'foo', exchange: ['foo', 'direct', true, false, null], key: 'foo', ...PLAIN }],
    ],
    [
      'a missing quorum queue with a topic exchange',
      { taskCreateMissingQueueType: 'quorum', taskCreateMissingQueueExchangeType: 'topic', taskQueueMaxPriority: 5 },
      ['foo'],
      [
        {
          name: 'foo',
          exchange: ['foo', 'topic', true, false, null],
          key: 'foo',
          ...PLAIN,
          args: { 'x-queue-type': 'quorum', 'x-max-priority': 5 },
        },
      ],
    ],
    [
      'a list of queues',
      {
        taskQueues: [
          { name: 'a' },
          {
            name: 'b',
            exchange: { name: 'bx', type: 'topic', durable: false },
            routingKey: 'b.#',
            expires: 1.5,
            messageTtl: 2,
            maxLength: 3,
            maxLengthBytes: 4,
            maxPriority: 5,
            queueArguments: { 'x-queue-mode': 'lazy' },
          },
          { name: 'c', exchange: 'cx', exclusive: true },
          { name: 'd', durable: false, autoDelete: true },
        ],
      },
      ['a', 'b', 'c', 'd'],
      [
        { name: 'a', exchange: CELERY, key: 'celery', ...PLAIN },
        {
          name: 'b',
          exchange: ['bx', 'topic', false, false, null],
          key: 'b.#',
          ...PLAIN,
          args: {
            'x-queue-mode': 'lazy',
            'x-expires': 1500,
            'x-message-ttl': 2000,
            'x-max-length': 3,
            'x-max-length-bytes': 4,
            'x-max-priority': 5,
          },
        },
        {
          name: 'c',
          exchange: ['cx', 'direct', true, false, null],
          key: 'celery',
          ...PLAIN,
          auto_delete: true,
          exclusive: true,
        },
        { name: 'd', exchange: CELERY, key: 'celery', ...PLAIN, durable: false, auto_delete: true },
      ],
    ],
    [
      'a mapping, in snake_case',
      {
        taskQueues: {
          a: {},
          b: { exchange: 'bx', exchange_type: 'topic', binding_key: 'b.#', durable: false },
          c: {
            exchange: 'cx',
            routing_key: 'k',
            auto_delete: true,
            queue_durable: false,
            delivery_mode: 1,
            exchange_arguments: { 'alternate-exchange': 'ae' },
          },
          d: { exchange_type: 'topic', max_priority: 7, queue_arguments: { 'x-max-priority': 3 } },
        } as NonNullable<SettingsInput['taskQueues']>,
        taskQueueMaxPriority: 9,
      },
      ['a', 'b', 'c', 'd'],
      [
        { name: 'a', exchange: CELERY, key: 'a', ...PLAIN, args: { 'x-max-priority': 9 } },
        {
          name: 'b',
          exchange: ['bx', 'topic', false, false, null],
          key: 'b.#',
          ...PLAIN,
          durable: false,
          args: { 'x-max-priority': 9 },
        },
        {
          name: 'c',
          exchange: ['cx', 'direct', true, true, { 'alternate-exchange': 'ae' }],
          key: 'k',
          ...PLAIN,
          durable: false,
          auto_delete: true,
          args: { 'x-max-priority': 9 },
          mode: 1,
        },
        { name: 'd', exchange: CELERY, key: 'd', ...PLAIN, args: { 'x-max-priority': 7 } },
      ],
    ],
  ];
  test.each(cases)('%s', (_, settings, names, expected) => {
    const queues = queuesOf(settings);
    expect(names.map((name) => factsOf(queues.get(name)))).toEqual(expected);
  });

  test("a worker's direct queue", () => {
    expect(factsOf(queuesOf({}).add(workerDirectQueue('w@h')))).toEqual({
      name: 'w@h.dq2',
      exchange: ['C.dq2', 'direct', true, false, null],
      key: 'w@h',
      ...PLAIN,
    });
  });

  test('a broadcast: a queue of its own for each process, and only the exchange for senders', () => {
    const settings = { taskQueues: [broadcastQueue('bc'), 'q'] };
    const queue = queuesOf(settings).get('bc');
    expect(queue.name).toMatch(/^bcast\.[0-9a-f-]{36}$/);
    expect(factsOf(queue)).toEqual({
      name: queue.name,
      exchange: ['bc', 'fanout', true, false, null],
      key: 'celery',
      ...PLAIN,
      auto_delete: true,
    });
    expect(queue.publishTopology).toEqual({ exchanges: [{ name: 'bc', type: 'fanout', durable: true }] });
    expect(queuesOf(settings).get('bc').name).not.toBe(queue.name);
  });
});

test('further bindings bring their exchanges', () => {
  const { topology } = queuesOf({
    taskQueues: [
      {
        name: 'q',
        exchange: 'a',
        routingKey: 'k',
        bindings: [{ exchange: { name: 'b', type: 'topic' }, routingKey: 'x.*' }],
      },
    ],
  }).get('q');
  expect(topology).toEqual({
    exchanges: [
      { name: 'a', type: 'direct', durable: true },
      { name: 'b', type: 'topic', durable: true },
    ],
    queues: [{ name: 'q', durable: true }],
    bindings: [
      { queue: 'q', exchange: 'a', routingKey: 'k' },
      { queue: 'q', exchange: 'b', routingKey: 'x.*' },
    ],
  });
});

test('noDeclare declares nothing', () => {
  expect(queuesOf({ taskQueues: [{ name: 'q', noDeclare: true }] }).get('q').topology).toEqual({});
});

test('a broker-side dead letter place only where it was asked for', () => {
  const queues = queuesOf({
    taskQueues: { plain: {}, asked: { deadLetter: true }, named: { deadLetter: { exchange: 'x', routingKey: 'k' } } },
  });
  expect(queues.get('plain').queue).not.toHaveProperty('deadLetter');
  expect(queues.get('asked').queue.deadLetter).toEqual({ exchange: '', routingKey: 'asked.dead' });
  expect(queues.get('named').queue.deadLetter).toEqual({ exchange: 'x', routingKey: 'k' });
});

test('dead letters go to a queue that a Python worker would declare alike', () => {
  const queues = queuesOf({ taskCreateMissingQueues: false, deadLetterQueue: 'graveyard.{queue}' });
  expect(queues.deadLetterOf('celery')?.topology).toEqual(queuesOf({}).get('graveyard.celery').topology);
  expect(queuesOf({ deadLetterQueue: null }).deadLetterOf('celery')).toBeUndefined();
  expect(queuesOf({ taskQueues: [broadcastQueue('bc')] }).deadLetterOf('bc')?.name).toBe('bc.dead');
});

describe('what a worker consumes', () => {
  const settings: SettingsInput = { taskQueues: ['a', 'b', { name: 'c', alias: 'sea' }] };

  test.each([
    [{}, ['a', 'b', 'c']],
    [{ queues: ['b', 'sea', 'b'] }, ['b', 'c']],
    [{ queues: ['new'] }, ['new']],
    [{ exclude: ['b'] }, ['a', 'c']],
    [{ queues: ['a', 'b'], exclude: ['a'] }, ['b']],
  ])('%o', (selection, expected) => {
    expect(names(queuesOf(settings).select(selection))).toEqual(expected);
  });

  test('a queue that a task has named, or another worker consumes from, is known and not consumed from', () => {
    const queues = queuesOf({ ...settings, taskCreateMissingQueues: true });
    queues.get('named-by-a-task');
    const added = queues.add({ name: 'added', alias: 'more', exchange: 'other' });
    expect(names(queues.select())).toEqual(['a', 'b', 'c']);
    expect([queues.find('added'), queues.find('more'), queues.add('added')]).toEqual([added, added, added]);
  });

  test('an excluded name that is no queue', () => {
    expect(() => queuesOf(settings).select({ exclude: ['aa'] })).toThrow(
      /Queue "aa" is not in taskQueues.*Did you mean "a"\?/,
    );
  });
});

test('queues are not made when they may not be', () => {
  const queues = queuesOf({ taskQueues: ['mail', 'celery'], taskCreateMissingQueues: false });
  expect(queues.get('mail').name).toBe('mail');
  try {
    queues.get('male');
    expect.unreachable();
  } catch (error) {
    expect(isLovageError(error, 'ERR_QUEUE_NOT_FOUND')).toBe(true);
    expect(error).toMatchObject({ queue: 'male', message: expect.stringContaining('Did you mean "mail"?') as string });
  }
  expect(() => queues.select({ queues: ['male'] })).toThrow('not in taskQueues');
});

describe('mistakes in taskQueues', () => {
  test.each([
    [[5], 'taskQueues[0] is no queue'],
    [[''], 'taskQueues[0] is no queue'],
    [[{ exchange: 'x' }], 'taskQueues[0] is no queue'],
    [{ a: null }, 'no options for queue "a"'],
    [{ a: { exchangetype: 'direct' } }, 'Queue "a" has an unknown option "exchangetype". Did you mean "exchangeType"?'],
    [
      { a: { exchange: 'x', exchangeType: 'fan' } },
      'exchangeType "fan". Expected "direct", "topic", "fanout" or "headers"',
    ],
    [{ a: { messageTtl: '5' } }, 'messageTtl "5". Expected a number of seconds'],
    [{ a: { routingKey: 'k', routing_key: 'k' } }, 'twice, in two spellings'],
    [{ a: { exchange: { type: 'direct' } }, b: { exchange: { name: 'x', kind: 'y' } } }, 'unknown option "kind"'],
    [
      [
        { name: 'a', exchange: 'x' },
        { name: 'b', exchange: { name: 'x', type: 'topic' } },
      ],
      'An exchange has one type',
    ],
  ])('%j', (taskQueues, message) => {
    expect(() => queuesOf({ taskQueues } as unknown as SettingsInput)).toThrow(message);
  });
});
