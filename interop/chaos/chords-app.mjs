// The app of the kill test of chords. Each run of a body writes one line to an append-only ledger.
import { openSync, writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Lovage } from '@lovage/core';

export const app = new Lovage('chaos-chords', {
  broker: process.env.BROKER,
  backend: process.env.BACKEND,
  leaseSeconds: 3,
  resolveFrom: import.meta.dirname,
  taskDefaultQueue: process.env.QUEUE ?? 'chaos-chords',
});

export const part = app.task('chords.part', async (n) => {
  await sleep(Math.random() * 200);
  return n;
});

let ledger;

export const body = app.task('chords.body', { bind: true }, (task, numbers) => {
  ledger ??= openSync(`${process.env.LEDGER}-${process.pid}`, 'a');
  writeSync(ledger, `${task.request.id} ${task.request.deliveryInfo.redelivered ? 'again' : 'first'}\n`);
  return numbers.reduce((sum, number) => sum + number, 0);
});
