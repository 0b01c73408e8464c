// What a child of the pools `threads` and `processes` runs.
import { parentPort, workerData } from 'node:worker_threads';
import { fileNotes, sharedNotes } from './begun-note.ts';
import type { ToChild, ToParent } from './messages.ts';
import { Runner } from './runner.ts';

const port = parentPort;
const exit = (): never => process.exit(0);

const runner =
  port === null
    ? new Runner(
        (message) => {
          if (process.connected) process.send?.(message, undefined, undefined, () => {});
        },
        fileNotes(),
        exit,
      )
    : new Runner((message) => port.postMessage(message), sharedNotes(workerData as SharedArrayBuffer), exit);

process.on('unhandledRejection', (error) => runner.uncaught('Unhandled rejection', error));
process.on('uncaughtException', (error) => runner.uncaught('Uncaught exception', error));

if (port === null) {
  process.on('message', (message) => runner.receive(message as unknown as ToChild));
  process.on('disconnect', exit);
  // A terminal and a service manager signal the whole group; the parent decides what its children do.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGQUIT', 'SIGHUP'] as const) process.on(signal, () => {});
} else {
  port.on('message', (message) => runner.receive(message as ToChild));
}

const alive: ToParent = { kind: 'alive' };
if (port === null) process.send?.(alive);
else port.postMessage(alive);
