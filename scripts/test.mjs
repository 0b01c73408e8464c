// `npm test`: sets up, checks, starts real servers and runs every test against them.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root, run } from './run.mjs';
import { servicesOf, startServices } from './services.mjs';
import { setUp } from './setup.mjs';

const node = (script, ...args) => [process.execPath, [join(root, script), ...args]];

await setUp();
const { env, skipped, stop } = await startServices([...new Set([...servicesOf(), 'python', 'python-5.2'])]);
/** @type {[name: string, command: string, args: string[]][]} */
const steps = [
  ['format', ...node('node_modules/@biomejs/biome/bin/biome', 'format', '.')],
  ['lint', ...node('node_modules/oxlint/bin/oxlint', '--type-aware', '--quiet')],
  ['generated tables', ...node('scripts/option-tables.mjs', '--check')],
  ['packages', ...node('scripts/check-packages.mjs')],
  ['an application installs', ...node('scripts/check-install.mjs', 'sqlite', 'amqp')],
  ['new packages', ...node('scripts/check-scaffold.mjs')],
  ['unit and type tests', ...node('node_modules/vitest/vitest.mjs', 'run', '--project', 'unit')],
  ['broker tests', ...node('node_modules/vitest/vitest.mjs', 'run', '--project', 'broker')],
  ['table of promises', ...node('scripts/promises.mjs', '--check')],
  ['interop with Python Celery', ...node('scripts/interop.mjs')],
  ['kill tests', ...node('scripts/chaos.mjs')],
  ['shutdown ladder', ...node('scripts/shutdown.mjs', '--rounds', '9')],
  ['kill test of chords', ...node('scripts/chaos-chords.mjs', '--chords', '150', '--restarts', '1')],
  ['examples', ...node('scripts/examples.mjs')],
  ['the demo on every broker', ...node('scripts/check-demo.mjs')],
];
const report = mkdtempSync(join(tmpdir(), 'lovage-kit-'));
let failed = 0;
try {
  for (const [name, command, args] of steps) {
    const began = Date.now();
    console.log(`\n=== ${name}`);
    const { code } = await run(command, args, { env: { ...process.env, ...env, LOVAGE_KIT_REPORT: report } });
    if (code !== 0) failed++;
    console.log(
      `=== ${name}: ${code === 0 ? 'passed' : `FAILED (${code})`} in ${((Date.now() - began) / 1000).toFixed(1)} s`,
    );
  }
} finally {
  await stop();
  rmSync(report, { recursive: true, force: true });
}
for (const [name, reason] of Object.entries(skipped)) console.log(`skipped ${name}: ${reason}`);
console.log(`\n${steps.length - failed} passed, ${failed} failed, ${Object.keys(skipped).length} skipped`);
process.exitCode = failed === 0 ? 0 : 1;
