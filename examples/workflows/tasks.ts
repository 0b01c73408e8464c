import { Lovage } from '@lovage/core';

const url = process.env.BROKER ?? 'redis://localhost:6379/0';
export const app = new Lovage('workflows', { broker: url, backend: url });

const TEXTS = new Map([
  ['a', 'the quick brown fox'],
  ['b', 'jumps over the lazy dog'],
  ['c', 'and over the fence'],
]);

export const read = app.task('workflows.read', (name: string) => {
  const text = TEXTS.get(name);
  if (text === undefined) throw new RangeError(`There is no text "${name}".`);
  return text;
});

export const countWords = app.task('workflows.countWords', (text: string) => text.split(' ').length);

export const add = app.task('workflows.add', (counts: number[]) => counts.reduce((sum, count) => sum + count, 0));

export const announce = app.task('workflows.announce', (total: number, unit: string) => `${total} ${unit}`);
