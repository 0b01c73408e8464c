import { subjectToken } from '@lovage/nats';
import { expect, test } from 'vitest';
import { delaySubject, fanoutSubject, prioritySubject, queueSubject } from './names.ts';

test('a queue is published under its own name where that is a plain subject', () => {
  for (const name of ['celery', 'a.b.c', 'w@h.celery.pidbox', 'größe']) expect(queueSubject(name, '')).toBe(name);
  expect(queueSubject('celery', 'shop.')).toBe('shop.celery');
  expect(queueSubject('lovage.x', 'shop.')).toBe('shop.lovage.x');
});

test('names that would be patterns, or the server’s, or no subjects, are escaped', () => {
  const names = [
    'a.*',
    '>',
    'a b',
    'a..b',
    '.a',
    '',
    '$JS.API.INFO',
    '_INBOX.x',
    'lovage.delayed.q.1',
    'x'.repeat(300),
  ];
  for (const name of names) expect(queueSubject(name, '')).toBe(`lovage.queue.${subjectToken(name)}`);
  expect(subjectToken('a b*ö=')).toBe('a=20b=2a=c3=b6=3d');
});

test('what is Lovage’s own lies below one word, and no two queues share it', () => {
  expect(prioritySubject('a.b', '9', '')).toBe('lovage.priority.9.a=2eb');
  expect(delaySubject('a.b', '*', 'shop.')).toBe('shop.lovage.delayed.a=2eb.*');
  expect(fanoutSubject('celery.pidbox')).toBe('celery.fanout.celery.pidbox');
  expect(fanoutSubject('a*')).toBe('lovage.fanout.a=2a');
});
