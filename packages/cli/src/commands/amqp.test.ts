import { expect, test } from 'vitest';
import { splitWords } from './amqp.ts';

test.each([
  ['queue.bind a "b c" \'d e\'', ['queue.bind', 'a', 'b c', 'd e']],
  [
    String.raw`basic.publish "a \"b\" \\" '' x\ y`,
    ['basic.publish', String.raw`a "b" \\`.replace('\\\\', '\\'), '', 'x y'],
  ],
])('a line of a session in words: %s', (line, words) => expect(splitWords(line)).toEqual(words));

test('a quote that nobody closes takes no time', () => {
  const begun = performance.now();
  splitWords(`basic.publish "${String.raw`\a`.repeat(2000)}`);
  expect(performance.now() - begun).toBeLessThan(1000);
});
