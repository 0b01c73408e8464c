import { existsSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { startServerProcess } from '@lovage/conformance';
import { expect, test } from 'vitest';

/** Greets with its pid and what is in its file. */
const PROGRAM = `
const { readFileSync } = require('node:fs');
const server = require('node:net').createServer((socket) => socket.end(process.pid + ' ' + readFileSync('greeting', 'utf8')));
server.listen(Number(process.argv[1]), '127.0.0.1');`;

const start = (code = PROGRAM) =>
  startServerProcess(process.execPath, {
    args: ({ port }) => ['-e', code, String(port)],
    files: ({ dir }) => ({ greeting: dir }),
    isUpWhenIt: 'greets',
  });

function greeting(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    connect({ host: '127.0.0.1', port })
      .once('data', (data) => resolve(data.toString()))
      .once('error', reject);
  });
}

test('a server is started with its files, killed and started again, and leaves nothing', async () => {
  const server = await start();
  const { pid, port, dir } = server;
  expect(await greeting(port)).toBe(`${pid} ${dir}`);
  await server.restart();
  expect(server.pid).not.toBe(pid);
  expect(await greeting(port)).toBe(`${server.pid} ${dir}`);
  expect(readFileSync(join(dir, 'greeting'), 'utf8')).toBe(dir);
  server.signal('SIGSTOP');
  await server.stop();
  await server.stop();
  expect(existsSync(dir)).toBe(false);
  await expect(greeting(port)).rejects.toThrow('ECONNREFUSED');
});

test('one that does not come up says why', async () => {
  await expect(start('throw new Error("no port for me")')).rejects.toThrow('no port for me');
  await expect(startServerProcess('/no/such/program', { args: () => [] })).rejects.toThrow('ENOENT');
});
