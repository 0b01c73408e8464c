import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { silentLogger } from '@lovage/core';
import { ManualClock } from '../../test/support/manual-clock.ts';
import { Revokes } from './revokes.ts';
import { StateFile } from './state-file.ts';

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'lovage-state-'));
  path = join(dir, 'worker.state');
});
// A save that was under way when its file was closed may still write beside it, and then its folder is not empty.
afterEach(() => expect.poll(() => rmSync(dir, { recursive: true, force: true })).toBe(undefined));

function open(clock = new ManualClock()) {
  const revokes = new Revokes(clock);
  const errors: string[] = [];
  const logger = { ...silentLogger, error: (_: object, message: string) => void errors.push(message) };
  const file = new StateFile(path, revokes, clock, logger);
  file.open();
  return { clock, revokes, file, errors };
}

test('what is revoked survives, with its age; nothing else is left behind', () => {
  const first = open();
  first.revokes.add('a');
  first.clock.advance(500);
  first.revokes.addStamps({ tenant: 'x' });
  first.file.close();
  expect(readdirSync(dir)).toEqual(['worker.state']);
  const wall = first.clock.now() + 10_799_000;
  const second = open(new ManualClock(wall));
  expect(second.revokes.has('a')).toBe(true);
  expect(second.revokes.matches({ id: 'b', stamps: { tenant: ['x'] } })).toBe(true);
  second.clock.advance(1000);
  expect(second.revokes.has('a')).toBe(false);
  expect(second.errors).toEqual([]);
});

test('what is revoked survives a worker that closes while it is being saved', async () => {
  const { clock, revokes, file } = open();
  revokes.add('a');
  clock.advance(1000);
  file.close();
  expect(open().revokes.has('a')).toBe(true);
  await expect.poll(() => readdirSync(dir)).toEqual(['worker.state']);
});

test.each(['', '{', 'null', '[]', '{"format":"lovage-worker-state","version":9,"ids":[]}', '\u0000\u0013shelve'])(
  'a damaged file never stops the start, and is kept: %j',
  (text) => {
    writeFileSync(path, text);
    const { revokes, file, errors } = open();
    expect(errors).toHaveLength(1);
    expect(readFileSync(`${path}.unreadable`, 'utf8')).toBe(text);
    revokes.add('a');
    file.close();
    expect(open().revokes.has('a')).toBe(true);
  },
);

test('entries that are none are left out; a place that cannot be written is an error in the log only', () => {
  writeFileSync(
    path,
    '{"format":"lovage-worker-state","version":1,"ids":[["a",1],7,["b",null]],"stamps":{"t":[1,"x"]}}',
  );
  const { revokes, errors } = open(new ManualClock(2));
  expect(revokes.ids()).toEqual(['a']);
  expect(revokes.stamps).toEqual({ t: ['x'] });
  expect(errors).toEqual([]);
  path = join(dir, 'missing', 'worker.state');
  const other = open();
  other.revokes.add('a');
  other.file.close();
  expect(other.errors).toEqual(['What is revoked could not be written down.']);
  expect(existsSync(path)).toBe(false);
});
