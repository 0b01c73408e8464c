import { expect, test } from 'vitest';
import { tubeOf } from './tubes.ts';

test('a name that beanstalkd takes is the tube, as Kombu had it', () => {
  for (const name of ['celery', 'a.b', 'x-y_z', 'a/b;c+d', '$a', 'A(1)']) expect(tubeOf(name)).toBe(name);
});

test('what it does not take is escaped, and no two queues share a tube', () => {
  expect(tubeOf('w@h.celery.pidbox')).toBe('w$40h.celery.pidbox');
  expect(tubeOf('a b:ö')).toBe('a$20b$3a$c3$b6');
  expect(tubeOf('-x')).toBe('$2dx');
  const names = [
    'a@b',
    'a$40b',
    'a$2440b',
    '',
    '$',
    '$24',
    'a\r\nb',
    'x'.repeat(200),
    'x'.repeat(201),
    '@'.repeat(100),
  ];
  const tubes = names.map(tubeOf);
  expect(new Set(tubes).size).toBe(names.length);
  for (const tube of tubes) expect(tube).toMatch(/^[A-Za-z0-9+/;.$_()][A-Za-z0-9\-+/;.$_()]{0,199}$/);
});
