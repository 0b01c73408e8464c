import { expect, test } from 'vitest';
import { inheritedOptions } from './exec-argv.ts';

test.each([
  [['-e', 'import("./worker.js")'], []],
  [['-p', '1'], []],
  [['-pe', '1'], []],
  [['-p', '-e', '1\n+ 2'], []],
  [['--eval=1;\n2', '--print', '3', '-i', '--interactive'], []],
  [['--input-type', 'module', '--eval', '1'], []],
  [['--input-type=module'], []],
  [['--watch', '--watch-path=src', '--watch-path', 'lib', '--watch-preserve-output'], []],
  [['--test', '--test-reporter', 'spec', '--test-only'], []],
  [['--inspect', '--inspect-brk=0', '--inspect-port', '9230'], []],
  [['--cpu-prof', '--cpu-prof-dir', 'a', '--heap-prof-name=b', '--prof'], []],
  [
    ['--import', 'tsx', '--enable-source-maps', '-e', '1', '-r', './hook.cjs', '--max-old-space-size=100'],
    ['--import', 'tsx', '--enable-source-maps', '-r', './hook.cjs', '--max-old-space-size=100'],
  ],
])('a child of node %j inherits %j', (given, inherited) => {
  expect(inheritedOptions(given)).toEqual(inherited);
});
