import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, test } from 'vitest';
import { isSurelyDead, processIdentity } from './process-identity.ts';

test('this process lives', () => {
  expect(isSurelyDead(processIdentity())).toBe(false);
});

test('one of another machine, or of a form that is not known, may live', () => {
  for (const identity of [
    '',
    'x',
    'linux other-boot/pid:[1] 1 1',
    'win32 elsewhere 99999999',
    `${processIdentity().split(' ', 2).join(' ')} x y`,
  ]) {
    expect(isSurelyDead(identity)).toBe(false);
  }
});

test('one that has ended is dead, also when its number was given again', async () => {
  const child = spawn(process.execPath, ['-e', '']);
  await once(child, 'exit');
  const [system, place, , startedAt] = processIdentity().split(' ');
  expect(isSurelyDead([system, place, child.pid, startedAt].filter((part) => part !== undefined).join(' '))).toBe(true);
  if (startedAt !== undefined) expect(isSurelyDead([system, place, process.pid, '1'].join(' '))).toBe(true);
});
