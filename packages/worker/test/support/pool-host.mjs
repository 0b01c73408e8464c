// A worker in a process of its own, as users run it: built code, its own heap. Speaks with the test by messages.
import { Worker } from '@lovage/worker';

const { appModule, options } = JSON.parse(process.argv[2]);
const { app } = await import(appModule);
const line = (fields, message) => console.error(message, fields.err ?? '');
const logger = { debug() {}, info() {}, warn: line, error: line };
const worker = new Worker(app, { appModule, logger, ...options });
process.on('message', (message) => void answerCall(message));

async function answerCall({ call, name, args }) {
  const answer = (value, error) => process.send({ call, value, error });
  try {
    if (name === 'free') {
      while (worker.pool.free < worker.pool.concurrency) await new Promise((resolve) => setTimeout(resolve, 5));
      answer(true);
    } else if (name === 'stop') {
      await worker.stop(...args);
      answer(true);
      await app.close();
      process.disconnect();
    } else {
      const member = worker[name];
      answer((await (typeof member === 'function' ? member.apply(worker, args) : member)) ?? null);
    }
  } catch (error) {
    answer(undefined, error.message);
  }
}

try {
  await worker.start();
  process.send({ ready: true });
} catch (error) {
  process.send({ failed: error.message });
  process.exit(1);
}
