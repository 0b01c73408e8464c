// `pnpm check`: format, lint, types and unit tests; what to run before every commit.
import { join } from 'node:path';
import { must, root } from './run.mjs';

const bin = (path) => join(root, 'node_modules', path);
await must(process.execPath, [bin('@biomejs/biome/bin/biome'), 'format', '.']);
await must(process.execPath, [bin('typescript/bin/tsc'), '-b']);
await must(process.execPath, [bin('oxlint/bin/oxlint'), '--type-aware', '--quiet']);
await must(process.execPath, [bin('vitest/vitest.mjs'), 'run', '--project', 'unit']);
