import { expect, test } from 'vitest';
import { expandFileName, expandNodeName } from './node-name.ts';

test.each<[string | undefined, string]>([
  [undefined, 'celery@web1.example.org'],
  ['mail', 'mail@web1.example.org'],
  ['mail@%h', 'mail@web1.example.org'],
  ['mail@%n', 'mail@web1'],
  ['%n@%d', 'web1@example.org'],
  ['w%i@here', 'w@here'],
  ['100%%@here', '100%@here'],
  ['%x@here', '%x@here'],
])('%s is %s', (given, expanded) => {
  expect(expandNodeName(given, 'web1.example.org')).toBe(expanded);
});

test('a file for each node', () => {
  expect(expandFileName('/run/%n-%d.%%.state', 'mail@box')).toBe('/run/mail-box.%.state');
  expect(expandFileName('%h', 'mail@box')).toBe('mail@box');
});
