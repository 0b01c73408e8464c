// The benchmarks, each beside its peers in one run: `pnpm bench --peers` (the default), or another suite by its name,
// which is that of its file in scripts/bench/. Absolute numbers depend on the machine; the ratios are what counts.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const named = process.argv.slice(2).flatMap((word) => (word.startsWith('--') ? [word.slice(2)] : []));
const file = (suite) => fileURLToPath(new URL(`bench/${suite}.mjs`, import.meta.url));
const suite = named.find((name) => /^[a-z]+$/.test(name) && name !== 'runs' && existsSync(file(name))) ?? 'peers';
await import(file(suite));
