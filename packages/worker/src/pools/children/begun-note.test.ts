import { closeSync, fstatSync } from 'node:fs';
import { expect, onTestFinished, test } from 'vitest';
import type { ToParent } from './messages.ts';
import { openFileNote } from './begun-note.ts';
import { Runner } from './runner.ts';

test('the file of a note has its room from the start, and holds no job', () => {
  const note = openFileNote();
  expect.assert(note !== undefined);
  onTestFinished(() => closeSync(note.fd));
  expect(fstatSync(note.fd).size).toBe(8);
  expect(note.holds(0)).toBe(false);
});

test('a job whose begin cannot be noted fails, and the child says so', () => {
  const posted: ToParent[] = [];
  const full = (): never => {
    throw new Error('ENOSPC');
  };
  const runner = new Runner(
    (message) => void posted.push(message),
    full,
    () => {},
  );
  // Nothing of the job is read before it is noted.
  runner.receive({ kind: 'run', job: 7 } as Parameters<Runner['receive']>[0]);
  expect(posted).toMatchObject([{ kind: 'threw', job: 7, thrown: { described: { repr: "Error('ENOSPC')" } } }]);
});
