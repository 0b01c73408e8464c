import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BrokerUrl, type Queue, type QueueEntry } from '@lovage/core/transport';
import { openSqlDatabase, type SqlDatabase, type SqlValue } from '@lovage/sql';
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { SqlDriver, SqlReceipt } from '../src/driver.ts';
import { openSqlDriver } from '../src/open.ts';

const folder = mkdtempSync(join(tmpdir(), 'lovage-tables-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
let url: BrokerUrl;
let database: SqlDatabase;
const drivers: SqlDriver[] = [];

beforeEach(async () => {
  url = new BrokerUrl(`sqla+sqlite:///${join(folder, `${++files}.db`)}`);
  database = await openSqlDatabase(url);
});
afterEach(async () => {
  await Promise.all(drivers.splice(0).map((driver) => driver.close()));
  await database.close();
});

async function open(transportOptions: Record<string, unknown> = {}): Promise<SqlDriver> {
  const driver = await openSqlDriver(url, { transportOptions });
  drivers.push(driver);
  return driver;
}

function run(sql: string, parameters: readonly SqlValue[] = []): Promise<number> {
  return database.transaction((transaction) => transaction.execute(sql, parameters));
}

async function push(driver: SqlDriver, ...payloads: string[]): Promise<void> {
  await driver.push(
    payloads.map((payload) => ({ queue: 'q', payload, deliveryTag: payload, priority: 0, delayMs: 0 })),
  );
}

async function pull(
  driver: SqlDriver,
  max = 10,
  queues = ['q'],
): Promise<{ payload: string; receipt: SqlReceipt; deliveryCount: number }[]> {
  const pulled = await driver.pull({ queues, max, waitMs: 0, signal: new AbortController().signal });
  return pulled.map(({ payload, receipt, deliveryCount }) => ({
    payload: Buffer.from(payload).toString(),
    receipt,
    deliveryCount,
  }));
}

function receiptOf(pulled: { receipt: SqlReceipt } | undefined): SqlReceipt {
  if (pulled === undefined) throw new Error('Nothing was pulled.');
  return pulled.receipt;
}

const messages = 'SELECT id, visible, timestamp, version FROM kombu_message ORDER BY id';

describe("Kombu's tables", () => {
  test('are those that SQLAlchemy 2.1 makes of the models of Kombu 5.6', async () => {
    await open();
    const schema = new Map(
      (
        await database.query<{ name: string; sql: string }>('SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL')
      ).map(({ name, sql }) => [name, sql.replaceAll('"', '')]),
    );
    expect(schema.get('kombu_queue')).toBe(
      'CREATE TABLE kombu_queue (\n\tid INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, \n\tname VARCHAR(200), \n\tUNIQUE (name)\n)',
    );
    expect(schema.get('kombu_message')).toBe(
      'CREATE TABLE kombu_message (\n\tid INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, \n\tvisible BOOLEAN, \n\ttimestamp DATETIME, \n\tpayload TEXT NOT NULL, \n\tversion SMALLINT NOT NULL, \n\tqueue_id INTEGER, \n\tCONSTRAINT FK_kombu_message_queue FOREIGN KEY(queue_id) REFERENCES kombu_queue (id)\n)',
    );
    expect(schema.get('ix_kombu_message_visible')).toBe(
      'CREATE INDEX ix_kombu_message_visible ON kombu_message (visible)',
    );
    expect(schema.get('ix_kombu_message_timestamp')).toBe(
      'CREATE INDEX ix_kombu_message_timestamp ON kombu_message (timestamp)',
    );
    expect(schema.get('ix_kombu_message_timestamp_id')).toBe(
      'CREATE INDEX ix_kombu_message_timestamp_id ON kombu_message (timestamp, id)',
    );
  });

  test('hold a message as Kombu writes it, hide it while it is taken, and lose it when it is acked', async () => {
    const driver = await open();
    await push(driver, 'a', 'b');
    expect(await database.query(messages)).toEqual([
      { id: 1, visible: 1, timestamp: null, version: 1 },
      { id: 2, visible: 1, timestamp: null, version: 1 },
    ]);
    const [a, b] = await pull(driver);
    expect(await database.query(messages)).toEqual([
      { id: 1, visible: 0, timestamp: null, version: 2 },
      { id: 2, visible: 0, timestamp: null, version: 2 },
    ]);
    await driver.settle([
      { receipt: receiptOf(a), outcome: 'ack' },
      { receipt: receiptOf(b), outcome: 'requeue' },
    ]);
    expect(await database.query(messages)).toEqual([{ id: 2, visible: 1, timestamp: null, version: 3 }]);
    expect(await pull(driver)).toMatchObject([{ payload: 'b', deliveryCount: 2 }]);
  });

  test('keep what Python took hidden, dead or alive', async () => {
    const driver = await open();
    await push(driver, 'python', 'ours');
    // Source: kombu/transport/sqlalchemy/__init__.py, _get.
    await run(
      "UPDATE kombu_message SET visible = 0, timestamp = '2026-01-01 00:00:00.000000', version = 2 WHERE id = 1",
    );
    expect(await pull(driver)).toMatchObject([{ payload: 'ours' }]);
    await run('UPDATE lovage_consumer SET lease_until = 0');
    const heir = await open();
    expect(await pull(heir)).toMatchObject([{ payload: 'ours', deliveryCount: 2 }]);
    expect(await database.query('SELECT visible FROM kombu_message WHERE id = 1')).toEqual([{ visible: 0 }]);
    expect(await heir.purge('q')).toBe(0);
    expect(await database.query('SELECT visible FROM kombu_message WHERE id = 1')).toEqual([{ visible: 0 }]);
  });

  test('are not needed in the file beforehand, nor empty', async () => {
    await run('CREATE TABLE mine (a)');
    const driver = await open({ queueTablename: 'other_queue', message_tablename: 'other_message' });
    await push(driver, 'x');
    expect(await database.query('SELECT payload FROM other_message')).toEqual([{ payload: 'x' }]);
    const standard = await open();
    await push(standard, 'y');
    expect(await pull(driver)).toMatchObject([{ payload: 'x' }]);
    expect(await pull(standard)).toMatchObject([{ payload: 'y' }]);
  });
});

describe('leases', () => {
  test('a consumer that was declared dead settles nothing, and learns of it', async () => {
    const driver = await open();
    await push(driver, 'a');
    const [stale] = await pull(driver);
    await run('UPDATE lovage_consumer SET lease_until = 0');
    const heir = await open();
    const [held] = await pull(heir);
    expect(held).toMatchObject({ payload: 'a', deliveryCount: 2 });
    await driver.settle([{ receipt: receiptOf(stale), outcome: 'ack' }]);
    expect(await database.query('SELECT count(*) AS n FROM kombu_message')).toEqual([{ n: 1 }]);
    expect(await driver.extendLease([receiptOf(stale)])).toEqual([stale?.receipt]);
    // It goes on under another number.
    await push(driver, 'b');
    const [next] = await pull(driver);
    expect(next?.receipt.consumer).not.toBe(stale?.receipt.consumer);
    expect(await driver.extendLease([receiptOf(stale), receiptOf(next)])).toEqual([stale?.receipt]);
    await heir.settle([{ receipt: receiptOf(held), outcome: 'ack' }]);
    await driver.settle([{ receipt: receiptOf(next), outcome: 'ack' }]);
    expect(await database.query('SELECT * FROM lovage_claim')).toEqual([]);
  });

  test('one that only closed gives nothing back by itself, and leaves no trace when it holds nothing', async () => {
    const driver = await open();
    await push(driver, 'a');
    await pull(driver);
    await driver.close();
    expect(await database.query('SELECT count(*) AS n FROM lovage_consumer')).toEqual([{ n: 1 }]);
    const other = await open();
    expect(await pull(other)).toEqual([]);
    await run('UPDATE lovage_consumer SET lease_until = 0');
    const heir = await open();
    const [held] = await pull(heir);
    await heir.settle([{ receipt: receiptOf(held), outcome: 'ack' }]);
    await heir.close();
    expect(await database.query('SELECT count(*) AS n FROM lovage_consumer')).toEqual([{ n: 0 }]);
  });
});

describe('queues that go away with their process', () => {
  const reply: Queue = { name: 'reply', autoDelete: true, arguments: { 'x-expires': 10_000 } };
  const binding = { routingKey: '', pattern: '', queue: 'reply' };

  test('are removed with their messages and bindings when nobody renews them', async () => {
    const driver = await open();
    await driver.ensureQueue(reply);
    await driver.bindings.add('fan', binding);
    await driver.push([{ queue: 'reply', payload: 'x', deliveryTag: 'x', priority: 0, delayMs: 0 }]);
    await run('UPDATE lovage_queue_expiry SET expires_at = 0');
    const other = await open();
    await pull(other);
    expect(await other.bindings.list('fan')).toEqual([]);
    expect(await database.query("SELECT name FROM kombu_queue WHERE name = 'reply'")).toEqual([]);
    expect(await database.query('SELECT * FROM kombu_message')).toEqual([]);
    // Their owner was only asleep: it declares them again.
    await pull(driver);
    expect(await other.bindings.list('fan')).toEqual([binding]);
  });

  test('others stay', async () => {
    const driver = await open();
    await driver.ensureQueue({ name: 'stays' });
    await pull(driver);
    expect(await database.query("SELECT name FROM kombu_queue WHERE name = 'stays'")).toHaveLength(1);
    expect(await database.query('SELECT * FROM lovage_queue_expiry')).toEqual([]);
  });
});

function at(payload: string, delayMs: number): QueueEntry {
  return { queue: 'q', payload, deliveryTag: '', priority: 0, delayMs };
}

describe('delayed messages', () => {
  test('enter the queue in the order of their times, behind what waits', async () => {
    const driver = await open();
    await driver.push([at('third', 30_000), at('first', 10_000), at('second', 20_000), at('now', 0)]);
    expect(await driver.size('q')).toBe(4);
    expect(await database.query('SELECT count(*) AS n FROM kombu_message')).toEqual([{ n: 1 }]);
    await run('UPDATE lovage_delay SET due_at = due_at - 60000');
    expect((await pull(driver)).map(({ payload }) => payload)).toEqual(['now', 'first', 'second', 'third']);
  });

  test('are purged too', async () => {
    const driver = await open();
    await driver.push([{ queue: 'q', payload: 'x', deliveryTag: '', priority: 0, delayMs: 1000 }]);
    expect(await driver.purge('q')).toBe(1);
    expect(await database.query('SELECT * FROM lovage_delay')).toEqual([]);
  });
});

describe('options', () => {
  test.each([
    { queueTablename: 'a"b' },
    { leaseMs: 10 },
    { leaseMs: '5' },
    { synchronous: 'off' },
    { busyTimeoutMs: 0 },
    { leasMs: 1000 },
  ])('%j is refused', async (options) => {
    await expect(open(options)).rejects.toMatchObject({ code: 'ERR_CONFIG' });
  });

  test("what is SQLAlchemy's or Kombu's is accepted", async () => {
    await open({ pool_recycle: 3600, echo: true, max_retries: 3, interval_start: 0 });
  });

  test('an error of the database names every message of the batch', async () => {
    const driver = await open();
    await run('DROP TABLE kombu_message');
    await expect(push(driver, 'a', 'b')).rejects.toMatchObject({
      code: 'ERR_PUBLISH',
      failures: [{ index: 0 }, { index: 1 }],
    });
  });
});
