#!/usr/bin/env node
import module from 'node:module';
import { endWithReaders } from './closed-pipes.ts';

// From Node 22.1: what was compiled once is read from a cache of the user's temporary folder the next time.
(module as { enableCompileCache?: () => void }).enableCompileCache?.();

endWithReaders();
const { main } = await import('./program.ts');
process.exitCode = await main(process.argv.slice(2));
