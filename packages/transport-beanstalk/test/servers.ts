import { existsSync } from 'node:fs';
import { type ServerProcess, startServerProcess } from '@lovage/conformance';

const PROGRAM = '/usr/bin/beanstalkd';

/** False where tests that need a server of their own have to be skipped. */
export const hasBeanstalkd: boolean = existsSync(PROGRAM);

/** Starts a server of a test's own; with `isDurable` what it confirmed is on the disk. */
export function startBeanstalkd(args: readonly string[] = [], isDurable = false): Promise<ServerProcess> {
  return startServerProcess(PROGRAM, {
    args: ({ port, dir }) => ['-l', '127.0.0.1', '-p', String(port), ...(isDurable ? ['-b', dir, '-f0'] : []), ...args],
  });
}
