#!/usr/bin/env node
import module from 'node:module';

// From Node 22.1: what was compiled once is read from a cache of the user's temporary folder the next time.
(module as { enableCompileCache?: () => void }).enableCompileCache?.();

// `lovage inspect stats | head`: whoever reads has had enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});
const { main } = await import('./program.ts');
process.exitCode = await main(process.argv.slice(2));
