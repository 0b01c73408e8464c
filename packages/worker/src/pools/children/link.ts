import { fork } from 'node:child_process';
import { closeSync } from 'node:fs';
import { getHeapStatistics } from 'node:v8';
import { Worker as Thread } from 'node:worker_threads';
import { NOTE_VARIABLE, openFileNote, openSharedNote } from './begun-note.ts';
import { inheritedOptions } from './exec-argv.ts';
import type { ToChild, ToParent } from './messages.ts';

/** The parent's end of one child: a process or a thread. */
export interface ChildLink {
  /** Process id, or the id of the thread. */
  readonly id: number;
  /** What a child that is gone does not get is dropped: the pool hears of its end. */
  post(message: ToChild): void;
  /** Whether it has begun this job, which is the one that it was given last. Also when it is gone. */
  hasBegun(job: number): boolean;
  /** Ends it whatever it does. `signal` is for processes. */
  kill(signal: NodeJS.Signals): void;
}

export interface ChildEvents {
  readonly onMessage: (message: ToParent) => void;
  /** After the last message. `how` in words: `exited with code 1`. */
  readonly onGone: (how: string) => void;
}

export type OpenLink = (events: ChildEvents) => ChildLink;

/** Beside this file; from the sources it is the built one, since Node cannot run TypeScript everywhere. */
const ENTRY = new URL(
  import.meta.url.endsWith('.ts') ? '../../../dist/pools/children/main.js' : './main.js',
  import.meta.url,
);

/** How long the last messages of a process that is gone may take, where its end of the channel is held open. */
const LAST_WORDS_MS = 1000;

const HEAP_MB = Math.floor(getHeapStatistics().heap_size_limit / 1024 / 1024);

export const openProcess: OpenLink = ({ onMessage, onGone }) => {
  const note = openFileNote();
  const child = fork(ENTRY, [], {
    serialization: 'advanced',
    stdio: ['ignore', 'inherit', 'inherit', 'ipc', ...(note === undefined ? [] : [note.fd])],
    ...(note === undefined ? {} : { env: { ...process.env, [NOTE_VARIABLE]: '4' } }),
    execArgv: inheritedOptions(process.execArgv),
  });
  let how: string | undefined;
  let isGone = false;
  const gone = (): void => {
    if (isGone) return;
    isGone = true;
    onGone(how ?? 'was lost');
    if (note !== undefined) closeSync(note.fd);
  };
  child.on('message', (message) => onMessage(message as unknown as ToParent));
  child.on('exit', (code, signal) => {
    how = signal === null ? `exited with code ${code}` : `was killed by ${signal}`;
    // What it said before is read first.
    if (child.connected) setTimeout(gone, LAST_WORDS_MS);
    else gone();
  });
  child.on('disconnect', () => {
    if (how !== undefined) gone();
  });
  child.on('error', (error) => {
    if (child.pid !== undefined) return;
    how = `could not be started: ${error.message}`;
    gone();
  });
  return {
    id: child.pid ?? 0,
    post: (message) => {
      if (child.connected) child.send(message, () => {});
    },
    hasBegun: (job) => note?.holds(job) ?? true,
    kill: (signal) => void child.kill(signal),
  };
};

export const openThread: OpenLink = ({ onMessage, onGone }) => {
  // Node's options are inherited; the size of the heap is none of them.
  const note = openSharedNote();
  const thread = new Thread(ENTRY, {
    workerData: note.memory,
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MB },
  });
  const id = thread.threadId;
  let error: string | undefined;
  thread.on('message', (message) => onMessage(message as ToParent));
  thread.on('error', (thrown) => {
    error = thrown instanceof Error ? thrown.message : String(thrown);
  });
  thread.on('exit', (code) => onGone(error === undefined ? `exited with code ${code}` : `ended: ${error}`));
  return {
    id,
    post: (message) => thread.postMessage(message),
    hasBegun: (job) => note.holds(job),
    kill: () => void thread.terminate(),
  };
};
