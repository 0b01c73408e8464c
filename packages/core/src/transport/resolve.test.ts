import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import Module from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { resolveBackend } from '../backend/resolve.ts';
import { memoryBackend } from '../memory/memory-backend.ts';
import { memoryTransport } from '../memory/memory-transport.ts';
import { resolveTransport } from './resolve.ts';
import { BrokerUrl } from './url.ts';

let folder: string;

async function install(name: string, source: string): Promise<void> {
  const path = join(folder, 'node_modules', name);
  await mkdir(path, { recursive: true });
  await writeFile(
    join(path, 'package.json'),
    JSON.stringify({ name, version: '1.0.0', type: 'module', exports: './index.js' }),
  );
  await writeFile(join(path, 'index.js'), source);
}

beforeAll(async () => {
  // pnpm starts programs with a NODE_PATH under which every package of the workspace is found.
  delete process.env['NODE_PATH'];
  (Module as unknown as { _initPaths(): void })._initPaths();
  folder = await mkdtemp(join(tmpdir(), 'lovage-resolve-'));
  await install(
    '@lovage/transport-amqp',
    `export const other = 1; export const t = { schemes: ['amqp', 'amqps'], connect() {} };`,
  );
  await install('@lovage/transport-redis', `throw new Error('broken package');`);
  await install('@lovage/backend-rpc', `export const rpcBackend = { schemes: ['rpc'], open() {} };`);
});

afterAll(() => rm(folder, { recursive: true }));

const find = (scheme: string, from = folder) => resolveTransport(new BrokerUrl(`${scheme}://host`), { from });

describe('resolveTransport', () => {
  test('memory is built in', async () => {
    expect(await find('memory')).toBe(memoryTransport);
  });

  test('what the app gives comes first, for parts of a scheme too', async () => {
    const own = { schemes: ['amqp', 'sqla+sqlite'], connect: memoryTransport.connect.bind(memoryTransport) };
    expect(await resolveTransport(new BrokerUrl('AMQP://h'), { transports: [own], from: folder })).toBe(own);
    expect(await resolveTransport(new BrokerUrl('sqla+sqlite+pysqlite:///f'), { transports: [own] })).toBe(own);
  });

  test("a package is found from the application's folder or file", async () => {
    expect(await find('amqps')).toMatchObject({ schemes: ['amqp', 'amqps'] });
    expect(await find('amqp', pathToFileURL(join(folder, 'src', 'app.js')).href)).toMatchObject({
      schemes: ['amqp', 'amqps'],
    });
  });

  test('a package that is too old for a scheme, or broken, says so', async () => {
    await expect(find('pyamqp')).rejects.toMatchObject({
      code: 'ERR_CONFIG',
      message: expect.stringContaining('@lovage/transport-amqp'),
    });
    await expect(find('redis')).rejects.toThrow('broken package');
  });

  test('a package that is missing is named', async () => {
    await expect(
      resolveTransport(new BrokerUrl('sqla+sqlite:///f'), { from: folder, fallbacks: [] }),
    ).rejects.toMatchObject({
      code: 'ERR_TRANSPORT_NOT_FOUND',
      message:
        'No transport handles "sqla+sqlite://". Run "npm install @lovage/transport-sql" or pass the transport in "transports".',
    });
  });

  test('a typo gets the nearest scheme', async () => {
    await expect(find('reddis')).rejects.toThrow('No transport handles "reddis://". Did you mean "redis"?');
    await expect(find('constructor')).rejects.toMatchObject({ code: 'ERR_TRANSPORT_NOT_FOUND' });
  });
});

describe('resolveBackend', () => {
  const findBackend = (scheme: string, from = folder) => resolveBackend(new BrokerUrl(`${scheme}://host`), { from });

  test('finds what is built in, given, or installed', async () => {
    expect(await findBackend('cache+memory')).toBe(memoryBackend);
    expect(await findBackend('rpc')).toMatchObject({ schemes: ['rpc'] });
    const own = { schemes: ['db+sqlite'], open: memoryBackend.open.bind(memoryBackend) };
    expect(await resolveBackend(new BrokerUrl('db+sqlite:///f'), { backends: [own] })).toBe(own);
  });

  test('says what is wrong', async () => {
    await expect(resolveBackend(new BrokerUrl('db+sqlite:///f'), { from: folder, fallbacks: [] })).rejects.toThrow(
      'Run "npm install @lovage/backend-sql"',
    );
    await expect(findBackend('amqp')).rejects.toMatchObject({ code: 'ERR_CONFIG' });
    await expect(findBackend('rcp')).rejects.toThrow('Did you mean "rpc"?');
  });
});
