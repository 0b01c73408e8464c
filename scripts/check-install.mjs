// An application's install: core, worker and one transport in a fresh folder, packed as they would be published. Only
// that transport's client may come along, no install script may run, and a small program has to run a task.
//
//   node scripts/check-install.mjs [broker ...]      as in scripts/brokers.mjs; all by default
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BROKERS } from './brokers.mjs';
import { run } from './run.mjs';
import { startServices } from './services.mjs';
import { clients, clientsOf, ownTree, pack } from './workspace.mjs';

const PROGRAM = `import { Lovage } from '@lovage/core';
import { Worker } from '@lovage/worker';

const app = new Lovage('hello', { broker: process.env.BROKER });
const add = app.task('tasks.add', (x, y) => {
  console.log('ran:', x + y);
  void worker.stop();
});
const worker = new Worker(app);
await worker.start();
await add.delay(2, 2);
await worker.done;
await app.close();
`;

const folder = mkdtempSync(join(tmpdir(), 'lovage-install-'));
const packed = new Map();
const problems = [];
const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(BROKERS);
try {
  for (const name of names) await check(name, BROKERS[name]);
} finally {
  rmSync(folder, { recursive: true, force: true });
}
for (const problem of problems) console.error(problem);
console.log(`${names.length} installs, ${problems.length} problems`);
process.exitCode = problems.length === 0 ? 0 : 1;

async function check(name, { services, broker, transport = `transport-${name}`, driver }) {
  const own = [...new Set(['core', 'worker', transport].flatMap(ownTree))];
  for (const one of own) if (!packed.has(one)) packed.set(one, await pack(one, folder));
  const place = join(folder, name);
  mkdirSync(place);
  writeFileSync(join(place, 'package.json'), '{ "private": true, "type": "module" }\n');
  writeFileSync(join(place, 'main.mjs'), PROGRAM);
  const install = ['install', '--no-audit', '--no-fund', '--ignore-scripts', '--prefer-offline'];
  const wanted = [...own.map((one) => packed.get(one)), ...(driver === undefined ? [] : [driver])];
  const installed = await run('npm', [...install, ...wanted], { cwd: place, quiet: true });
  if (installed.code !== 0) {
    problems.push(`${name}: npm install ended with ${installed.code}\n${installed.output}`);
    return;
  }
  const allowed = clientsOf(transport);
  const foreign = clients.filter((one) => !allowed.includes(one) && existsSync(join(place, 'node_modules', one)));
  if (foreign.length > 0) problems.push(`${name}: brings along ${foreign.join(', ')}`);
  const running = await startServices(services);
  try {
    const env = { ...process.env, BROKER: broker(running.env, place) };
    const { code, output } = await run('timeout', ['60', process.execPath, 'main.mjs'], {
      cwd: place,
      env,
      quiet: true,
    });
    if (code !== 0 || !output.includes('ran: 4')) problems.push(`${name}: the program ended with ${code}\n${output}`);
    else console.log(`${name}: ${own.length} packages of ours, ran`);
  } finally {
    await running.stop();
  }
}
