// The app of the kill test of beats. Each effect of a periodic task writes one line to an append-only ledger: entry,
// instant, and when it happened.
import { openSync, writeSync } from 'node:fs';
import { Lovage } from '@lovage/core';

const entry = (schedule) => ({ task: 'beats.note', schedule, misfire: 'runAll' });

export const app = new Lovage(process.env.NAME, {
  broker: process.env.BROKER,
  backend: process.env.BACKEND,
  resolveFrom: import.meta.dirname,
  taskDefaultQueue: process.env.NAME,
  beatSchedule: Object.fromEntries(JSON.parse(process.env.ENTRIES).map(([name, seconds]) => [name, entry(seconds)])),
});

let ledger;

app.task('beats.note', { bind: true, ignoreResult: true }, (task) => {
  ledger ??= openSync(`${process.env.LEDGER}-${process.pid}`, 'a');
  const { periodic_task_name: name, 'x-lovage-instant': instant } = task.request.headers;
  writeSync(ledger, `${String(name)} ${Date.parse(instant)} ${Date.now()}\n`);
});
