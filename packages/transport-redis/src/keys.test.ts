import { expect, test } from 'vitest';
import { Keys } from './keys.ts';
import { readTransportOptions } from './options.ts';

const keys = (transportOptions: Record<string, unknown> = {}, db = 0): Keys =>
  new Keys(readTransportOptions({ transportOptions }).settings, db);

test('a message goes to the largest step not above its priority, and step 0 has the plain name', () => {
  const own = keys();
  expect(Array.from({ length: 10 }, (_, priority) => own.list('celery', own.stepIndex(priority)))).toEqual([
    ...Array.from({ length: 3 }, () => 'celery'),
    ...Array.from({ length: 3 }, () => 'celery\x06\x163'),
    ...Array.from({ length: 3 }, () => 'celery\x06\x166'),
    'celery\x06\x169',
  ]);
  expect(keys({ prioritySteps: [0, 5], sep: ':' }).lists('q')).toEqual(['q', 'q:5']);
});

test('bindings are joined by the separator, empty parts kept', () => {
  const own = keys();
  const binding = { routingKey: 'worker.#', pattern: '', queue: 'celeryev.1' };
  expect(own.bindings('celeryev')).toBe('_kombu.binding.celeryev');
  expect(own.bindingMember(binding)).toBe('worker.#\x06\x16\x06\x16celeryev.1');
  expect(own.parseBinding(own.bindingMember(binding))).toEqual(binding);
  expect(own.parseBinding('nonsense')).toBeUndefined();
});

test('channels carry the database, the exchange and the routing key', () => {
  const own = keys({}, 3);
  expect(own.channel('celery.pidbox', '')).toBe('/3.celery.pidbox');
  expect(own.channel('celeryev', 'worker.heartbeat')).toBe('/3.celeryev/worker.heartbeat');
  expect(own.channelPatterns('celeryev', 'worker.#')).toEqual(['/3.celeryev/worker.*']);
  expect(own.channelPatterns('celery.pidbox', '')).toEqual(['/3.celery.pidbox', '/3.celery.pidbox/*']);
  expect(own.routingKeyOf('/3.celeryev/worker.heartbeat', 'celeryev')).toBe('worker.heartbeat');
  expect(own.routingKeyOf('/3.celeryev', 'celeryev')).toBe('');
  expect(keys({ fanoutPatterns: false }).channel('e', 'k')).toBe('/0.e');
  expect(keys({ fanoutPrefix: false }).channel('e', 'k')).toBe('e/k');
  expect(keys({ fanoutPrefix: '/shop.' }).channel('e', '')).toBe('/shop.e');
});

test('the global prefix stands before everything', () => {
  const own = keys({ global_keyprefix: 'shop:' });
  expect([
    own.unacked,
    own.unackedIndex,
    own.unackedMutex,
    own.list('q', 1),
    own.bindings('e'),
    own.channel('e', ''),
  ]).toEqual([
    'shop:unacked',
    'shop:unacked_index',
    'shop:unacked_mutex',
    'shop:q\x06\x163',
    'shop:_kombu.binding.e',
    'shop:/0.e',
  ]);
});
