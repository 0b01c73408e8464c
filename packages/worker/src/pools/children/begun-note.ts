import { closeSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';

/**
 * What a child notes when it begins a job, where its parent finds it when the child is gone: a message would wake the
 * parent for each task, to tell it what it needs after a death only.
 */
export interface BegunNote {
  /** The job is the last one that was begun. */
  holds(job: number): boolean;
}

/** Which descriptor of a child process is its note. */
export const NOTE_VARIABLE = 'LOVAGE_BEGUN_NOTE';

/** A file without a name, which the child inherits: what it writes there survives its death. undefined: there is no place. */
export function openFileNote(): (BegunNote & { readonly fd: number }) | undefined {
  const path = join(tmpdir(), `lovage-${randomUUID()}`);
  let fd: number | undefined;
  try {
    fd = openSync(path, 'wx+', 0o600);
    rmSync(path, { force: true });
    // Its room is taken now, so that a disk which is full later does not keep a job from beginning.
    writeNote(fd, Buffer.alloc(BYTES), NO_JOB);
  } catch {
    if (fd !== undefined) closeSync(fd);
    return undefined;
  }
  const file = fd;
  return {
    fd: file,
    holds(job) {
      const text = Buffer.alloc(BYTES);
      const length = readSync(file, text, 0, BYTES, 0);
      return length === BYTES && text.readDoubleLE(0) === job;
    },
  };
}

const BYTES = 8;
const NO_JOB = -1;

function writeNote(fd: number, bytes: Buffer, job: number): void {
  bytes.writeDoubleLE(job, 0);
  if (writeSync(fd, bytes, 0, BYTES, 0) < BYTES) throw new Error('There is no room for a note.');
}

/** In a child process: what notes that a job begins. */
export function fileNotes(): (job: number) => void {
  const fd = Number(process.env[NOTE_VARIABLE]);
  // What the child starts itself inherits the environment, and no descriptor.
  delete process.env[NOTE_VARIABLE];
  if (!(fd > 0)) return () => {};
  const bytes = Buffer.alloc(BYTES);
  return (job) => writeNote(fd, bytes, job);
}

/** Memory that parent and thread share. */
export function openSharedNote(): BegunNote & { readonly memory: SharedArrayBuffer } {
  const memory = new SharedArrayBuffer(BYTES);
  const jobs = new BigInt64Array(memory);
  Atomics.store(jobs, 0, BigInt(NO_JOB));
  return { memory, holds: (job) => Atomics.load(jobs, 0) === BigInt(job) };
}

/** In a thread: what notes that a job begins. */
export function sharedNotes(memory: SharedArrayBuffer): (job: number) => void {
  const jobs = new BigInt64Array(memory);
  return (job) => void Atomics.store(jobs, 0, BigInt(job));
}
