import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { pidOf } from './multi/nodes.ts';
import { takePidfile } from './pidfile.ts';

let folder: string;
let file: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lovage-pidfile-'));
  file = join(folder, 'worker.pid');
});
afterEach(() => rmSync(folder, { recursive: true }));

test('a file that was left by a process of the same id does not block the start', () => {
  writeFileSync(file, `${process.pid}\n`);
  const remove = takePidfile(file);
  expect(readFileSync(file, 'utf8')).toBe(`${process.pid}\n`);
  remove();
  expect(existsSync(file)).toBe(false);
});

test('a file of a process that runs does', () => {
  writeFileSync(file, `${process.ppid}\n`);
  expect(() => takePidfile(file)).toThrow(`${file} names process ${process.ppid}, which runs.`);
});

// The process of the tests may signal process 1 in a container: nothing here sends a signal.
test.each(['1', '0', '-1', '-4242', ''])('multi finds no worker in a file that says "%s"', (text) => {
  writeFileSync(file, text);
  const node = { name: 'mail@here', executable: 'node', args: [], pidfile: file };
  expect(pidOf(node)).toBeUndefined();
});
