// A worker and a beat of a sample, as a process of their own on the built packages: its argument says which and where.
import { Beat } from '@lovage/beat';
import { Worker } from '@lovage/worker';
import { sampleApp } from './app.mjs';

const { schedule, ...given } = JSON.parse(process.argv[2]);
const app = sampleApp(given);
const worker = new Worker(app, {
  pool: 'threads',
  appModule: { module: new URL('./app.mjs', import.meta.url).href, export: 'sampleApp', args: [given] },
  nodeName: `${given.mark}worker@here`,
});
const beat = new Beat(app, { schedule });
process.once('SIGTERM', () => void stop());
await Promise.all([worker.start(), beat.start()]);
console.log('ready');

async function stop() {
  await Promise.all([beat.stop(), worker.stop('cold')]);
  await app.close();
}
