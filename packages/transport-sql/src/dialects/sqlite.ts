import type { StoredBinding } from '@lovage/core/transport';
import { quoteIdentifier, type SqlDatabase, type SqlTransaction } from '@lovage/sql';
import type { Census, ClaimedRow, Outlook, QueueTables } from '../tables.ts';

/** Beyond this many characters a batch is inserted in several statements, so that none needs a huge buffer. */
const BATCH_CHARACTERS = 4_000_000;
/** The consumer of a claim that nobody holds: it only keeps the number of deliveries. */
const NOBODY = 0;

/**
 * SQLite. The first two tables and their indexes are what SQLAlchemy 2.1 makes of Kombu's models, so that either side
 * may create them. Batches travel as one JSON parameter: one statement, whatever their size.
 *
 * Source: kombu/transport/sqlalchemy/models.py.
 */
export class SqliteQueueTables implements QueueTables {
  readonly maxPayloadBytes = 0;
  readonly #sql: ReturnType<typeof statements>;

  constructor(queueTable: string, messageTable: string) {
    this.#sql = statements(queueTable, messageTable);
  }

  async create(database: SqlDatabase): Promise<void> {
    const sql = this.#sql;
    const existing = await database.query(
      'SELECT name FROM sqlite_master WHERE name IN (SELECT value FROM json_each(?))',
      [JSON.stringify(Object.keys(sql.schema))],
    );
    if (existing.length === Object.keys(sql.schema).length) return;
    await database.transaction(async (transaction) => {
      for (const statement of Object.values(sql.schema)) await transaction.execute(statement);
    });
  }

  async ensureQueue(transaction: SqlTransaction, name: string): Promise<void> {
    await this.#queueId(transaction, name);
  }

  async removeQueue(transaction: SqlTransaction, name: string): Promise<void> {
    for (const statement of this.#sql.removeQueue) await transaction.execute(statement, [name]);
  }

  async insert(transaction: SqlTransaction, queue: string, payloads: readonly string[]): Promise<void> {
    const queueId = await this.#queueId(transaction, queue);
    if (payloads.length === 1) {
      await transaction.execute(this.#sql.insertOne, [payloads[0] as string, queueId]);
      return;
    }
    for (let start = 0; start < payloads.length; ) {
      let end = start;
      for (let characters = 0; end < payloads.length && characters < BATCH_CHARACTERS; end++) {
        characters += (payloads[end] as string).length;
      }
      await transaction.execute(this.#sql.insertMany, [queueId, JSON.stringify(payloads.slice(start, end))]);
      start = end;
    }
  }

  async insertDelayed(transaction: SqlTransaction, queue: string, payload: string, dueAt: number): Promise<void> {
    await transaction.execute(this.#sql.insertDelay, [await this.#queueId(transaction, queue), payload, dueAt]);
  }

  async outlook(database: SqlDatabase, queues: readonly string[], now: number): Promise<Outlook> {
    const [row] = await database.query<{ ready: number; due: number | null }>(this.#sql.outlook, [
      JSON.stringify(queues),
    ]);
    const due = row?.due ?? undefined;
    return { ready: row?.ready === 1 || (due !== undefined && due <= now), nextDueAt: due };
  }

  async releaseDue(transaction: SqlTransaction, now: number): Promise<void> {
    const [due] = await transaction.query(this.#sql.anyDue, [now]);
    if (due === undefined) return;
    await transaction.execute(this.#sql.enqueueDue, [now]);
    await transaction.execute(this.#sql.forgetDue, [now]);
  }

  async claim(
    transaction: SqlTransaction,
    queue: string,
    max: number,
    consumer: number,
  ): Promise<readonly ClaimedRow[]> {
    const rows = await transaction.query<{ id: number; payload: Uint8Array }>(this.#sql.take, [queue, max]);
    if (rows.length === 0) return [];
    const ids = JSON.stringify(rows.map(({ id }) => id));
    await transaction.execute(this.#sql.recordClaims, [consumer, ids]);
    const counts = new Map<number, number>();
    for (const { message_id: id, deliveries } of await transaction.query<{ message_id: number; deliveries: number }>(
      this.#sql.repeated,
      [ids],
    )) {
      counts.set(id, deliveries);
    }
    // RETURNING gives no order.
    return rows
      .map(({ id, payload }) => ({ id, payload, deliveries: counts.get(id) ?? 1 }))
      .sort((left, right) => left.id - right.id);
  }

  async ack(transaction: SqlTransaction, consumer: number, ids: readonly number[]): Promise<void> {
    const parameters = [JSON.stringify(ids), consumer];
    await transaction.execute(this.#sql.deleteHeld, parameters);
    await transaction.execute(this.#sql.deleteClaims, parameters);
  }

  async requeue(transaction: SqlTransaction, consumer: number, ids: readonly number[]): Promise<void> {
    const parameters = [JSON.stringify(ids), consumer];
    await transaction.execute(this.#sql.showHeld, parameters);
    await transaction.execute(this.#sql.freeClaims, parameters);
  }

  async registerConsumer(transaction: SqlTransaction, leaseUntil: number, process: string): Promise<number> {
    const [row] = await transaction.query<{ id: number }>(this.#sql.registerConsumer, [leaseUntil, process]);
    return (row as { id: number }).id;
  }

  async renewLease(transaction: SqlTransaction, consumer: number, leaseUntil: number): Promise<boolean> {
    return (await transaction.execute(this.#sql.renewLease, [leaseUntil, consumer])) === 1;
  }

  async isAlive(transaction: SqlTransaction, consumer: number): Promise<boolean> {
    return (await transaction.query(this.#sql.isAlive, [consumer])).length === 1;
  }

  async retireConsumer(transaction: SqlTransaction, consumer: number): Promise<void> {
    await transaction.execute(this.#sql.retireConsumer, [consumer]);
  }

  async census(database: SqlDatabase, now: number): Promise<Census> {
    const consumers = await database.query<{ id: number; lease_until: number; process: string }>(this.#sql.consumers);
    const expired = await database.query(this.#sql.expiredQueues, [now]);
    return {
      consumers: consumers.map(({ id, lease_until: leaseUntil, process }) => ({ id, leaseUntil, process })),
      hasExpiredQueue: expired.length > 0,
    };
  }

  async reap(
    transaction: SqlTransaction,
    now: number,
    expired: readonly number[],
    dead: readonly number[],
  ): Promise<number> {
    const gone = await transaction.query<{ id: number }>(this.#sql.gone, [
      JSON.stringify(expired),
      now,
      JSON.stringify(dead),
    ]);
    const ids = JSON.stringify(gone.map(({ id }) => id));
    const released = await transaction.execute(this.#sql.showOf, [ids]);
    await transaction.execute(this.#sql.freeOf, [ids]);
    await transaction.execute(this.#sql.forgetConsumers, [ids]);
    for (const { name } of await transaction.query<{ name: string }>(this.#sql.expiredQueues, [now])) {
      await this.removeQueue(transaction, name);
    }
    return released;
  }

  async setQueueExpiry(transaction: SqlTransaction, name: string, expiresAt: number): Promise<void> {
    await transaction.execute(this.#sql.setQueueExpiry, [name, expiresAt]);
  }

  async renewQueueExpiry(
    transaction: SqlTransaction,
    names: readonly string[],
    expiresAt: number,
  ): Promise<readonly string[]> {
    const renewed = await transaction.query<{ name: string }>(this.#sql.renewQueueExpiry, [
      expiresAt,
      JSON.stringify(names),
    ]);
    const alive = new Set(renewed.map(({ name }) => name));
    return names.filter((name) => !alive.has(name));
  }

  async size(database: SqlDatabase, queue: string): Promise<number> {
    const [row] = await database.query<{ n: number }>(this.#sql.size, [queue, queue]);
    return row?.n ?? 0;
  }

  async purge(transaction: SqlTransaction, queue: string): Promise<number> {
    await transaction.execute(this.#sql.forgetCounts, [queue]);
    const waiting = await transaction.execute(this.#sql.deleteWaiting, [queue]);
    return waiting + (await transaction.execute(this.#sql.deleteDelayed, [queue]));
  }

  async addBinding(transaction: SqlTransaction, exchange: string, binding: StoredBinding): Promise<void> {
    const { routingKey, pattern, queue } = binding;
    await transaction.execute(this.#sql.addBinding, [exchange, routingKey, pattern, queue]);
  }

  async removeBinding(transaction: SqlTransaction, exchange: string, binding: StoredBinding): Promise<void> {
    const { routingKey, pattern, queue } = binding;
    await transaction.execute(this.#sql.removeBinding, [exchange, routingKey, pattern, queue]);
  }

  async bindings(database: SqlDatabase, exchange: string): Promise<readonly StoredBinding[]> {
    const rows = await database.query<{ routing_key: string; pattern: string; queue: string }>(this.#sql.bindings, [
      exchange,
    ]);
    return rows.map(({ routing_key: routingKey, pattern, queue }) => ({ routingKey, pattern, queue }));
  }

  async #queueId(transaction: SqlTransaction, name: string): Promise<number> {
    const [found] = await transaction.query<{ id: number }>(this.#sql.findQueue, [name]);
    if (found !== undefined) return found.id;
    const [created] = await transaction.query<{ id: number }>(this.#sql.createQueue, [name]);
    return (created as { id: number }).id;
  }
}

/** Names of SQLAlchemy's making where they are Kombu's; every other one starts with `lovage`. */
function statements(queueTable: string, messageTable: string) {
  const queue = quoteIdentifier(queueTable);
  const message = quoteIdentifier(messageTable);
  // Message ids are unique within one table of messages only.
  const prefix = messageTable === 'kombu_message' ? 'lovage' : `lovage_${messageTable}`;
  const name = (suffix: string): string => quoteIdentifier(`${prefix}_${suffix}`);
  const ready = name('ready');
  const claim = name('claim');
  const consumer = name('consumer');
  const delay = name('delay');
  const binding = name('binding');
  const expiry = name('queue_expiry');
  const queueId = `(SELECT id FROM ${queue} WHERE name = ?)`;
  const listed = '(SELECT value FROM json_each(?))';
  const held = `(SELECT message_id FROM ${claim} WHERE message_id IN ${listed} AND consumer = ?)`;
  // A timestamp on a visible row would move it: Kombu orders by it.
  const show = 'visible = 1, timestamp = NULL, version = version + 1';
  const schema: Record<string, string> = {
    [queueTable]: `CREATE TABLE IF NOT EXISTS ${queue} (
\tid INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, \n\tname VARCHAR(200), \n\tUNIQUE (name)\n)`,
    [messageTable]: `CREATE TABLE IF NOT EXISTS ${message} (
\tid INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, \n\tvisible BOOLEAN, \n\ttimestamp DATETIME, \n\tpayload TEXT NOT NULL, \n\tversion SMALLINT NOT NULL, \n\tqueue_id INTEGER, \n\tCONSTRAINT ${quoteIdentifier(`FK_${messageTable}_queue`)} FOREIGN KEY(queue_id) REFERENCES ${queue} (id)\n)`,
    [`ix_${messageTable}_visible`]: `CREATE INDEX IF NOT EXISTS ${quoteIdentifier(`ix_${messageTable}_visible`)} ON ${message} (visible)`,
    [`ix_${messageTable}_timestamp`]: `CREATE INDEX IF NOT EXISTS ${quoteIdentifier(`ix_${messageTable}_timestamp`)} ON ${message} (timestamp)`,
    // Kombu gives this index one name, whatever the table is called.
    ix_kombu_message_timestamp_id: `CREATE INDEX IF NOT EXISTS ix_kombu_message_timestamp_id ON ${message} (timestamp, id)`,
    [`${prefix}_ready`]: `CREATE INDEX IF NOT EXISTS ${ready} ON ${message} (queue_id, id) WHERE visible = 1`,
    // AUTOINCREMENT: a number is never given twice, so a consumer that was declared dead cannot settle for another.
    [`${prefix}_consumer`]: `CREATE TABLE IF NOT EXISTS ${consumer} (id INTEGER PRIMARY KEY AUTOINCREMENT, lease_until INTEGER NOT NULL, process TEXT NOT NULL)`,
    [`${prefix}_claim`]: `CREATE TABLE IF NOT EXISTS ${claim} (message_id INTEGER PRIMARY KEY, consumer INTEGER NOT NULL, deliveries INTEGER NOT NULL)`,
    [`${prefix}_claim_consumer`]: `CREATE INDEX IF NOT EXISTS ${name('claim_consumer')} ON ${claim} (consumer)`,
    [`${prefix}_delay`]: `CREATE TABLE IF NOT EXISTS ${delay} (id INTEGER PRIMARY KEY, queue_id INTEGER NOT NULL, payload TEXT NOT NULL, due_at INTEGER NOT NULL)`,
    [`${prefix}_delay_due_at`]: `CREATE INDEX IF NOT EXISTS ${name('delay_due_at')} ON ${delay} (due_at)`,
    [`${prefix}_binding`]: `CREATE TABLE IF NOT EXISTS ${binding} (exchange TEXT NOT NULL, queue TEXT NOT NULL, routing_key TEXT NOT NULL, pattern TEXT NOT NULL, PRIMARY KEY (exchange, queue, routing_key, pattern)) WITHOUT ROWID`,
    [`${prefix}_queue_expiry`]: `CREATE TABLE IF NOT EXISTS ${expiry} (name TEXT PRIMARY KEY, expires_at INTEGER NOT NULL) WITHOUT ROWID`,
  };
  return {
    schema,
    findQueue: `SELECT id FROM ${queue} WHERE name = ?`,
    createQueue: `INSERT INTO ${queue} (name) VALUES (?) RETURNING id`,
    removeQueue: [
      `DELETE FROM ${claim} WHERE message_id IN (SELECT id FROM ${message} WHERE queue_id = ${queueId})`,
      `DELETE FROM ${delay} WHERE queue_id = ${queueId}`,
      `DELETE FROM ${message} WHERE queue_id = ${queueId}`,
      `DELETE FROM ${binding} WHERE queue = ?`,
      `DELETE FROM ${expiry} WHERE name = ?`,
      `DELETE FROM ${queue} WHERE name = ?`,
    ],
    insertOne: `INSERT INTO ${message} (visible, timestamp, payload, version, queue_id) VALUES (1, NULL, ?, 1, ?)`,
    insertMany: `INSERT INTO ${message} (visible, timestamp, payload, version, queue_id) SELECT 1, NULL, value, 1, ? FROM json_each(?)`,
    insertDelay: `INSERT INTO ${delay} (queue_id, payload, due_at) VALUES (?, ?, ?)`,
    outlook: `SELECT EXISTS (SELECT 1 FROM ${message} INDEXED BY ${ready} WHERE visible = 1 AND queue_id IN (SELECT id FROM ${queue} WHERE name IN ${listed})) AS ready, (SELECT min(due_at) FROM ${delay}) AS due`,
    anyDue: `SELECT 1 FROM ${delay} WHERE due_at <= ? LIMIT 1`,
    enqueueDue: `INSERT INTO ${message} (visible, timestamp, payload, version, queue_id) SELECT 1, NULL, payload, 1, queue_id FROM ${delay} WHERE due_at <= ? ORDER BY due_at, id`,
    forgetDue: `DELETE FROM ${delay} WHERE due_at <= ?`,
    // libsql 0.5.29 ends the process when a text that it reads is no UTF-8, and cuts one at NUL: hence the BLOB.
    take: `UPDATE ${message} SET visible = 0, version = version + 1 WHERE id IN (SELECT id FROM ${message} INDEXED BY ${ready} WHERE visible = 1 AND queue_id = ${queueId} ORDER BY id LIMIT ?) RETURNING id, CAST(payload AS BLOB) AS payload`,
    recordClaims: `INSERT INTO ${claim} (message_id, consumer, deliveries) SELECT value, ?, 1 FROM json_each(?) WHERE true ON CONFLICT (message_id) DO UPDATE SET consumer = excluded.consumer, deliveries = deliveries + 1`,
    repeated: `SELECT message_id, deliveries FROM ${claim} WHERE message_id IN ${listed} AND deliveries > 1`,
    deleteHeld: `DELETE FROM ${message} WHERE id IN ${held}`,
    deleteClaims: `DELETE FROM ${claim} WHERE message_id IN ${listed} AND consumer = ?`,
    showHeld: `UPDATE ${message} SET ${show} WHERE id IN ${held}`,
    freeClaims: `UPDATE ${claim} SET consumer = ${NOBODY} WHERE message_id IN ${listed} AND consumer = ?`,
    registerConsumer: `INSERT INTO ${consumer} (lease_until, process) VALUES (?, ?) RETURNING id`,
    renewLease: `UPDATE ${consumer} SET lease_until = ? WHERE id = ?`,
    isAlive: `SELECT 1 FROM ${consumer} WHERE id = ?`,
    retireConsumer: `DELETE FROM ${consumer} WHERE id = ? AND id NOT IN (SELECT consumer FROM ${claim})`,
    consumers: `SELECT id, lease_until, process FROM ${consumer}`,
    gone: `SELECT id FROM ${consumer} WHERE (id IN ${listed} AND lease_until < ?) OR id IN ${listed}`,
    showOf: `UPDATE ${message} SET ${show} WHERE id IN (SELECT message_id FROM ${claim} WHERE consumer IN ${listed})`,
    freeOf: `UPDATE ${claim} SET consumer = ${NOBODY} WHERE consumer IN ${listed}`,
    forgetConsumers: `DELETE FROM ${consumer} WHERE id IN ${listed}`,
    expiredQueues: `SELECT name FROM ${expiry} WHERE expires_at < ?`,
    setQueueExpiry: `INSERT INTO ${expiry} (name, expires_at) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET expires_at = excluded.expires_at`,
    renewQueueExpiry: `UPDATE ${expiry} SET expires_at = ? WHERE name IN ${listed} RETURNING name`,
    size: `SELECT (SELECT count(*) FROM ${message} INDEXED BY ${ready} WHERE visible = 1 AND queue_id = ${queueId}) + (SELECT count(*) FROM ${delay} WHERE queue_id = ${queueId}) AS n`,
    forgetCounts: `DELETE FROM ${claim} WHERE consumer = ${NOBODY} AND message_id IN (SELECT id FROM ${message} INDEXED BY ${ready} WHERE visible = 1 AND queue_id = ${queueId})`,
    deleteWaiting: `DELETE FROM ${message} INDEXED BY ${ready} WHERE visible = 1 AND queue_id = ${queueId}`,
    deleteDelayed: `DELETE FROM ${delay} WHERE queue_id = ${queueId}`,
    addBinding: `INSERT OR IGNORE INTO ${binding} (exchange, routing_key, pattern, queue) VALUES (?, ?, ?, ?)`,
    removeBinding: `DELETE FROM ${binding} WHERE exchange = ? AND routing_key = ? AND pattern = ? AND queue = ?`,
    bindings: `SELECT routing_key, pattern, queue FROM ${binding} WHERE exchange = ?`,
  };
}
