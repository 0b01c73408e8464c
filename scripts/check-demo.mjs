// The demo on every broker: the same program, another URL.
//
//   node scripts/check-demo.mjs [broker ...]      as in scripts/brokers.mjs; all by default
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BROKERS } from './brokers.mjs';
import { root, run } from './run.mjs';
import { startServices } from './services.mjs';

const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(BROKERS);
let failed = 0;
for (const name of names) {
  const { services, broker } = BROKERS[name];
  const folder = mkdtempSync(join(tmpdir(), 'lovage-demo-'));
  const { env, skipped, stop } = await startServices(services);
  try {
    if (Object.keys(skipped).length > 0) continue;
    const { LOVAGE_BACKEND: _, ...inherited } = process.env;
    const { code, output } = await run('timeout', ['90', process.execPath, join(root, 'scripts/demo.mjs')], {
      env: { ...inherited, LOVAGE_BROKER: broker(env, folder) },
      quiet: true,
    });
    console.log(`${name}: ${code === 0 ? 'ran' : `FAILED (${code})\n${output}`}`);
    if (code !== 0) failed++;
  } finally {
    await stop();
    rmSync(folder, { recursive: true, force: true });
  }
}
process.exitCode = failed === 0 ? 0 : 1;
