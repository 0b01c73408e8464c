import { createRequire } from 'node:module';

/** The version of this package; all packages of one release share it. */
export function workerVersion(): string {
  return (createRequire(import.meta.url)('@lovage/worker/package.json') as { version: string }).version;
}
