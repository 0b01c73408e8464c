import { BrokerUrl, type PublishError, type QueueEntry } from '@lovage/core/transport';
import { grammarOf, openSqlDatabase, type SqlDatabase, type SqlValue } from '@lovage/sql';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { SqlDriver, SqlReceipt } from '../src/driver.ts';
import { openSqlDriver } from '../src/open.ts';

const { LOVAGE_TEST_POSTGRESQL_URL: postgresql = '', LOVAGE_TEST_MARIADB_URL: mariadb = '' } = process.env;

/** What `\d` and SHOW CREATE TABLE say of the tables that SQLAlchemy 2.0 made of Kombu's models on these servers. */
const LAYOUTS = {
  postgresql: {
    columns:
      "SELECT column_name AS name, data_type AS type, is_nullable AS nullable, column_default AS initial FROM information_schema.columns WHERE table_name = 'kombu_message' ORDER BY ordinal_position",
    types: ['integer', 'boolean', 'timestamp without time zone', 'text', 'smallint', 'integer'],
  },
  mariadb: {
    columns:
      "SELECT COLUMN_NAME AS name, COLUMN_TYPE AS type, IS_NULLABLE AS nullable, NULLIF(COLUMN_DEFAULT, 'NULL') AS initial FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'kombu_message' ORDER BY ORDINAL_POSITION",
    types: ['int(11)', 'tinyint(1)', 'datetime', 'text', 'smallint(6)', 'int(11)'],
  },
} as const;

describe.each([
  { product: 'postgresql', base: postgresql },
  { product: 'mariadb', base: mariadb },
] as const)('$product', ({ product, base }) => {
  describe.skipIf(base === '')('in its tables', () => {
    const url = new BrokerUrl(`sqla+${base}`);
    const drivers: SqlDriver[] = [];
    let database: SqlDatabase;
    let queue: string;
    let count = 0;

    beforeAll(async () => {
      database = await openSqlDatabase(url);
      for (const { name } of await database.query(...existingTables(product))) {
        await run(`DROP TABLE ${String(name)}${product === 'postgresql' ? ' CASCADE' : ''}`);
      }
    });
    afterAll(() => database.close());
    beforeEach(() => {
      queue = `q${++count}`;
    });
    afterEach(() => Promise.all(drivers.splice(0).map((driver) => driver.close())));

    async function open(transportOptions: Record<string, unknown> = {}): Promise<SqlDriver> {
      const driver = await openSqlDriver(url, { transportOptions });
      drivers.push(driver);
      return driver;
    }

    /** A second process, as far as the server is concerned: connections of its own. */
    async function openForeign(): Promise<SqlDriver> {
      const driver = await openSqlDriver(new BrokerUrl(`sqla+${base}?connect_timeout=${3 + ++count}`), {});
      drivers.push(driver);
      return driver;
    }

    function run(sql: string, parameters: readonly SqlValue[] = []): Promise<number> {
      return database.transaction((transaction) => transaction.execute(sql, parameters));
    }

    const entry = (payload: string, delayMs = 0): QueueEntry => ({
      queue,
      payload,
      deliveryTag: payload,
      priority: 0,
      delayMs,
    });
    const push = (driver: SqlDriver, ...payloads: string[]): Promise<void> =>
      driver.push(payloads.map((payload) => entry(payload)));

    async function pull(
      driver: SqlDriver,
      waitMs = 0,
    ): Promise<readonly { payload: unknown; receipt: SqlReceipt; deliveryCount: number }[]> {
      return driver.pull({ queues: [queue], max: 10, waitMs, signal: new AbortController().signal });
    }

    const rows = (): Promise<readonly unknown[]> =>
      database.query(
        'SELECT m.payload, m.visible, m.timestamp, m.version FROM kombu_message m JOIN kombu_queue q ON q.id = m.queue_id WHERE q.name = ? ORDER BY m.id',
        [queue],
      );

    test('has what SQLAlchemy makes of the models of Kombu 5.6', async () => {
      await open();
      expect(await database.query(LAYOUTS[product].columns)).toEqual(
        ['id', 'visible', 'timestamp', 'payload', 'version', 'queue_id'].map((name, index) => ({
          name,
          type: LAYOUTS[product].types[index],
          nullable: ['id', 'payload', 'version'].includes(name) ? 'NO' : 'YES',
          initial: null,
        })),
      );
      const { sql, parameters } = grammarOf(product).existing([
        'queue_id_sequence',
        'message_id_sequence',
        'ix_kombu_message_visible',
        'ix_kombu_message_timestamp',
        'ix_kombu_message_timestamp_id',
      ]);
      expect(await database.query(sql, parameters)).toHaveLength(5);
    });

    test('holds a message as Kombu writes it, hides it while it is taken, and loses it when it is acked', async () => {
      const driver = await open();
      await push(driver, 'a', '"\u00e4\u{1f33f}"');
      expect(await rows()).toEqual([
        { payload: 'a', visible: 1, timestamp: null, version: 1 },
        { payload: '"\\u00e4\\ud83c\\udf3f"', visible: 1, timestamp: null, version: 1 },
      ]);
      const [a, b] = await pull(driver);
      expect(await rows()).toMatchObject([
        { visible: 0, timestamp: null, version: 2 },
        { visible: 0, timestamp: null, version: 2 },
      ]);
      await driver.settle([
        { receipt: receiptOf(a), outcome: 'ack' },
        { receipt: receiptOf(b), outcome: 'requeue' },
      ]);
      expect(await rows()).toMatchObject([{ visible: 1, timestamp: null, version: 3 }]);
      expect(await pull(driver)).toMatchObject([{ deliveryCount: 2 }]);
    });

    test('keeps what Python took hidden, dead or alive', async () => {
      const driver = await open();
      await push(driver, 'python', 'ours');
      await run(
        `UPDATE kombu_message SET visible = ${grammarOf(product).no}, timestamp = '2026-01-01 00:00:00', version = 2 WHERE payload = 'python'`,
      );
      expect(await pull(driver)).toMatchObject([{ payload: 'ours' }]);
      await run('UPDATE lovage_consumer SET lease_until = 0');
      const heir = await open();
      expect(await pull(heir)).toMatchObject([{ payload: 'ours', deliveryCount: 2 }]);
      expect(await heir.purge(queue)).toBe(0);
      expect(await rows()).toHaveLength(2);
    });

    test('passes over what another transaction has locked', async () => {
      const driver = await open();
      const foreign = await openForeign();
      await push(driver, 'a', 'b', 'c');
      // The first row is held by a transaction of Python's kind.
      let end: (() => void) | undefined;
      let locked: (() => void) | undefined;
      const isLocked = new Promise<void>((resolve) => {
        locked = resolve;
      });
      const holding = database.transaction(async (transaction) => {
        await transaction.query("SELECT id FROM kombu_message WHERE payload = 'a' FOR UPDATE");
        locked?.();
        await new Promise<void>((resolve) => {
          end = resolve;
        });
      });
      await isLocked;
      expect((await pull(foreign)).map(({ payload }) => payload)).toEqual(['b', 'c']);
      end?.();
      await holding;
      expect((await pull(foreign)).map(({ payload }) => payload)).toEqual(['a']);
    });

    test('a consumer that was declared dead settles nothing, and learns of it', async () => {
      const driver = await open();
      await push(driver, 'a');
      const [stale] = await pull(driver);
      await run('UPDATE lovage_consumer SET lease_until = 0');
      const heir = await openForeign();
      const [held] = await pull(heir);
      expect(held).toMatchObject({ payload: 'a', deliveryCount: 2 });
      await driver.settle([{ receipt: receiptOf(stale), outcome: 'ack' }]);
      expect(await rows()).toHaveLength(1);
      expect(await driver.extendLease([receiptOf(stale)])).toEqual([stale?.receipt]);
      await push(driver, 'b');
      const [next] = await pull(driver);
      expect(next?.receipt.consumer).not.toBe(stale?.receipt.consumer);
      await heir.settle([{ receipt: receiptOf(held), outcome: 'ack' }]);
      await driver.settle([{ receipt: receiptOf(next), outcome: 'ack' }]);
      expect(await rows()).toEqual([]);
    });

    test('delayed messages enter the queue in the order of their times', async () => {
      const driver = await open();
      await driver.push([entry('third', 30_000), entry('first', 10_000), entry('second', 20_000), entry('now')]);
      expect(await driver.size(queue)).toBe(4);
      await run('UPDATE lovage_delay SET due_at = due_at - 60000');
      expect((await pull(driver)).map(({ payload }) => payload)).toEqual(['now', 'first', 'second', 'third']);
    });

    test('a delayed message whose queue was removed holds up no other', async () => {
      const driver = await open();
      await push(driver, 'now');
      await driver.push([entry('later', 10_000)]);
      await run('INSERT INTO lovage_delay (queue_id, payload, due_at) VALUES (999999, ?, 0)', ['{}']);
      await run('UPDATE lovage_delay SET due_at = 0');
      expect((await pull(driver)).map(({ payload }) => payload)).toEqual(['now', 'later']);
      expect(await database.query('SELECT id FROM lovage_delay')).toEqual([]);
    });

    test('of a batch only that is refused which the server does not take', async () => {
      const driver = await open();
      const refused = product === 'postgresql' ? 'no\0text' : 'x'.repeat(70_000);
      const error: unknown = await push(driver, 'first', refused, 'third').catch((thrown: unknown) => thrown);
      expect((error as PublishError).failures.map(({ index }) => index)).toEqual([1]);
      expect((await pull(driver)).map(({ payload }) => payload)).toEqual(['first', 'third']);
    });

    test('queues that go away with their process are removed with all that is theirs', async () => {
      const driver = await open();
      await driver.ensureQueue({ name: queue, autoDelete: true });
      const binding = { routingKey: '', pattern: '', queue };
      await driver.bindings.add('fan', binding);
      await push(driver, 'x');
      await run('UPDATE lovage_queue_expiry SET expires_at = 0');
      const other = await openForeign();
      await pull(other);
      expect(await other.bindings.list('fan')).toEqual([]);
      expect(await database.query('SELECT name FROM kombu_queue WHERE name = ?', [queue])).toEqual([]);
      // Their owner was only asleep: it declares them again.
      await pull(driver);
      expect(await other.bindings.list('fan')).toEqual([binding]);
      await driver.removeQueue(queue);
    });

    test('a message is heard of at once, or after a short while where the server tells nothing', async () => {
      const driver = await open();
      const foreign = await openForeign();
      await foreign.ensureQueue({ name: queue });
      const tookMs: number[] = [];
      for (let round = 0; round < 9; round++) {
        const pulling = pull(foreign, 5000);
        const since = performance.now();
        await push(driver, `m${round}`);
        const [message] = await pulling;
        tookMs.push(performance.now() - since);
        await foreign.settle([{ receipt: receiptOf(message), outcome: 'ack' }]);
      }
      // Housekeeping looks once a second in any case.
      expect(tookMs.toSorted((a, b) => a - b)[4]).toBeLessThan(product === 'postgresql' ? 100 : 300);
    });

    test.runIf(product === 'mariadb')('what the column cannot hold is refused with its limit', async () => {
      const driver = await open();
      expect(driver.capabilities.maxMessageBytes).toBeGreaterThan(65_000);
      expect(driver.capabilities.maxMessageBytes).toBeLessThan(65_536);
      await expect(push(driver, '\u00e4'.repeat(20_000))).rejects.toMatchObject({
        code: 'ERR_PUBLISH',
        failures: [{ error: { code: 'ERR_TOO_LARGE', limitBytes: 65_535 } }],
      });
      expect(await rows()).toEqual([]);
    });

    test('two processes may create the tables at one moment', async () => {
      const options = { queueTablename: `made_${count}_queue`, messageTablename: `made_${count}_message` };
      const opened = await Promise.all(
        [7, 8, 9].map((seconds) =>
          openSqlDriver(new BrokerUrl(`sqla+${base}?connect_timeout=${seconds}`), { transportOptions: options }),
        ),
      );
      drivers.push(...opened);
      await Promise.all(opened.map((driver) => push(driver, 'x')));
      expect(await opened[0]?.size(queue)).toBe(3);
    });
  });
});

function existingTables(product: 'postgresql' | 'mariadb'): [string] {
  return product === 'postgresql'
    ? [
        "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'kombu_queue' UNION ALL SELECT 'kombu_queue' FROM pg_tables WHERE tablename = 'kombu_queue'",
      ]
    : [
        "SELECT TABLE_NAME AS name FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE = 'BASE TABLE' ORDER BY TABLE_NAME LIKE '%queue'",
      ];
}

function receiptOf(pulled: { receipt: SqlReceipt } | undefined): SqlReceipt {
  if (pulled === undefined) throw new Error('Nothing was pulled.');
  return pulled.receipt;
}
