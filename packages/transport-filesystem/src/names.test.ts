import { expect, test } from 'vitest';
import { checkName, delayedName, newMessageName, parseDelayedName, parseMessageName, returnedName } from './names.ts';

test("a name is Kombu's: milliseconds of the monotonic clock, a uuid, the queue", () => {
  const before = Number(process.hrtime.bigint() / 1_000_000n);
  const name = newMessageName('celery', 0);
  expect(name).toMatch(/^\d+_[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}\.celery\.msg$/);
  expect(Number.parseInt(name, 10) - before).toBeLessThan(1000);
});

test('the text order of names is their order in time, also within a millisecond', () => {
  const names = Array.from({ length: 5000 }, () => newMessageName('q', 0));
  expect(names.toSorted()).toEqual(names);
  expect(new Set(names).size).toBe(5000);
});

test('a delayed message has its place by when it is due', () => {
  expect(newMessageName('q', 60_000) > newMessageName('q', 0)).toBe(true);
});

test.each([
  ['12_a-b.celery.msg', { queue: 'celery', ms: 12, returns: 0 }],
  ['12_a-b~3.w1@h.example.celery.pidbox.msg', { queue: 'w1@h.example.celery.pidbox', ms: 12, returns: 3 }],
  ['x.a.b.msg', { queue: 'a.b', ms: 0, returns: 0 }],
])('%s is of its queue only', (name, expected) => {
  expect(parseMessageName(name)).toEqual({ name, ...expected });
});

test.each(['12_a.celery.tmp', 'note.msg', '.msg', '.lovage', '12_a..msg'])('%s is no message', (name) => {
  expect(parseMessageName(name)).toBeUndefined();
});

test('giving back counts, and keeps the place in the order', () => {
  const once = returnedName(parseMessageName('12_a-b.c.d.msg') as never);
  expect(once).toBe('12_a-b~1.c.d.msg');
  expect(returnedName(parseMessageName(once) as never)).toBe('12_a-b~2.c.d.msg');
});

test('a delayed name says when and what', () => {
  const name = '12_a-b.c.d.msg';
  expect(parseDelayedName(delayedName(name, 1_700_000_000_000.5))).toEqual({
    dueAt: 1_700_000_000_001,
    message: parseMessageName(name),
  });
  expect(parseDelayedName('owner')).toBeUndefined();
});

test.each(['', 'a/b', '../x', 'a\\b', 'a\0b', 'x'.repeat(166)])('%j can be no part of a name', (queue) => {
  expect(() => checkName(queue, 'queue')).toThrow(/cannot be part of a file's name/);
});
