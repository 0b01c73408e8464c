// Publishes COUNT tasks, 200 in flight, and writes what it tried and what was acknowledged to its ledger.
import { openSync, writeSync } from 'node:fs';
import { app, work } from './app.mjs';

const ledger = openSync(process.env.PRODUCER_LEDGER, 'a');
const count = Number(process.env.COUNT);
let next = 0;
const unknown = { count: 0 };

async function lane() {
  for (let n = next++; n < count; n = next++) {
    writeSync(ledger, `try ${n}\n`);
    try {
      await work.applyAsync([n], { retryPolicy: { maxRetries: 20, intervalMax: 1 } });
      writeSync(ledger, `ok ${n}\n`);
    } catch (error) {
      unknown.count++;
      writeSync(ledger, `fail ${n} ${error.code ?? error.name}\n`);
    }
  }
}

await Promise.all(Array.from({ length: 200 }, lane));
await app.close();
console.log(JSON.stringify({ unknown: unknown.count }));
