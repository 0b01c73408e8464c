// The app of the kill tests. Each run of a task writes one line to an append-only ledger: bytes handed to write(2)
// survive SIGKILL of the process, and that is all the durability the proof needs.
import { openSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Lovage } from '@lovage/core';

export const app = new Lovage('chaos', {
  broker: process.env.BROKER,
  backend: process.env.BACKEND,
  leaseSeconds: 3,
  taskDefaultQueue: process.env.QUEUE ?? 'chaos',
});

let ledger;
const note = (line) => writeSync((ledger ??= openSync(`${process.env.LEDGER}-${process.pid}`, 'a')), line);

export const work = app.task('chaos.work', async (n) => {
  note(`${String(n)} ${process.pid}\n`);
  await sleep(Math.random() * 80);
  return n;
});
