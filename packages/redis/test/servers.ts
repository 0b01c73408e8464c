import { spawnSync } from 'node:child_process';
import { type ServerProcess, startServerProcess } from '@lovage/conformance';

/** False where tests that need a server of their own have to be skipped; CI promises to have it. */
export const hasRedisServer: boolean =
  spawnSync('redis-server', ['--version']).status === 0 ||
  (() => {
    if (process.env['CI'] === 'true') throw new Error('redis-server is not installed.');
    return false;
  })();

/** Starts a server of a test's own; `{dir}` in arguments names its folder. */
export function startRedis(args: readonly string[] = [], portOption = '--port'): Promise<ServerProcess> {
  return startServerProcess('redis-server', {
    args: ({ port, dir }) => [
      portOption,
      String(port),
      '--bind',
      '127.0.0.1',
      '--dir',
      dir,
      '--save',
      '',
      ...args.map((arg) => arg.replace('{dir}', dir)),
    ],
  });
}

/** A sentinel that watches one master, with a quorum of one. */
export function startSentinel(masterName: string, masterPort: number): Promise<ServerProcess> {
  return startServerProcess('redis-server', {
    args: ({ dir }) => [`${dir}/sentinel.conf`, '--sentinel'],
    files: ({ port, dir }) => ({
      'sentinel.conf': [
        `port ${port}`,
        'bind 127.0.0.1',
        `dir ${dir}`,
        `sentinel monitor ${masterName} 127.0.0.1 ${masterPort} 1`,
        `sentinel down-after-milliseconds ${masterName} 500`,
        `sentinel failover-timeout ${masterName} 3000`,
      ].join('\n'),
    }),
  });
}
