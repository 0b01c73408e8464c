import { expect, test } from 'vitest';
import { Lovage } from './lovage.ts';
import { pickApp } from './pick-app.ts';
import { sharedTask } from './shared-task.ts';

const app = new Lovage('one');
const other = new Lovage('two');
const add = app.task('add', (x: number, y: number) => x + y);
const mail = other.task('mail', () => undefined);
const shared = sharedTask('pick-app.shared', () => undefined);

test.each([
  ['by its usual name', { other, app }, app],
  ['the only one', { mine: other, add }, other],
  ['of a CommonJS module', { default: { mine: other } }, other],
  ['of the exported tasks, where none is exported', { add, shared, limit: 3 }, app],
])('an app %s', (_, module, expected) => {
  expect(pickApp(module, undefined, './tasks')).toBe(expected);
});

test.each([
  ['nothing', {}, /"\.\/tasks" exports no Lovage app and none of an app's tasks\. Expected: export const app/],
  ['a shared task alone', { shared }, /exports no Lovage app/],
  ['two apps', { one: app, two: other }, /exports 2 apps\. Pick one with -A \.\/tasks:name/],
  ['tasks of two apps', { add, mail }, /exports tasks of 2 apps and no app\. Export/],
])('%s is an error', (_, module, message) => {
  expect(() => pickApp(module, undefined, './tasks')).toThrow(message);
});
