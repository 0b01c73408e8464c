import { transportConformance } from '@lovage/conformance';
import { BrokerUrl } from '@lovage/core/transport';
import { openSqlDatabase } from '@lovage/sql';
import { describe, test } from 'vitest';
import { sqlTransport } from '../src/index.ts';

const { LOVAGE_TEST_POSTGRESQL_URL: postgresql = '', LOVAGE_TEST_MARIADB_URL: mariadb = '' } = process.env;

describe.each([
  { name: 'PostgreSQL', url: postgresql, defaultPort: 5432, yes: 'true', id: "nextval('message_id_sequence')" },
  { name: 'MariaDB', url: mariadb, defaultPort: 3306, yes: '1', id: 'nextval(message_id_sequence)' },
])('$name', ({ name, url, defaultPort, yes, id }) => {
  describe.skipIf(url === '')('passes the kit', () => {
    transportConformance({
      test,
      transport: sqlTransport,
      module: new URL('../dist/index.js', import.meta.url).href,
      url: `sqla+${url}`,
      defaultPort,
      connect: { transportOptions: { leaseMs: 1000 } },
      skip: {
        'malformed: what is no envelope is delivered with its bytes, and the consumer lives on':
          'a column for text takes no bytes that are none',
      },
      inject: async (queue, bytes) => {
        const database = await openSqlDatabase(new BrokerUrl(`sqla+${url}`));
        const payload = name === 'PostgreSQL' ? "convert_from(CAST(? AS bytea), 'UTF8')" : '?';
        await database.transaction(async (transaction) => {
          await transaction.execute(
            `INSERT INTO kombu_message (id, visible, payload, version, queue_id) SELECT ${id}, ${yes}, ${payload}, 1, id FROM kombu_queue WHERE name = ?`,
            [bytes, queue],
          );
          transaction.signal('messages:kombu_message');
        });
        await database.close();
      },
    });
  });
});
