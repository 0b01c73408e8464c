// `npm test`: sets up, checks, starts real servers and runs every test against them.
//
// After the quick checks three lanes run side by side: most tests wait for time to pass (leases, heartbeats, delays).
// A step's output is printed when it ends.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { whatFailed } from './failures.mjs';
import { root, run } from './run.mjs';
import { servicesOf, startServices } from './services.mjs';
import { setUp } from './setup.mjs';
import { packageNames } from './workspace.mjs';

/** @typedef {[name: string, command: string, args: string[]]} Step */

const node = (script, ...args) => [process.execPath, [join(root, script), ...args]];
const vitest = (project, ...filters) => node('node_modules/vitest/vitest.mjs', 'run', '--project', project, ...filters);

/** @type {Step[]} */
const CHECKS = [
  ['format', ...node('node_modules/@biomejs/biome/bin/biome', 'format', '.')],
  ['lint', ...node('node_modules/oxlint/bin/oxlint', '--type-aware', '--quiet')],
  ['generated tables', ...node('scripts/option-tables.mjs', '--check')],
  ['packages', ...node('scripts/check-packages.mjs')],
  ['an application installs', ...node('scripts/check-install.mjs', 'sqlite', 'amqp')],
  ['a new project answers within a minute', ...node('scripts/check-init.mjs')],
  ['new packages', ...node('scripts/check-scaffold.mjs')],
  ['unit and type tests', ...vitest('unit')],
];
/** PouchDB Server, which stands for it, takes minutes for thousands of messages. */
const COUCHDB = ['couchdb', 'couchdb-broker'];
/** Packages whose tests wait for time to pass, more than the others' do. */
const PATIENT = [
  ...['sqs', 'couchdb', 'ironmq', 'filesystem', 'nats', 'beanstalk'].map((name) => `transport-${name}`),
  'backend-couchdb',
  'conformance',
];
const brokerTests = (name, packages) => [name, ...vitest('broker', ...packages.map((one) => `packages/${one}/`))];
/** @type {Step[][]} */
const LANES = [
  [
    brokerTests('broker tests, first half', PATIENT),
    ['the demo on every broker', ...node('scripts/check-demo.mjs')],
    [
      'kill tests',
      ...node('scripts/chaos.mjs', '--tasks', '2000', '--kills', '6', ...COUCHDB.map((one) => `--without=${one}`)),
    ],
    ['kill tests of CouchDB', ...node('scripts/chaos.mjs', '--tasks', '1500', '--kills', '5', ...COUCHDB)],
  ],
  [
    brokerTests(
      'broker tests, second half',
      packageNames.filter((one) => !PATIENT.includes(one)),
    ),
    [
      'kill tests of beats',
      ...node('scripts/chaos-beat.mjs', '--acts=kills,leaders', '--kills=6', '--frozen=5', '--lease=2'),
    ],
    ['kill tests of chords', ...node('scripts/chaos-chords.mjs', '--chords', '150', '--restarts', '1')],
    ['shutdown', ...node('scripts/shutdown.mjs', '--rounds', '9', '--slack', '5')],
  ],
  [
    ['interop with Python Celery', ...node('scripts/interop.mjs')],
    ['examples', ...node('scripts/examples.mjs')],
  ],
];
/** @type {Step[]} */
const AFTERWARDS = [['table of promises', ...node('scripts/promises.mjs', '--check')]];

await setUp();
const { env: services, skipped, stop } = await startServices([...new Set([...servicesOf(), 'python', 'python-5.2'])]);
const report = mkdtempSync(join(tmpdir(), 'lovage-kit-'));
const env = { ...process.env, ...services, LOVAGE_KIT_REPORT: report };
const results = [];
try {
  await runAll(CHECKS);
  await Promise.all(LANES.map(runAll));
  await runAll(AFTERWARDS);
} finally {
  await stop();
  rmSync(report, { recursive: true, force: true });
}
console.log('');
for (const { name, code, seconds } of results) {
  console.log(`${code === 0 ? 'passed' : `FAILED (${code})`} in ${seconds} s: ${name}`);
}
for (const [name, reason] of Object.entries(skipped)) console.log(`skipped ${name}: ${reason}`);
const failed = results.filter(({ code }) => code !== 0);
const counts = [results.length - failed.length, failed.length, Object.keys(skipped).length];
console.log(`\n${counts[0]} passed, ${counts[1]} failed, ${counts[2]} skipped`);
for (const { name, output } of failed) {
  console.log(`\n${name}:`);
  for (const line of whatFailed(output, Math.max(2, Math.floor(20 / failed.length) - 2))) console.log(`  ${line}`);
}
process.exitCode = failed.length === 0 ? 0 : 1;

/** @param {Step[]} steps */
async function runAll(steps) {
  for (const [name, command, args] of steps) {
    const began = Date.now();
    const { code, output } = await run(command, args, { env, quiet: true });
    const seconds = ((Date.now() - began) / 1000).toFixed(1);
    results.push({ name, code, seconds, output });
    console.log(`\n=== ${name}\n${output}=== ${name}: ${code === 0 ? 'passed' : `FAILED (${code})`} in ${seconds} s`);
  }
}
