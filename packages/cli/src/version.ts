import { createRequire } from 'node:module';

/** The version of this package; all packages of one release share it. */
export function packageVersion(): string {
  return (createRequire(import.meta.url)('@lovage/cli/package.json') as { version: string }).version;
}
