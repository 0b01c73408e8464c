import { describe, expect, test, vi } from 'vitest';
import type { ApplyOptions } from './option-names.ts';
import { broadcastQueue, Queues } from './queues.ts';
import { globPattern, Router, type Route } from './router.ts';
import { readSettings } from './settings.ts';
import type { SettingsInput } from './settings-table.ts';

function routerOf(values: SettingsInput): Router {
  const settings = readSettings([{ from: 'the test', values }], {});
  return new Router(settings, new Queues(settings));
}

const TOPIC: SettingsInput = {
  taskQueues: [
    { name: 'celery' },
    { name: 'media', exchange: { name: 'media', type: 'topic', deliveryMode: 1 }, routingKey: 'media.#' },
    { name: 'img', exchange: { name: 'media', type: 'topic', deliveryMode: 1 }, routingKey: 'img.#' },
    broadcastQueue('bc'),
  ],
};

type Facts = readonly [exchange: string, routingKey: string, declared: readonly string[], extra?: ApplyOptions];

function factsOf({ exchange, routingKey, topology }: Route): unknown[] {
  return [exchange, routingKey, (topology?.queues ?? []).map(({ name }) => name)];
}

// Each line was printed by celery 5.6.3, where it does not say otherwise.
const CASES: readonly (readonly [title: string, SettingsInput, ApplyOptions, Facts])[] = [
  ['nothing said', {}, {}, ['', 'celery', ['celery']]],
  ['queue', {}, { queue: 'foo' }, ['', 'foo', ['foo']]],
  ['queue and key, direct', {}, { queue: 'foo', routingKey: 'k' }, ['', 'foo', ['foo']]],
  ['exchange alone, direct', {}, { exchange: 'ex' }, ['', 'celery', ['celery']]],
  ['exchange and key', {}, { exchange: 'ex', routingKey: 'k' }, ['ex', 'k', ['celery']]],
  ['exchange, key, type', {}, { exchange: 'ex', routingKey: 'k', exchangeType: 'topic' }, ['ex', 'k', ['celery']]],
  ['key alone', {}, { routingKey: 'k' }, ['', 'celery', ['celery']]],
  [
    'default topic exchange',
    { taskDefaultExchangeType: 'topic', taskDefaultRoutingKey: 'a.b' },
    {},
    ['celery', 'a.b', ['celery']],
  ],
  ['topic queue', TOPIC, { queue: 'media' }, ['media', 'media.#', ['media'], { deliveryMode: 1 }]],
  [
    'topic queue, key',
    TOPIC,
    { queue: 'media', routingKey: 'media.x' },
    ['media', 'media.x', ['media'], { deliveryMode: 1 }],
  ],
  // Celery declares only its default queue here, and an emulated broker then loses the message.
  [
    'topic exchange, key',
    TOPIC,
    { exchange: 'media', routingKey: 'media.x' },
    ['media', 'media.x', ['media', 'img', 'celery']],
  ],
  ['topic exchange alone', TOPIC, { exchange: 'media' }, ['', 'celery', ['celery']]],
  ['broadcast', TOPIC, { queue: 'bc' }, ['bc', 'celery', []]],
  ['route to a queue', { taskRoutes: { 'proj.add': 'q1' } }, {}, ['', 'q1', ['q1']]],
  ['call over route', { taskRoutes: { 'proj.add': 'q1' } }, { queue: 'q2' }, ['', 'q2', ['q2']]],
  [
    'route with options',
    { taskRoutes: { 'proj.*': { queue: 'q1', routing_key: 'k', priority: 3 } } },
    {},
    ['', 'q1', ['q1'], { priority: 3 }],
  ],
  [
    'call over route with options',
    { taskRoutes: { 'proj.*': { queue: 'q1', routingKey: 'k', priority: 3 } } },
    { queue: 'q2', priority: 5 },
    ['', 'q2', ['q2'], { priority: 5 }],
  ],
  [
    'route without a place',
    { taskRoutes: { 'proj.*': { priority: 3 } } },
    {},
    ['', 'celery', ['celery'], { priority: 3 }],
  ],
  [
    'an empty route ends the search',
    { taskRoutes: [{ 'proj.*': {} }, { 'proj.add': 'q1' }] },
    {},
    ['', 'celery', ['celery']],
  ],
  // Celery declares nothing for these two.
  [
    'route to an exchange, typed',
    { ...TOPIC, taskRoutes: { 'proj.*': { exchange: 'media', exchangeType: 'topic', routingKey: 'media.y' } } },
    {},
    ['media', 'media.y', ['media', 'img']],
  ],
  [
    'route to an exchange',
    { ...TOPIC, taskRoutes: { 'proj.*': { exchange: 'media', routingKey: 'media.y' } } },
    {},
    ['media', 'media.y', ['media', 'img']],
  ],
  ['names before patterns', { taskRoutes: { 'proj.*': 'glob', 'proj.add': 'exact' } }, {}, ['', 'exact', ['exact']]],
  ['patterns in order', { taskRoutes: { '*.add': 'first', 'proj.*': 'second' } }, {}, ['', 'first', ['first']]],
  [
    'expression from the start',
    {
      taskRoutes: [
        [
          [/pro/g, 're'],
          ['proj.*', 'second'],
        ],
      ],
    },
    {},
    ['', 're', ['re']],
  ],
  [
    'expression not from the middle',
    {
      taskRoutes: [
        [
          [/add/, 're'],
          ['proj.*', 'second'],
        ],
      ],
    },
    {},
    ['', 'second', ['second']],
  ],
  [
    'pairs without a list around (ours)',
    {
      taskRoutes: [
        [/pro/, 're'],
        ['proj.*', 'second'],
      ],
    },
    {},
    ['', 're', ['re']],
  ],
  ['the first router that knows', { taskRoutes: [() => null, { x: 'y' }, () => 'fn'] }, {}, ['', 'fn', ['fn']]],
  [
    'an object',
    { taskRoutes: { routeForTask: (name: string) => `${name}.queue` } },
    {},
    ['', 'proj.add.queue', ['proj.add.queue']],
  ],
  [
    'an object, older name',
    {
      taskRoutes: [{ route_for_task: () => ({ queue: 'old' }) }] as unknown as NonNullable<SettingsInput['taskRoutes']>,
    },
    {},
    ['', 'old', ['old']],
  ],
];

test.each(CASES)('%s', (_, settings, options, [exchange, routingKey, declared, extra = {}]) => {
  const router = routerOf(settings);
  for (const round of ['computed', 'kept']) {
    const route = router.route('proj.add', [], {}, options);
    expect(factsOf(route), round).toEqual([exchange, routingKey, declared]);
    expect(route.options).toMatchObject(extra);
  }
});

test('a function is told of the call, and asked each time', () => {
  const decide = vi.fn((_: string, [user]: readonly unknown[]) => (user === 'big' ? { queue: 'slow' } : undefined));
  const router = routerOf({ taskRoutes: [decide, { '*': 'rest' }] });
  expect(router.route('t', ['big'], { a: 1 }, { countdown: 3 }).routingKey).toBe('slow');
  expect(decide).toHaveBeenLastCalledWith('t', ['big'], { a: 1 }, { countdown: 3 }, { task: undefined });
  expect(router.route('t', ['small']).routingKey).toBe('rest');
  expect(router.route('t', ['big']).routingKey).toBe('slow');
});

test('null and undefined options do not override the route', () => {
  const router = routerOf({ taskRoutes: { t: { queue: 'q', priority: 3, expires: 60 } } });
  const options = { queue: null, priority: undefined, expires: 5 } as unknown as ApplyOptions;
  expect(router.route('t', [], {}, options)).toMatchObject({ routingKey: 'q', options: { priority: 3, expires: 5 } });
});

test('kept routes do not leak options from call to call', () => {
  const router = routerOf({ taskRoutes: { t: { queue: 'q', priority: 3 } } });
  expect(router.route('t', [], {}, { priority: 9, taskId: 'a' }).options).toEqual({
    queue: 'q',
    priority: 9,
    taskId: 'a',
  });
  expect(router.route('t').options).toEqual({ queue: 'q', priority: 3 });
});

test('equal topologies have equal keys', () => {
  const router = routerOf(TOPIC);
  const one = router.route('a', [], {}, { queue: 'media' });
  const two = router.route('b', [], {}, { queue: 'media', routingKey: 'media.x' });
  expect(two.topologyKey).toBe(one.topologyKey);
  expect(two.topology).toBe(one.topology);
});

test('names of generated tasks do not fill memory, nor reach a prototype', () => {
  const router = routerOf({ taskRoutes: { a: 'b' } });
  for (const name of ['__proto__', 'constructor', 'toString']) expect(router.route(name).routingKey).toBe('celery');
  for (let index = 0; index < 25_000; index++) router.route(`generated.${index}`);
  expect(router.route('a').routingKey).toBe('b');
});

describe('mistakes', () => {
  test.each([
    [
      { taskRoutes: { a: { que: 'b' } } },
      'taskRoutes[0], route of "a", has an unknown option "que". Did you mean "queue"?',
    ],
    [{ taskRoutes: { a: { priority: 20 } } }, 'priority 20. Expected an integer from 0 to 9'],
    [{ taskRoutes: { a: 5 } }, 'is 5. Expected the name of a queue'],
    [{ taskRoutes: { a: '' } }, 'is empty'],
    [{ taskRoutes: ['proj.routes:Router'] }, 'taskRoutes[0] is "proj.routes:Router"'],
    [{ taskRoutes: 'proj.routes:Router' }, 'Expected a router or a list of routers'],
    [{ taskRoutes: [[['a', 'b'], 'c']] }, 'no pair of a name and a route'],
    [
      { taskRoutes: { a: 'b' }, taskQueues: ['celery'], taskCreateMissingQueues: false },
      'Queue "b" is not in taskQueues',
    ],
  ])('%j', (settings, message) => {
    expect(() => routerOf(settings as unknown as SettingsInput)).toThrow(message);
  });

  test('at the call', () => {
    expect(() => routerOf({ taskRoutes: () => Promise.resolve('q') as never }).route('t')).toThrow(
      'returned a promise',
    );
    expect(() => routerOf({ taskRoutes: () => 7 as never }).route('t')).toThrow('Expected the name of a queue');
    expect(() => routerOf({ taskRoutes: { t: { exchange: 'x' } } }).route('t')).toThrow(
      'without a routingKey and without a queue',
    );
    expect(() => routerOf({ taskCreateMissingQueues: false }).route('t', [], {}, { queue: 'nope' })).toThrow('"nope"');
  });
});

// As Python 3.11's fnmatch matches them.
test.each<readonly [string, Readonly<Record<string, boolean>>]>([
  ['proj.*', { 'proj.': true, 'proj.a.b': true, 'xproj.a': false, proj: false }],
  ['*[ab]', { xa: true, xc: false, 'x]': false }],
  ['a*?', { a: false, ab: true }],
  ['*[!ab]', { xa: false, xc: true }],
  ['*[]x]', { 'a]': true, ax: true, ab: false }],
  ['*[z-a]b', { zb: false, '-b': false }],
  ['*[', { 'a[': true, a: false }],
  ['**a', { a: true, ba: true }],
  ['*.a+b', { 'x.a+b': true, 'x.aab': false }],
  ['*[a-c]', { xb: true, 'x-': false }],
  ['*[\\d]', { x5: false, xd: true, 'x\\': true }],
  ['*[^a]', { xa: true, 'x^': true, xb: false }],
])('pattern %s', (glob, expected) => {
  for (const [name, isMatch] of Object.entries(expected)) {
    const pattern = globPattern(glob);
    expect(pattern.test(name), name).toBe(isMatch);
  }
});
