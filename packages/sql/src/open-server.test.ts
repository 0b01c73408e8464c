import { createServer } from 'node:net';
import { BrokerUrl } from '@lovage/core/transport';
import { describe, expect, test } from 'vitest';
import { openSqlDatabase } from './open.ts';

/** A port that nobody listens on. */
async function deadPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe('a server that is not there', () => {
  // The real clients, Oracle's in its thin mode.
  test.each(['sqla+postgresql', 'sqla+mysql', 'db+mariadb', 'db+oracle'])('%s', async (scheme) => {
    const url = new BrokerUrl(`${scheme}://joe:secret@127.0.0.1:${await deadPort()}/jobs`);
    const opening = openSqlDatabase(url, { connectTimeoutMs: 3000 });
    await expect(opening).rejects.toMatchObject({ code: 'ERR_CONNECT', retryable: true });
    await expect(opening).rejects.toThrow(/^(PostgreSQL|MySQL|Oracle) at .*127\.0\.0\.1/);
    await expect(opening).rejects.not.toThrow(/secret/);
  });

  test('and one that says nothing, is given up in time', async () => {
    const server = createServer(() => {});
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    for (const scheme of ['sqla+postgresql', 'sqla+mysql']) {
      const url = new BrokerUrl(`${scheme}://joe:secret@127.0.0.1:${port}/jobs`);
      await expect(openSqlDatabase(url, { connectTimeoutMs: 100 })).rejects.toMatchObject({ code: 'ERR_CONNECT' });
    }
    server.close();
  });
});
