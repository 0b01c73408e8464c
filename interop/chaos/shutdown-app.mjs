// The app of the shutdown ladder. Each task writes when it begins and when it has ended to an append-only ledger.
import { openSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Lovage } from '@lovage/core';

export const app = new Lovage('shutdown', {
  broker: process.env.BROKER,
  backend: process.env.BACKEND,
  leaseSeconds: 3,
  taskDefaultQueue: process.env.QUEUE,
  workerShutdownTimeout: Number(process.env.GRACE),
  brokerConnectionTimeout: 1,
});

let ledger;
const note = (line) => writeSync((ledger ??= openSync(process.env.LEDGER, 'a')), `${line}\n`);

app.task('shutdown.work', { bind: true }, async (task, n, ms, heeds) => {
  note(`begin ${String(n)}`);
  await sleep(ms, undefined, heeds ? { signal: task.signal } : {});
  note(`end ${String(n)}`);
});

if (process.argv[1] === import.meta.filename && process.argv[2] === 'fill') {
  const [, , , count, kind] = process.argv;
  const length = (n) => (kind === 'mixed' && n % 10 === 3 ? 4000 : 20 + ((n * 37) % 180));
  // Of the long ones half heed their signal, half are deaf.
  await Promise.all(
    Array.from({ length: Number(count) }, (_, n) =>
      app.sendTask('shutdown.work', { args: [n, length(n), n % 20 === 3] }),
    ),
  );
  await app.close();
}
