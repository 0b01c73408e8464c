import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mortalTransport, transportConformance } from '@lovage/conformance';
import { BrokerUrl, builtModule } from '@lovage/core/transport';
import { openSqlDatabase, sqlSchemes } from '@lovage/sql';
import { afterAll, describe, test } from 'vitest';
import { openSqlDriver } from '../src/open.ts';

const folder = mkdtempSync(join(tmpdir(), 'lovage-transport-sql-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.each([
  { kind: 'file', url: `sqla+sqlite:///${join(folder, 'broker.db')}`, transportOptions: {} },
  {
    kind: 'other tables, in memory',
    url: 'sqla+sqlite://',
    transportOptions: {
      queue_tablename: 'my_queue',
      messageTablename: 'my_message',
      leaseMs: 1000,
      synchronous: 'normal',
    },
  },
])('sqlite, $kind', ({ url, transportOptions }) => {
  const { transport, crash } = mortalTransport({
    schemes: sqlSchemes(['sqla']),
    leaseKeeper: builtModule('../src/lease-keeper.ts', import.meta.url),
    open: openSqlDriver,
  });
  transportConformance({
    test,
    transport,
    module: new URL('../dist/index.js', import.meta.url).href,
    url,
    crash,
    connect: { transportOptions: { leaseMs: 1000, ...transportOptions } },
    inject: async (queue, bytes) => {
      const database = await openSqlDatabase(new BrokerUrl(url));
      const { queueTablename = 'kombu_queue', messageTablename = 'kombu_message' } = {
        ...(transportOptions.queue_tablename === undefined ? {} : { queueTablename: transportOptions.queue_tablename }),
        ...(transportOptions.messageTablename === undefined
          ? {}
          : { messageTablename: transportOptions.messageTablename }),
      };
      await database.transaction(async (transaction) => {
        await transaction.execute(
          `INSERT INTO ${messageTablename} (visible, payload, version, queue_id) SELECT 1, CAST(? AS TEXT), 1, id FROM ${queueTablename} WHERE name = ?`,
          [bytes, queue],
        );
        transaction.signal(`messages:${messageTablename}`);
      });
      await database.close();
    },
  });
});
